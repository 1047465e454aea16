"""A generator of semantic IDs with a scorer of items beside it: the path says what kind of item, the scorer which."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import HomePath, Section
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.prediction import Prediction
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig
from sidestep.scorers.sequential import ItemPrediction
from sidestep.scorers.towers import TwoTowers
from sidestep.sids.semantic_ids import SemanticIds


class FusionConfig(Section):
    """How a generator and an item-level scorer are put together.

    generator, scorer: run folders of the two, trained before on the same data; None trains both at once.
    lead: what the scorer makes of the history so far is added to every encoded position, so that the codes are said
        with a whole interest in mind; no gradient of the codes reaches the scorer. Not for a generator trained before.
    candidates: items that each of the two proposes; what either proposes is scored by both.
    neighbours: how many nearest items of each (item-kNN) join the item-level score, 0 for none; half_life: positions
        after which an item of the history counts half for them; floor: what an item has that is nobody's neighbour.
    """

    idle = frozenset({"generator", "scorer"})  # the trained weights count, not where they lie

    generator: HomePath | None = None
    scorer: HomePath | None = None
    lead: bool = False
    candidates: int = Field(50, ge=1)
    neighbours: int = Field(0, ge=0)
    half_life: float | None = Field(1.0, gt=0)
    floor: float = Field(0.1, gt=0)

    @model_validator(mode="after")
    def _both_or_none(self) -> "FusionConfig":
        if (self.generator is None) != (self.scorer is None):
            raise ValueError("fusion.generator and fusion.scorer are set together: two run folders, or neither")
        if self.generator is not None and self.lead:
            raise ValueError("fusion.lead = true needs a generator that is trained with it; leave fusion.generator out")
        return self


@dataclass(frozen=True)
class FusedPrediction:
    """codes: the prediction of the generator alone. items: that of each tower of the scorer."""

    codes: Prediction
    items: tuple[ItemPrediction, ...]


class Fused(Thinking):
    """Both are trained at once, each by its own loss. An item's score is

        (1 - balance) log p(its codes) + balance log softmax(its item-level score)

    S2GR trains a vector of the whole interest (eq. 19) and drops it at inference; here such a vector is the scorer's.
    With neighbours the item-level score is that of the scorer `+ neighbour_weight log(floor + item-kNN's score)`:
    what was bought together, remembered as it is, beside what was learnt.

    balance, neighbour_weight: chosen on validation once both are trained; they travel with the weights.
    scored_history: how many of a history's last items the scorer has learnt to read: as many as the generator where
        they are trained at once, or were saved by a release that did not tell.
    """

    balance: Float[Tensor, "1"]
    neighbour_weight: Float[Tensor, "1"]
    scored_history: Int[Tensor, "1"]

    def __init__(
        self,
        sids: SemanticIds,
        config: GeneratorConfig,
        thinking: ThinkingConfig,
        scorer: TwoTowers,
        fusion: FusionConfig,
    ) -> None:
        super().__init__(sids, config, thinking)
        self.scorer = scorer
        self.register_buffer("balance", torch.tensor([0.5]))
        self.register_buffer("scored_history", torch.tensor([config.max_history]))
        self.lead = nn.Linear(2 * scorer.config.width, config.width, bias=False) if fusion.lead else None
        if self.lead is not None:
            nn.init.normal_(self.lead.weight, std=self.lead.in_features**-0.5)
        self.neighbours, self.floor = None, fusion.floor
        if fusion.neighbours:
            settings = ItemKNNConfig(neighbours=fusion.neighbours, half_life=fusion.half_life)
            self.neighbours = ItemKNN(scorer.numbers.popularity.numpy(), settings)
            self.register_buffer("neighbour_weight", torch.zeros(1))
        self.register_load_state_dict_pre_hook(_as_long_as_the_generator)  # type: ignore[no-untyped-call]

    def encode(self, batch: SequenceBatch) -> tuple[Float[Tensor, "B M D"], int]:
        encoded, per_item = super().encode(batch)
        if self.lead is not None:
            hidden = self.lead(self.scorer.hidden(batch).detach()).float()
            encoded = encoded + hidden.repeat_interleave(per_item, dim=1)
        return encoded, per_item

    def forward(self, batch: SequenceBatch) -> FusedPrediction:  # type: ignore[override]
        return FusedPrediction(self.predict(batch), self.scorer(batch))

    def score(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        """The item-level score of every item, as `search.scoring.ItemScorer` wants it, on the model's device."""
        scores: Tensor = self.scorer.score(batch)
        if self.neighbours is None:
            return scores
        batch = batch.to(scores.device)
        remembered = self.neighbour_weight * torch.log(self.floor + self.neighbours.evidence(batch))
        return torch.where((batch.lengths > 0)[:, None], scores + remembered, scores)


def _as_long_as_the_generator(model: nn.Module, tensors: dict[str, Any], prefix: str, *_: Any) -> None:
    """What older weights leave out: both halves were shown the generator's history when their balance was chosen."""
    tensors.setdefault(f"{prefix}scored_history", model.scored_history)

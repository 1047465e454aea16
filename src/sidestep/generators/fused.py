"""A generator of semantic IDs with a scorer of items beside it: the path says what kind of item, the scorer which."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sidestep.baselines.sasrec import SASRec
from sidestep.baselines.sequential import ItemPrediction
from sidestep.config import Section
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import GeneratorConfig, Prediction
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.sids.semantic_ids import SemanticIds


class FusionConfig(Section):
    """How a generator and an item-level scorer are put together.

    lead: what the scorer makes of the history so far is added to every encoded position, so that the codes are said
        with a whole interest in mind; no gradient of the codes reaches the scorer.
    candidates: items that each of the two proposes; what either proposes is scored by both.
    """

    lead: bool = True
    candidates: int = Field(50, ge=1)


@dataclass(frozen=True)
class FusedPrediction:
    """codes: as the generator alone would say it. items: as the scorer alone would."""

    codes: Prediction
    items: ItemPrediction


class Fused(Thinking):
    """Both are trained at once, each by its own loss. An item's score is

        (1 - balance) log p(its codes) + balance log softmax(its item-level score)

    S2GR trains a vector of the whole interest (eq. 19) and drops it at inference; here such a vector is the scorer's.

    balance: chosen on validation once both are trained; it travels with the weights.
    """

    balance: Float[Tensor, ""]

    def __init__(
        self, sids: SemanticIds, config: GeneratorConfig, thinking: ThinkingConfig, scorer: SASRec, lead: bool
    ) -> None:
        super().__init__(sids, config, thinking)
        self.scorer = scorer
        self.register_buffer("balance", torch.tensor(0.5))
        self.lead = nn.Linear(scorer.config.width, config.width, bias=False) if lead else None
        if self.lead is not None:
            nn.init.normal_(self.lead.weight, std=scorer.config.width**-0.5)

    def encode(self, batch: SequenceBatch) -> tuple[Float[Tensor, "B M D"], int]:
        encoded, per_item = super().encode(batch)
        if self.lead is not None:
            hidden = self.lead(self.scorer.hidden(batch).detach()).float()
            encoded = encoded + hidden.repeat_interleave(per_item, dim=1)
        return encoded, per_item

    def forward(self, batch: SequenceBatch) -> FusedPrediction:  # type: ignore[override]
        return FusedPrediction(super().forward(batch), self.scorer(batch))

    def answer(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Prediction:
        """What the generator says of given items after each whole history, -1 where there is none: their logits and
        thoughts, `[n, ...]` in the order of the items that there are.
        """
        visible = batch.lengths[:, None].clamp(min=1).expand(-1, items.shape[1])
        return super().forward(SequenceBatch(batch.history, batch.lengths, items, visible))

    def path_log_probs(self, said: Prediction) -> Float[Tensor, "n L"]:
        """The log-probability of every code of an answer, over the full codebook."""
        levels = zip(said.logits, said.codes.unbind(1), strict=True)
        return torch.stack([logits.log_softmax(-1).gather(1, codes[:, None])[:, 0] for logits, codes in levels], 1)

"""What the sequential baselines share: item embeddings, one state for every target, and their settings."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch


class BaselineConfig(Section):
    """The shape of a sequential baseline and its loss; each model reads the keys it has.

    loss: "ce" is the cross-entropy over the whole catalogue, "sampled" over `negatives` items drawn uniformly for each
        batch, for catalogues of millions, "bce" SASRec's own, `negatives` drawn for each target.
    """

    width: int = Field(64, ge=1)
    num_heads: int = Field(1, ge=1)
    num_layers: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    max_history: int = Field(50, ge=1)
    loss: Literal["ce", "bce", "sampled"] = "ce"
    negatives: int = Field(1, ge=1)


@dataclass(frozen=True)
class ItemPrediction:
    """What a baseline says of the n real targets of a batch.

    states: `[n, D]`; a target's score for item i is `states . embeddings[i]`. targets: item numbers `[n]`.
    embeddings: of all items `[N, D]`.
    """

    states: Float[Tensor, "n D"]
    targets: Int[Tensor, " n"]
    embeddings: Float[Tensor, "N D"]


class SequentialBaseline(nn.Module):
    """Scores items by the inner product of a history's state with their embeddings.

    popularity: `[N]`, which answers an empty history.
    """

    popularity: Int[Tensor, " N"]
    every_position = True
    """Whether every position of a stretch of history can be a target; else each target is an example of its own."""

    def __init__(self, popularity: Ints, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("popularity", torch.from_numpy(popularity), persistent=False)
        self.item_embedding = nn.Embedding(len(popularity), config.width)
        nn.init.normal_(self.item_embedding.weight, std=0.02)

    @property
    def max_history(self) -> int:
        return self.config.max_history

    def states(self, batch: SequenceBatch) -> Float[Tensor, "B P D"]:
        """The state that answers each target; anything where a target is padding."""
        raise NotImplementedError

    def last_states(self, batch: SequenceBatch) -> Float[Tensor, "B D"]:
        """The state after each whole history."""
        raise NotImplementedError

    def embeddings(self) -> Float[Tensor, "N D"]:
        return self.item_embedding.weight

    def forward(self, batch: SequenceBatch) -> ItemPrediction:
        real = batch.targets >= 0
        return ItemPrediction(self.states(batch)[real], batch.targets[real], self.embeddings())

    def score(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        """One score for every item, as `recommenders.itemwise.ItemScorer` wants them."""
        scores = self.last_states(batch) @ self.embeddings().T
        return torch.where((batch.lengths > 0)[:, None], scores, self.popularity.to(scores))

"""The base of the sequential baselines: item embeddings, one state for every target, settings."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.layers.item_rows import RowShards, ShardedTable

INIT = 0.02
"""Standard deviation of the initial embeddings."""


class BaselineConfig(Section):
    """The shape of a sequential baseline and its loss; each model uses its own keys.

    width: of the items' vectors. num_heads, num_layers: of the attention. inner: width of a block's feed-forward, and
        of GRU4Rec's recurrent state. dropout: share of the activations that is left out in training. max_history: last
        items of a history that are read.
    loss: "ce" is the cross-entropy over the whole catalogue, "sampled" over `negatives` items drawn uniformly for each
        batch, for catalogues of millions, "bce" SASRec's own, `negatives` drawn for each target. negatives: so many.
    mask_share: share of a history's items that BERT4Rec masks.
    window, ahead, horizontal, vertical: Caser's L and T (number of input items, and of next items as targets), and its
        filters.
    reasoning_steps, tau: ReaRec's K, and the divisor of its scores. diversity: weight of ERL's divergence.
    growth: PRL's alpha, by which tau grows with each step from the end; noise: deviation of its noisy states.
    """

    width: int = Field(64, ge=1)
    num_heads: int = Field(1, ge=1)
    num_layers: int = Field(2, ge=1)
    inner: int = Field(256, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)
    max_history: int = Field(50, ge=1)
    loss: Literal["ce", "bce", "sampled"] = "ce"
    negatives: int = Field(1, ge=1)
    mask_share: float = Field(0.2, gt=0, le=1)
    window: int = Field(5, ge=1)
    ahead: int = Field(3, ge=1)
    horizontal: int = Field(16, ge=1)
    vertical: int = Field(4, ge=1)
    reasoning_steps: int = Field(2, ge=1)
    tau: float = Field(0.07, gt=0)
    diversity: float = Field(0.05, ge=0)
    growth: float = Field(5.0, gt=0)
    noise: float = Field(0.01, ge=0)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "BaselineConfig":
        if self.width % self.num_heads:
            raise ValueError(f"width = {self.width} cannot be divided among num_heads = {self.num_heads}")
        return self


@dataclass(frozen=True)
class ItemPrediction:
    """A baseline's states for the n real targets of a batch.

    states: `[n, D]`; a target's score for item i is `states . embeddings[i]`. targets: item numbers `[n]`.
    embeddings: of all items `[N, D]`, possibly with rows in several processes.
    """

    states: Float[Tensor, "n D"]
    targets: Int[Tensor, " n"]
    embeddings: Float[Tensor, "N D"] | ShardedTable


class SequentialBaseline(nn.Module):
    """Scores items by the inner product of a history's state with their embeddings.

    popularity: `[N]`, the scores for an empty history. shards: the rows of its tables that this process keeps, all of
    them if left out. With others, every call is collective, and all processes ask for scores of the same batch.
    """

    popularity: Int[Tensor, " N"]
    every_position = True
    """Whether every position of a history can be a target; otherwise each target is its own example."""
    item_tables: ClassVar[tuple[str, ...]] = ("item_embedding.weight",)
    """The parameters that have a row for every item."""

    def __init__(self, popularity: Ints, config: BaselineConfig, shards: RowShards | None = None) -> None:
        super().__init__()
        self.config, self.shards = config, shards or RowShards(len(popularity))
        self.register_buffer("popularity", torch.from_numpy(popularity), persistent=False)
        self.shards.normal(config.width, 1.0)  # as nn.Embedding draws: the same seeds give the weights of before
        self.item_embedding = nn.Embedding(
            len(self.shards), config.width, _weight=self.shards.normal(config.width, INIT)
        )

    @property
    def reads(self) -> Reads:
        """What it reads of a history."""
        return Reads(self.config.max_history)

    def after(self, batch: SequenceBatch, visible: Int[Tensor, "B P"]) -> Float[Tensor, "B P E"]:
        """The state after the first `visible` items of each history (at least 1), independent of later items."""
        raise NotImplementedError

    def states(self, batch: SequenceBatch) -> Float[Tensor, "B P E"]:
        """The state for each target; undefined where a target is padding."""
        return self.after(batch, batch.visible)

    def last_states(self, batch: SequenceBatch) -> Float[Tensor, "B E"]:
        """The state after each whole history; undefined for an empty one."""
        return self.after(batch, batch.lengths.clamp(min=1)[:, None])[:, 0]

    def read(self, items: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """The input embeddings of items."""
        return self.shards.look_up(self.item_embedding.weight, items)

    def embeddings(self) -> Float[Tensor, "n E"]:
        """The output embeddings of all items, or of those whose rows this process keeps."""
        return self.item_embedding.weight

    def table(self) -> Float[Tensor, "N E"] | ShardedTable:
        """The output embeddings of all items, wherever they are."""
        own = self.embeddings()
        return own if self.shards.size == 1 else ShardedTable(own, self.shards)

    def forward(self, batch: SequenceBatch) -> ItemPrediction:
        real = batch.targets >= 0
        return ItemPrediction(self.states(batch)[real], batch.targets[real], self.table())

    def score(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        """One score for every item, for `search.scoring.ItemScorer`, on the model's device."""
        batch = batch.to(self.popularity.device)
        scores = self.shards.columns(self.last_states(batch) @ self.embeddings().T)
        return torch.where((batch.lengths > 0)[:, None], scores, self.popularity.to(scores))


class CausalBaseline(SequentialBaseline):
    """Encodes a history once, with a state after every item that does not depend on later items."""

    def hidden(self, batch: SequenceBatch) -> Float[Tensor, "B T D"]:
        """The state after every item; undefined after the last one."""
        raise NotImplementedError

    def after(self, batch: SequenceBatch, visible: Int[Tensor, "B P"]) -> Float[Tensor, "B P D"]:
        hidden = self.hidden(batch)
        return hidden.gather(1, (visible - 1)[:, :, None].expand(-1, -1, hidden.shape[2]))

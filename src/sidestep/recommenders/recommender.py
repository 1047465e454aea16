"""What a recommender is: a batch of histories in, ranked items out."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.sids.trie import Allowed


@dataclass(frozen=True)
class Path:
    """How one recommended item was reached; one entry per level.

    codes: the code taken at each level.
    log_probs: its log-probability given the codes before it, over the full codebook.
    clusters: `[L, n]` the clusters nearest to the thought, nearest first; empty for a generator that does not think.
    cluster_probs: `[L, n]` their probabilities (eq. 18's softmax over cosines).
    """

    codes: list[int]
    log_probs: list[float]
    clusters: list[list[int]] = field(default_factory=list)
    cluster_probs: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Recommendations:
    """items: item numbers, best first, `NO_ITEM` where fewer than k answers exist.
    scores: comparable within a row only; `-inf` where there is no item.
    paths: per row and rank, when asked for and when the recommender has them.
    """

    items: Int[Tensor, "B k"]
    scores: Float[Tensor, "B k"]
    paths: list[list[Path]] | None = None


@dataclass(frozen=True)
class ItemFilter:
    """Which items may not be answered. Row b of `excluded` lists items barred for history b alone, padded with
    `NO_ITEM`; `allowed` bars every item where it is False, for all histories. None bars nothing.

    A filter that many batches share is laid over the trie once, `Allowed.of(trie, mask)`; a plain mask is laid over it
    for every batch.
    """

    excluded: Int[Tensor, "B E"] | None = None
    allowed: Bool[Tensor, " N"] | Allowed | None = None

    def to(self, device: torch.device) -> "ItemFilter":
        excluded = None if self.excluded is None else self.excluded.to(device)
        return ItemFilter(excluded, None if self.allowed is None else self.allowed.to(device))

    def take(self, rows: Int[Tensor, " n"]) -> "ItemFilter":
        """The filter of some rows."""
        return ItemFilter(None if self.excluded is None else self.excluded[rows.to(self.excluded.device)], self.allowed)

    def mask(self, rows: int, num_items: int) -> Bool[Tensor, "B N"]:
        """True where an item may be answered; dense, so meant for scorers that hold `[B, N]` scores anyway."""
        mask = torch.ones(rows, num_items + 1, dtype=torch.bool)  # the last column takes the padding
        if self.allowed is not None:
            mask[:, :num_items] &= self.allowed.items if isinstance(self.allowed, Allowed) else self.allowed
        if self.excluded is not None:
            mask.scatter_(1, torch.where(self.excluded < 0, num_items, self.excluded), False)
        return mask[:, :num_items]


@runtime_checkable
class Recommender(Protocol):
    """Anything that ranks items after a history."""

    @property
    def reads(self) -> Reads:
        """What it reads of a history."""
        ...

    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """The k best items of every history. Every answer is a real item, none stands twice in a row, and k items
        come back whenever k permitted ones exist. Equal scores: items that share a semantic ID are ordered by
        popularity, all others by item number.
        """
        ...

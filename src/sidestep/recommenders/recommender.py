"""What a recommender is: a batch of histories in, ranked items out."""

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, pad
from sidestep.data.splits import Cases
from sidestep.recommenders.step import Path
from sidestep.sids.trie import Allowed, Permitted, Trie


@dataclass(frozen=True)
class Recommendations:
    """items: item numbers, best first, `NO_ITEM` where fewer than k answers exist.
    scores: comparable within a row only; `-inf` where there is no item.
    paths: per row and rank, when asked for and when the recommender has them.
    kept: whether a second look left the order of the first one; None where there is no second look.
    reasons: of a second look, per row and rank, sentences; for the first places alone, when asked for.
    """

    items: Int[Tensor, "B k"]
    scores: Float[Tensor, "B k"]
    paths: list[list[Path]] | None = None
    kept: Bool[Tensor, " B"] | None = None
    reasons: list[list[list[str]]] | None = None


@dataclass(frozen=True)
class ItemFilter:
    """Which items may not be answered.

    excluded: row b lists items barred for history b alone, padded with `NO_ITEM`. allowed: `[N]`, False bars the item
        for all histories. None bars nothing.

    The allowed items are laid on a trie once, whatever rows are taken and whatever is excluded: keep one filter for
    many batches, and give each batch its own exclusions by `excluding`.
    """

    excluded: Int[Tensor, "B E"] | None = None
    allowed: Bool[Tensor, " N"] | None = None
    _laid: list[tuple[Trie, Allowed]] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def masking(cls, cases: Cases, chosen: Ints) -> "ItemFilter":
        """Bars what the history of each chosen case holds, but not its target."""
        return cls(excluded=pad([cases.seen(int(case)) for case in chosen]))

    def take(self, rows: Int[Tensor, " n"]) -> "ItemFilter":
        """The filter of some rows."""
        return self.excluding(None if self.excluded is None else self.excluded[rows.to(self.excluded.device)])

    def excluding(self, excluded: Int[Tensor, "B E"] | None) -> "ItemFilter":
        """The same allowed items, with these exclusions in place of its own."""
        return replace(self, excluded=excluded)

    def on(self, trie: Trie) -> Permitted:
        """The trie as this filter leaves it, on the trie's device."""
        device = trie.order.device
        excluded = None if self.excluded is None else self.excluded.to(device)
        return Permitted(trie, self._allowed_on(trie), excluded)

    def mask(self, rows: int, num_items: int) -> Bool[Tensor, "B N"]:
        """True where an item may be answered; dense, so meant for scorers that hold `[B, N]` scores anyway."""
        mask = torch.ones(rows, num_items + 1, dtype=torch.bool)  # the last column takes the padding
        if self.allowed is not None:
            mask[:, :num_items] &= self.allowed.cpu()
        if self.excluded is not None:
            excluded = self.excluded.cpu()
            mask.scatter_(1, torch.where(excluded < 0, num_items, excluded), False)
        return mask[:, :num_items]

    def _allowed_on(self, trie: Trie) -> Allowed | None:
        """Kept for the last trie alone, for a recommender has one."""
        if self.allowed is None:
            return None
        for known, laid in self._laid:
            if known is trie:
                return laid
        laid = Allowed.of(trie, self.allowed.to(trie.order.device))
        self._laid[:] = [(trie, laid)]
        return laid


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


@runtime_checkable
class Servable(Recommender, Protocol):
    """A recommender as the library, a bundle and the server hold it."""

    @property
    def num_beams(self) -> int | None:
        """How many paths it searches at once; None where it searches none."""
        ...

    @property
    def explains(self) -> bool:
        """Whether `rank` gives paths where they are wanted."""
        ...

    def with_beams(self, num_beams: int) -> "Servable":
        """The same with another number of beams; itself, where it searches no paths."""
        ...

    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores that `rank` gives these items; a `search.scoring.CandidateScorer`."""
        ...

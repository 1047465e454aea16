"""What a model reads of a history: how many items, and whether also when they were taken."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reads:
    """The part of a history that a model reads. Batches carry this much, and nothing else.

    recent: the window: so many of the last items, at least 1.
    long: so many of the items before the window; 0 for none.
    times: whether it reads when the window's items were taken and when the next one is asked for.
    """

    recent: int
    long: int = 0
    times: bool = False

    def __post_init__(self) -> None:
        assert self.recent >= 1
        assert self.long >= 0

    @property
    def items(self) -> int:
        """All that is read: the window and the items before it."""
        return self.recent + self.long

    def __or__(self, other: "Reads") -> "Reads":
        """The least that holds what either reads; each takes its own from such a batch with `SequenceBatch.latest`."""
        recent = max(self.recent, other.recent)
        return Reads(recent, max(self.items, other.items) - recent, self.times or other.times)

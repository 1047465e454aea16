"""The log: one row per interaction, sorted by user and by order within the user."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidestep import artifact
from sidestep.imports import at_use

if TYPE_CHECKING:
    import polars as pl
else:
    pl = at_use("polars")

Ints = np.ndarray[Any, np.dtype[np.int64]]

NO_TIME = np.iinfo(np.int64).min


def by_popularity(num_items: int, popularity: Ints | None) -> Ints:
    """Item numbers, the most popular first; ties, and all items where popularity is None, by ascending number.

    popularity: occurrences of every item, `[N]`, as `Interactions.popularity` counts them.
    """
    return np.arange(num_items) if popularity is None else np.argsort(-popularity, kind="stable")


@dataclass(frozen=True, repr=False)
class Interactions:
    """Histories laid end to end.

    user_ids: outside ids by user number, `[U]`.
    offsets: user u owns rows `offsets[u]:offsets[u + 1]`, `[U + 1]`.
    items: item numbers, oldest first within a user, `[E]`.
    times: milliseconds, `[E]`, `NO_TIME` where unknown; None when the source has no times at all.
    absolute_times: whether times count from 1970, so that those of different users can be compared. Otherwise a user's
        gaps are known, but neither the hour nor the day.
    """

    user_ids: list[str]
    offsets: Ints
    items: Ints
    times: Ints | None = None
    absolute_times: bool = False

    def __post_init__(self) -> None:
        assert len(self.offsets) == len(self.user_ids) + 1
        assert self.offsets[-1] == len(self.items)
        assert self.times is None or len(self.times) == len(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        times = "no times" if self.times is None else f"{'absolute' if self.absolute_times else 'relative'} times"
        return f"<{type(self).__name__}: {len(self):,} interactions of {self.num_users:,} users, {times}>"

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def lengths(self) -> Ints:
        """Number of interactions of each user, `[U]`."""
        return np.diff(self.offsets)

    @property
    def users(self) -> Ints:
        """User number of every row, `[E]`."""
        return np.repeat(np.arange(self.num_users), self.lengths)

    @cached_property
    def known_times(self) -> Ints:
        """The time of every row, `[E]`: `times`, or `NO_TIME` throughout where the source has none."""
        return np.full(len(self), NO_TIME) if self.times is None else self.times

    def history(self, user: int) -> Ints:
        """All items of one user, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def histories(self) -> Iterator[Ints]:
        return (self.history(user) for user in range(self.num_users))

    def take(self, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> "Interactions":
        """The rows where `keep[E]` is true. Every user stays, possibly with no rows, so user numbers hold."""
        counts = np.bincount(self.users[keep], minlength=self.num_users)
        return type(self)(
            self.user_ids,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            self.items[keep],
            None if self.times is None else self.times[keep],
            self.absolute_times,
        )

    def popularity(self, num_items: int) -> Ints:
        """How often each item occurs, `[N]`."""
        return np.bincount(self.items, minlength=num_items)

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        tensors = {"offsets": self.offsets, "items": self.items}
        if self.times is not None:
            tensors["times"] = self.times
        users = pl.DataFrame({"user_id": self.user_ids}, schema={"user_id": pl.String})
        meta = {**origin.pop("meta", {}), "absolute_times": self.absolute_times}
        return artifact.save(folder, "interactions", tensors=tensors, tables={"users": users}, meta=meta, **origin)

    @classmethod
    def load(cls, folder: Path) -> "Interactions":
        saved = artifact.load(folder, "interactions")
        return cls(
            saved.table("users")["user_id"].to_list(),
            saved.tensors["offsets"],
            saved.tensors["items"],
            saved.tensors.get("times"),
            bool(saved.manifest.meta["absolute_times"]),
        )

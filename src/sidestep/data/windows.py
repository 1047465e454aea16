"""Windows: what was seen of the items lately, slice of time by slice of time, and which of them are on air.

A slice begins at its start and ends where the next one begins. An item with a window in a slice is on air in it; its
content there is the window's vector, made of what was seen before the slice began. An item without one is off air.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidestep import artifact
from sidestep.data.interactions import NO_TIME, Ints
from sidestep.data.times import LATEST

Floats = np.ndarray[Any, np.dtype[np.float32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, repr=False)
class Windows:
    """starts: when each slice begins, in milliseconds, rising, `[S]`. offsets: slice s owns the rows `offsets[s]` to
    `offsets[s + 1] - 1`, `[S + 1]`. items: item numbers, rising within a slice, `[R]`. values: `[R, D]`, finite.
    """

    starts: Ints
    offsets: Ints
    items: Ints
    values: Floats

    def __post_init__(self) -> None:
        assert len(self.offsets) == len(self.starts) + 1
        assert (np.diff(self.starts) > 0).all()
        assert len(self.items) == len(self.values) == self.offsets[-1]

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        return f"<Windows: {len(self)} slices, {len(self.items):,} windows x {self.width} dimensions>"

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def rows(self, number: int) -> slice:
        """The rows of one slice."""
        return slice(int(self.offsets[number]), int(self.offsets[number + 1]))

    def before(self, moment: int) -> "Windows":
        """The slices that begin at a moment, or before it."""
        count = int(np.searchsorted(self.starts, moment, side="right"))
        end = self.offsets[count]
        return Windows(self.starts[:count], self.offsets[: count + 1], self.items[:end], self.values[:end])

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        tensors = {name: getattr(self, name) for name in ("starts", "offsets", "items", "values")}
        return artifact.save(folder, "windows", tensors=tensors, **origin)

    @classmethod
    def load(cls, folder: Path) -> "Windows":
        tensors = artifact.load(folder, "windows").tensors
        return cls(*(tensors[name] for name in ("starts", "offsets", "items", "values")))


def slices_at(starts: Ints, times: Ints) -> Ints:
    """The slice of every time: the last that has begun. An unknown time is of the last slice, which is now.

    starts: of a timeline, whose first slice has no beginning.
    """
    found = np.searchsorted(starts[1:], times, side="right")
    return np.where(times == NO_TIME, len(starts) - 1, found)


def shown(moment: int) -> str:
    """A start for people to read."""
    if abs(moment) > LATEST:
        return "the beginning"
    return str(np.datetime64(moment, "ms").astype("datetime64[s]"))

"""Semantic IDs that follow content: in every slice of time an item has an ID of its own, said with the same codebooks,
and is on air or not (OneLive, arXiv 2602.08612, sec. 3).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sidestep import artifact
from sidestep.data.interactions import NO_TIME
from sidestep.data.windows import Flags, shown, slices_at
from sidestep.errors import DataError
from sidestep.sids.semantic_ids import Ints, SemanticIds, Tensors


@dataclass(frozen=True, repr=False)
class Timeline:
    """S slices of N items with L codes. The first slice has no beginning: it is what was before any window was seen,
    and everything is on air in it.

    starts: when each slice begins, in milliseconds, rising, `[S]`; the first is `NO_TIME`. codes: int32 `[S, N, L]`.
    on_air: `[S, N]`.
    """

    starts: Ints
    codes: np.ndarray[Any, np.dtype[np.int32]]
    on_air: Flags

    def __post_init__(self) -> None:
        assert len(self.starts) == len(self.codes) == len(self.on_air) > 0
        assert self.starts[0] == NO_TIME
        assert (np.diff(self.starts[1:]) > 0).all()

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        return f"<Timeline: {len(self)} slices of {self.codes.shape[1]:,} items, the last from {shown(self.now)}>"

    @property
    def now(self) -> int:
        """When the last slice begins."""
        return int(self.starts[-1])

    def at(self, times: Ints) -> Ints:
        """The slice of every time; an unknown one is of the last."""
        return slices_at(self.starts, times)

    def sids(self, number: int, of: SemanticIds) -> SemanticIds:
        """The IDs of one slice. of: any IDs with its codebooks and clusters."""
        return replace(of, codes=self.codes[number].astype(np.int64))

    def with_slice(self, start: int, items: Ints, codes: Ints) -> "Timeline":
        """One more slice, in which these items are on air with these codes `[n, L]`, and all others keep theirs.

        Raises:
            DataError: it does not begin after the last one.
        """
        if start <= self.now:
            raise DataError(
                f"A slice from {shown(start)} does not follow the last one, which begins at {shown(self.now)}; slices "
                "are added in the order of their starts, and none is changed"
            )
        now, air = self.codes[-1].copy(), np.zeros(self.on_air.shape[1], dtype=np.bool_)
        now[items], air[items] = codes, True
        return Timeline(
            np.append(self.starts, start),
            np.concatenate([self.codes, now[None]]),
            np.concatenate([self.on_air, air[None]]),
        )

    def last(self, count: int) -> "Timeline":
        """The last slices alone. What lies before them is read in the first that is left."""
        kept = max(len(self) - count, 0)
        return Timeline(np.append(NO_TIME, self.starts[kept + 1 :]), self.codes[kept:], self.on_air[kept:])

    def continues(self, older: "Timeline") -> bool:
        """Whether these are the older slices, unchanged, with or without further ones."""
        count = len(older)
        return all(
            np.array_equal(getattr(self, name)[:count], getattr(older, name)) for name in ("starts", "codes", "on_air")
        )

    def as_tensors(self) -> Tensors:
        return {"starts": self.starts, "codes": self.codes, "on_air": self.on_air}

    @classmethod
    def of_tensors(cls, tensors: Tensors) -> "Timeline":
        return cls(tensors["starts"], tensors["codes"], tensors["on_air"])

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        return artifact.save(folder, "timeline", tensors=self.as_tensors(), **origin)

    @classmethod
    def load(cls, folder: Path) -> "Timeline":
        return cls.of_tensors(artifact.load(folder, "timeline").tensors)

"""Item vectors: row i belongs to catalogue item i."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidestep import artifact, durable
from sidestep.encoders.directions import Matrix
from sidestep.errors import DataError

KIND = "item_vectors"
ROWS = 1 << 16


@dataclass(frozen=True, repr=False)
class ItemVectors:
    """values: float32 `[N, D]`, finite."""

    values: Matrix

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise DataError(f"Item vectors have shape {self.values.shape}, expected [items, dimensions]")
        parts = [np.isfinite(self.values[rows]).all(axis=1) for rows in self.blocks()]
        bad = ~np.concatenate(parts or [np.ones(0, np.bool_)])
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} of {len(self.values)} item vectors hold NaN or infinity, "
                f"the first is row {int(bad.argmax())}; expected finite numbers"
            )

    def blocks(self) -> Iterator[slice]:
        """Consecutive rows, `ROWS` at a time, for work whose memory does not depend on the number of items."""
        for begin in range(0, len(self.values), ROWS):
            yield slice(begin, begin + ROWS)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"<ItemVectors: {len(self):,} items x {self.width} dimensions>"

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        return artifact.save(folder, KIND, tensors={"values": self.values}, **origin)

    @classmethod
    def load(cls, folder: Path) -> "ItemVectors":
        """The vectors stay in their file, and their pages come and go with use; see `artifact.map_tensors`."""
        return cls(artifact.load(folder, KIND, mapped=True).tensors["values"].astype(np.float32, copy=False))

    @staticmethod
    @contextmanager
    def filling(folder: Path, shape: tuple[int, int], **origin: Any) -> Iterator[Matrix]:
        """Vectors that are written to their file as they are made, `[N, D]`: the artifact is there when the block ends.
        The bytes are those of `save`.

        Raises:
            DataError: what was written is not finite; nothing is kept then.
        """
        with durable.replacing(folder) as staging:
            values = artifact.tensor_to_fill(staging / artifact.TENSORS, "values", shape)
            yield values
            ItemVectors(values)
            del values
            artifact.seal(staging, KIND, **origin)

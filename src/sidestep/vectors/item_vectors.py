"""Item vectors: row i belongs to catalogue item i."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidestep import artifact
from sidestep.encoders.directions import Matrix
from sidestep.errors import DataError


@dataclass(frozen=True, repr=False)
class ItemVectors:
    """values: float32 `[N, D]`, finite."""

    values: Matrix

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise DataError(f"Item vectors have shape {self.values.shape}, expected [items, dimensions]")
        bad = ~np.isfinite(self.values).all(axis=1)
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} of {len(self.values)} item vectors hold NaN or infinity, "
                f"the first is row {int(bad.argmax())}; expected finite numbers"
            )

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"<ItemVectors: {len(self):,} items x {self.width} dimensions>"

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        return artifact.save(folder, "item_vectors", tensors={"values": self.values}, **origin)

    @classmethod
    def load(cls, folder: Path) -> "ItemVectors":
        return cls(artifact.load(folder, "item_vectors").tensors["values"].astype(np.float32, copy=False))

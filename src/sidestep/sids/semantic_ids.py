"""Semantic IDs: every item's codes, and the codewords and clusters behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidestep import artifact

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Tensors = dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True, repr=False)
class SemanticIds:
    """codes: int64 `[N, L]`, coarse to fine.
    codebook_sizes: number of codes at each level, L numbers.
    codebooks: the codewords of each level, L arrays `[K_l, d]`.
    clusters: the cluster of every code at each level, L arrays `[K_l]` of int64 (S2GR, above eq. 18).
    """

    codes: Ints
    codebook_sizes: tuple[int, ...]
    codebooks: Sequence[Floats]
    clusters: Sequence[Ints]

    def __post_init__(self) -> None:
        assert self.codes.ndim == 2
        assert self.codes.shape[1] == self.num_levels == len(self.codebooks) == len(self.clusters)
        assert (self.codes >= 0).all()
        assert (self.codes < np.array(self.codebook_sizes)).all()

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        sizes, clusters = (" x ".join(map(str, counts)) for counts in (self.codebook_sizes, self.num_clusters))
        return f"<SemanticIds: {len(self):,} items, {sizes} codes, {clusters} clusters>"

    @property
    def num_levels(self) -> int:
        return len(self.codebook_sizes)

    @property
    def num_clusters(self) -> tuple[int, ...]:
        """Clusters at each level."""
        return tuple(int(cluster.max()) + 1 for cluster in self.clusters)

    @property
    def clusters_of_items(self) -> Ints:
        """The cluster of every item's code at each level, `[N, L]`."""
        return np.stack([cluster[self.codes[:, level]] for level, cluster in enumerate(self.clusters)], axis=1)

    def continues(self, older: "SemanticIds") -> bool:
        """Whether these are the older IDs, unchanged, with or without further items. A generator that was trained on
        the older IDs can read them.
        """
        return (
            len(self) >= len(older)
            and self.codebook_sizes == older.codebook_sizes
            and np.array_equal(self.codes[: len(older)], older.codes)
            and all(map(np.array_equal, self.codebooks, older.codebooks))
            and all(map(np.array_equal, self.clusters, older.clusters))
        )

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        return artifact.save(folder, "semantic_ids", tensors=self.as_tensors(), **origin)

    @classmethod
    def load(cls, folder: Path) -> "SemanticIds":
        return cls.of_tensors(artifact.load(folder, "semantic_ids").tensors)

    def as_tensors(self) -> Tensors:
        tensors: Tensors = {"codes": self.codes}
        for level in range(self.num_levels):
            tensors[f"codebook_{level}"] = self.codebooks[level]
            tensors[f"cluster_{level}"] = self.clusters[level]
        return tensors

    @classmethod
    def of_tensors(cls, tensors: Tensors) -> "SemanticIds":
        levels = range(tensors["codes"].shape[1])
        codebooks = [tensors[f"codebook_{level}"] for level in levels]
        return cls(
            tensors["codes"],
            tuple(len(codebook) for codebook in codebooks),
            codebooks,
            [tensors[f"cluster_{level}"] for level in levels],
        )

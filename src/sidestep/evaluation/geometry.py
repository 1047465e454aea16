"""Geometry of codes: variance of vectors within prefixes, residual variance after codewords, cosines in clusters."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from sidestep.sids.semantic_ids import Floats, Ints

Doubles = np.ndarray[Any, np.dtype[np.float64]]

BLOCK_ENTRIES = 1 << 22  # entries of a block of vectors in double precision


def variance_left(vectors: Floats, groups: Ints, total: float | None) -> float | None:
    """The share of the variance of `vectors` `[N, D]` that lies within `groups` `[N]`: 1 for a single group, 0 if every
    item is its own group.

    Within / total sum of squares: `sum ||x - mean_of_group||^2 / sum ||x - mean||^2`.

    total: `deviation(vectors)`. Returns None if it is None.
    """
    if total is None:
        return None
    shared = np.flatnonzero(np.bincount(groups)[groups] > 1)  # a single member equals the mean of its group
    within = 0.0
    if len(shared):
        member = _membership(groups[shared])
        counts = np.asarray(member.sum(axis=1)).ravel()[:, None]
        for block in _columns(vectors[shared]):
            within += float(np.square(block).sum() - (np.square(member @ block) / counts).sum())
    return max(0.0, within / total)


def left_by_codewords(latents: Floats, codes: Ints, codebooks: Sequence[Floats]) -> list[float] | None:
    """For each level, the squared norm of the residuals as a share of the latents' squared deviation from their mean:
    `sum ||z - (e_1 + .. + e_l)||^2 / sum ||z - mean||^2`. None if all latents `[N, d]` are equal.
    """
    total = deviation(latents)
    if total is None:
        return None
    residual, left = latents.astype(np.float32, copy=True), []
    for level, codebook in enumerate(codebooks):
        residual -= codebook[codes[:, level]]
        left.append(squares(residual) / total)
    return left


def deviation(values: Floats) -> float | None:
    """The sum of squared distances from the mean, over the rows of `[N, D]`; None if all rows are equal."""
    total = 0.0
    for block in _columns(values):
        total += float(np.square(block - block.mean(axis=0)).sum())
    return total if total > _rounding(values) else None


def squares(values: Floats) -> float:
    """The sum of squares of all entries."""
    return float(np.einsum("nd,nd->", values, values, dtype=np.float64))


def cosines(vectors: Floats, clusters: Ints) -> tuple[float | None, float | None]:
    """The mean cosine between two items of one cluster, and between two items of different clusters.

    Computed from sums of unit vectors: `sum_{i != j in c} <u_i, u_j> = ||sum_c u||^2 - sum_c ||u||^2`. A zero vector
    has cosine 0 with all. None if there is no such pair. vectors: `[N, D]`. clusters: `[N]`.
    """
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    inverse = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    member = _membership(clusters)
    counts = np.asarray(member.sum(axis=1)).ravel()
    inside = everything = 0.0
    for block in _columns(vectors):
        sums = member @ (block * inverse)
        inside += float(np.square(sums).sum())
        everything += float(np.square(sums.sum(axis=0)).sum())
    not_zero = int((length > 0).sum())
    pairs = float((counts * (counts - 1)).sum())
    across = float(len(vectors)) ** 2 - float(np.square(counts).sum())
    return (inside - not_zero) / pairs if pairs else None, (everything - inside) / across if across else None


def _membership(groups: Ints) -> Any:
    """`[G, N]`, 1 where item i belongs to group g; empty groups have no row."""
    names, number = np.unique(groups, return_inverse=True)
    ones = np.ones(len(groups))
    return sparse.csr_array((ones, (number, np.arange(len(groups)))), shape=(len(names), len(groups)))


def _columns(values: Floats) -> Iterator[Doubles]:
    """Blocks of columns (all rows), in double precision."""
    width = max(1, BLOCK_ENTRIES // len(values))
    for begin in range(0, values.shape[1], width):
        yield values[:, begin : begin + width].astype(np.float64)


def _rounding(values: Floats) -> float:
    """An upper bound of the sum of squared deviations that float32 rounding alone can cause."""
    return 1e-10 * squares(values)

"""Vectors as directions: rows of length 1, and a direction for rows without one."""

from typing import Any

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.float32]]


def unit_rows(x: Matrix) -> Matrix:
    """Rows `[N, D]` divided by their length; zero rows stay zero."""
    return x * inverse_lengths(x)


def inverse_lengths(x: Matrix) -> Matrix:
    """`1 / |x_n|` of every row, `[N, 1]`; 0 for a zero row."""
    length = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))[:, None]
    inverse: Matrix = np.divide(1, length, out=np.zeros_like(length), where=length > 0).astype(np.float32)
    return inverse


def with_mean_direction(vectors: Matrix, empty: np.ndarray[Any, np.dtype[np.bool_]]) -> Matrix:
    """Unit rows `[N, D]`; rows without content point where the others point on average.

    empty: which rows come from an item without content, `[N]`. Zero rows count as empty, too.
    """
    unit = unit_rows(vectors)
    empty = empty | ~unit.any(axis=1)
    if empty.all():
        unit[:] = 1 / np.sqrt(unit.shape[1])
    elif empty.any():
        mean = unit[~empty].mean(axis=0, keepdims=True)
        unit[empty] = unit_rows(mean) if mean.any() else unit[~empty][:1]
    return unit

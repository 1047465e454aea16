"""How a table of codes from elsewhere is written: items as rows or columns, codes from 0 or 1, with offsets or not."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

MOST_LEVELS = 10
FEWEST_ITEMS = 32
"""An array of at most 10 rows and more than 32 columns is a table of levels by items."""


def plain_codes(array: Array, num_items: int | None = None) -> tuple[Array, list[str]]:
    """Codes `[N, L]` that count from 0 at every level, and what was done to them, for the user to read.

    Recognised are `[L, N]`, codes from 1 or another number (the lowest at every level), and the codes of one vocabulary
    for all levels, where those of level l lie behind those of level l - 1: `c + l * K`, or `c` plus the sizes before
    it, behind special tokens or not.

    array: whole numbers, none negative, in two dimensions. num_items: how many items there are, where it is known.
    """
    notes: list[str] = []
    if _items_run_along(array, num_items):
        array = array.T
        notes.append(f"is levels by items, {array.shape[1]} x {array.shape[0]:,}; it is read with items as rows")
    low, high = array.min(axis=0), array.max(axis=0)
    for base in dict.fromkeys((0, 1, int(low[0]))):  # behind so many special tokens
        offsets = _offsets(low - base, high - base) if low[0] >= base else None
        if offsets is not None:
            shown = ", ".join(map(str, offsets.tolist()))
            first = "" if base == 0 else f", and its codes count from {base}"
            notes.append(f"has codes of one vocabulary: {shown} are taken off level by level{first}")
            return array - base - offsets, notes
    if len(low) > 1 and low[0] > 0 and (low == low[0]).all():
        notes.append(f"has codes that count from {low[0]} at every level; {low[0]} is taken off")
        return array - low[0], notes
    return array, notes


def _items_run_along(array: Array, num_items: int | None) -> bool:
    rows, columns = array.shape
    if num_items is not None and num_items in (rows, columns) and rows != columns:
        return columns == num_items and rows <= MOST_LEVELS
    return rows <= MOST_LEVELS and columns > FEWEST_ITEMS


def _offsets(low: Array, high: Array) -> Array | None:
    """What is added to the codes of each level `[L]`; None where they overlap and so count from 0 each."""
    if len(low) < 2 or high[0] < 1 or not (low[1:] > high[:-1]).all():
        return None
    levels = np.arange(len(low))
    least = int(np.max(-(-(high + 1) // (levels + 1))))
    most = int(np.min(low[1:] // levels[1:]))
    if 2 <= least <= most:
        power = 1 << (least - 1).bit_length()  # sizes are mostly powers of two; else the lowest code is taken for 0
        return levels * (power if power <= most else most)
    return np.concatenate([[0], low[1:]]) if low[0] == 0 else None

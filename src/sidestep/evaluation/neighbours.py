"""What is near in a space of item vectors: nearest items, the rank of the next item, and what neighbours share."""

from collections.abc import Iterator

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.data.splits import Cases
from sidestep.evaluation.purity import NO_LABEL
from sidestep.sids.semantic_ids import Floats

ROWS_AT_ONCE = 1 << 24
"""Entries of a block of similarities."""


def nearest(vectors: Floats, items: Ints, k: int) -> Ints:
    """The k items of the largest cosine with each of `items` `[n]`, itself left out, nearest first: `[n, k]`. Ties go
    to the smaller number. Fewer columns where there are not k others.
    """
    unit, k = _unit(vectors), min(k, len(vectors) - 1)
    rows = []
    for begin, end in _blocks(len(items), len(vectors)):
        scores = unit[items[begin:end]] @ unit.T
        scores[np.arange(end - begin), items[begin:end]] = -np.inf
        best = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        rows.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(rows) if rows else np.empty((0, k), dtype=np.int64)


def next_item_ranks(vectors: Floats, cases: Cases) -> Ints:
    """The rank of every case's target by its cosine with the last item of the history, `[C]`, from 1, among all items
    but that last one. Of equal cosines, the target counts as first: copies of it are no mistakes of the vectors.
    """
    unit, ranks = _unit(vectors), np.empty(len(cases), dtype=np.int64)
    asked = cases.interactions.items[cases.rows - 1]
    for begin, end in _blocks(len(cases), len(vectors)):
        scores = unit[asked[begin:end]] @ unit.T
        own = scores[np.arange(end - begin), cases.targets[begin:end]].copy()
        scores[np.arange(end - begin), asked[begin:end]] = -np.inf
        ranks[begin:end] = (scores > own[:, None]).sum(axis=1) + 1
    return ranks


def same_label(neighbours: Ints, items: Ints, labels: Ints) -> float | None:
    """The share of the neighbours `[n, k]` of `items` `[n]` that have the label of their item, the mean over the items
    that have one; None if there are none.

    labels: `[N]`, `NO_LABEL` for an item without one.
    """
    known = labels[items] != NO_LABEL
    if not known.any() or not neighbours.shape[1]:
        return None
    return float((labels[neighbours[known]] == labels[items[known], None]).mean())


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    step = max(ROWS_AT_ONCE // max(columns, 1), 1)
    for begin in range(0, rows, step):
        yield begin, min(begin + step, rows)

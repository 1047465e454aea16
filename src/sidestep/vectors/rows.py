"""Edges in any order become the rows of a graph, on the disk where there are more than memory holds."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import sparse

from sidestep.vectors.graph import Graph
from sidestep.vectors.tape import Array, Tape

AT_ONCE = 1 << 24
"""Edges that are in memory at a time."""
MOST_RANGES = 256
"""Files that are open at a time."""
EDGE = np.dtype([("row", np.int32), ("column", np.int32), ("count", np.float32)])
Ints = np.ndarray[Any, np.dtype[np.int32]]
Floats = np.ndarray[Any, np.dtype[np.float32]]
Edges = tuple[Ints, Ints, Floats]
"""The smaller item, the larger one, and the count of some edges, `[n]` each."""


def graph_of_edges(parts: Iterable[Edges], most: int, num_items: int) -> Graph:
    """The symmetric graph of undirected edges, float32 `[N, N]`; the counts of an edge that stands several times are
    added.

    All edges are written to a tape, then, in both directions, to one tape for each range of rows of about `AT_ONCE`
    entries (more where there would be more than `MOST_RANGES`), and every range is sorted by itself. An array of more
    than `tape.IN_MEMORY` bytes lies in a file of its own. Then the memory is about 60 bytes for each of `AT_ONCE`
    entries, or of the item with more neighbours, and 30 bytes an item; on the disk there are 36 bytes an edge
    meanwhile, and 16 in the result (24 where there may be more than 2^31 entries).

    most: the number of edges in all parts, at most.
    """
    listed, degrees = Tape(EDGE, most), np.zeros(num_items, np.int64)
    for low, high, count in parts:
        for column in (low, high):
            degrees += np.bincount(column, minlength=num_items)
        listed.write(_packed(low, high, count))
    begins = _ranges(degrees)
    ranges = _divided(listed, [*begins, num_items])
    del listed
    kind = np.int32 if 2 * most < 2**31 else np.int64  # the same for both, as scipy wants it
    data, indices = Tape(np.float32, 2 * most), Tape(kind, 2 * most)
    lengths = np.zeros(num_items + 1, np.int64)
    for tape, begin, end in zip(ranges, begins, [*begins[1:], num_items], strict=True):
        part = tape.read(0, len(tape))
        entries = (part["count"], (part["row"] - begin, part["column"]))
        rows = sparse.coo_array(entries, shape=(end - begin, num_items)).tocsr()
        data.write(rows.data)
        indices.write(rows.indices)
        lengths[begin + 1 : end + 1] = np.diff(rows.indptr)
    parts_of_rows = (data.array(), indices.array(), np.cumsum(lengths).astype(kind))
    return sparse.csr_array(parts_of_rows, shape=(num_items, num_items))


def _packed(row: Ints, column: Ints, count: Floats) -> Array:
    packed = np.empty(len(row), EDGE)
    packed["row"], packed["column"], packed["count"] = row, column, count
    return packed


def _ranges(degrees: np.ndarray[Any, np.dtype[np.int64]]) -> list[int]:
    """The first rows of ranges with about `AT_ONCE` entries each; a fuller row is a range of its own."""
    before = np.cumsum(degrees) - degrees
    entries = max(AT_ONCE, int(degrees.sum()) // MOST_RANGES + 1)
    return np.unique(before // entries, return_index=True)[1].tolist()


def _divided(listed: Tape, bounds: list[int]) -> list[Tape]:
    """The edges in both directions, every one on the tape of its row's range, in their order."""
    tapes = [Tape(EDGE, 2 * len(listed)) for _ in bounds[1:]]
    range_of = np.repeat(np.arange(len(tapes), dtype=np.int16), np.diff(bounds))
    for part in listed.parts(AT_ONCE):
        both = np.concatenate([part, _packed(part["column"], part["row"], part["count"])])
        place = range_of[both["row"]]
        both = both[np.argsort(place, kind="stable")]
        ends = np.cumsum(np.bincount(place, minlength=len(tapes)))
        for tape, some in zip(tapes, np.split(both, ends[:-1]), strict=True):
            tape.write(some)
    return tapes

"""Items whose semantic IDs share a prefix: numbers for the prefixes, and the order of the items of each."""

import numpy as np

from sidestep.sids.semantic_ids import Ints


def prefixes(codes: Ints) -> list[Ints]:
    """A number for every item's first l codes, l = 0 .. L, each `[N]`: equal prefixes have equal numbers.

    Numbers start at 0 and increase with the codes, `[N, L]`. Computed level by level, so that no product of sizes can
    overflow.
    """
    numbers = [np.zeros(len(codes), dtype=np.int64)]
    for level in range(codes.shape[1]):
        column = codes[:, level]
        joined = numbers[-1] * (int(column.max(initial=0)) + 1) + column
        numbers.append(np.unique(joined, return_inverse=True)[1])
    return numbers


def places(groups: Ints, order: Ints) -> Ints:
    """The position of every item among the items of its group, from 0, in the given order, `[N]`."""
    by_group = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[by_group], prepend=-1))
    positions = np.empty(len(groups), dtype=np.int64)
    positions[by_group] = np.arange(len(groups)) - np.repeat(starts, np.diff([*starts, len(groups)]))
    return positions

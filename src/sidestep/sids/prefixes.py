"""Items whose semantic IDs begin alike: numbers for their prefixes, and an order among the items of each."""

import numpy as np

from sidestep.sids.semantic_ids import Ints


def prefixes(codes: Ints) -> list[Ints]:
    """The number of every item's first l codes, l = 0 .. L, each `[N]`: the same number where they are the same.

    Numbers count from 0 and rise with the codes, `[N, L]`. Level by level, so that no product of sizes can overflow.
    """
    numbers = [np.zeros(len(codes), dtype=np.int64)]
    for level in range(codes.shape[1]):
        column = codes[:, level]
        joined = numbers[-1] * (int(column.max(initial=0)) + 1) + column
        numbers.append(np.unique(joined, return_inverse=True)[1])
    return numbers


def by_popularity(num_items: int, popularity: Ints | None) -> Ints:
    """Item numbers, the most popular first, and the lower number first among equals, or where nothing is known."""
    return np.arange(num_items) if popularity is None else np.argsort(-popularity, kind="stable")


def places(groups: Ints, order: Ints) -> Ints:
    """Which of its group's items every item is, counted from 0 in the given order, `[N]`."""
    by_group = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[by_group], prepend=-1))
    found = np.empty(len(groups), dtype=np.int64)
    found[by_group] = np.arange(len(groups)) - np.repeat(starts, np.diff([*starts, len(groups)]))
    return found

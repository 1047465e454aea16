"""Pairs of items that belong together for users: what vectors are tuned on.

All of them come from `TrainingInteractions`, so no held-out interaction can make a pair.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from sidestep.data.interactions import Ints
from sidestep.data.splits import TrainingInteractions
from sidestep.encoders.directions import Matrix, unit_rows
from sidestep.vectors.graph import Graph

Weights = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

LONGEST = 200
"""Items of a history that make pairs: the last ones."""
LAST = 50
"""Items before a target among which `u2i` looks for its partner."""
ENTRIES_AT_ONCE = 1 << 22


@dataclass(frozen=True, repr=False)
class Pairs:
    """Unordered pairs of different items, each once, in ascending order.

    first, second: item numbers, `[M]`, first < second. weight: `[M]`, above 0; pairs are drawn in proportion to it.
    """

    first: Ints
    second: Ints
    weight: Weights

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        return f"<Pairs: {len(self):,} of {self.num_items:,} items>"

    @property
    def num_items(self) -> int:
        """The number of items that some pair holds."""
        return len(np.union1d(self.first, self.second))

    def take(self, kept: Mask | Ints) -> "Pairs":
        """Some of the pairs: a mask `[M]`, or their places in ascending order."""
        return Pairs(self.first[kept], self.second[kept], self.weight[kept])

    @classmethod
    def of_matrix(cls, weights: Graph) -> "Pairs":
        """The pairs above the diagonal of `[N, N]`."""
        upper = sparse.triu(weights, k=1, format="csr")
        upper.sum_duplicates()
        found = upper.tocoo()
        return cls(found.row.astype(np.int64), found.col.astype(np.int64), found.data.astype(np.float64))

    def matrix(self, num_items: int) -> Graph:
        """The weights as a matrix `[N, N]`, above its diagonal."""
        return sparse.csr_array((self.weight, (self.first, self.second)), shape=(num_items, num_items))


def swing(interactions: TrainingInteractions, num_items: int, alpha: float = 1.0, longest: int = LONGEST) -> Pairs:
    """Swing (Yang et al., arXiv 2010.05525): a pair that two users share says more, the less else they share.

        s_ij = sum_{u < v, both took i and j} w_u w_v / (alpha + |I_u and I_v|),  w_u = |I_u|^-1/2

    I_u: the distinct items among the last `longest` of a user. Only pairs of two or more users have a weight.

    Memory beyond the result: a block of the users' shared items at a time. Time: users who share two items.
    """
    took = _took(interactions, num_items, longest)
    sizes = np.diff(took.indptr)
    scale = 1 / np.sqrt(np.maximum(sizes, 1))
    total = sparse.csr_array((num_items, num_items), dtype=np.float64)
    for begin, end in _blocks(took):
        shared = sparse.coo_array(took[begin:end] @ took.T)
        users, others = shared.row + begin, shared.col
        chosen = (others > users) & (shared.data >= 2)
        users, others, count = users[chosen], others[chosen], shared.data[chosen]
        both = sparse.csr_array(took[users].multiply(took[others]))
        total = total + _all_pairs(both, scale[users] * scale[others] / (alpha + count))
    return Pairs.of_matrix(total)


def cooccurring(interactions: TrainingInteractions, num_items: int, longest: int = LONGEST) -> Pairs:
    """All pairs of items in one history; the weight is the number of users."""
    took = _took(interactions, num_items, longest)
    total = sparse.csr_array((num_items, num_items), dtype=np.float64)
    for begin, end in _blocks(took):
        total = total + _all_pairs(took[begin:end], np.ones(end - begin))
    return Pairs.of_matrix(total)


def u2i(interactions: TrainingInteractions, vectors: Matrix, last: int = LAST) -> Pairs:
    """A user's item with the one of the `last` items before it that is most like it (QARM V2); of equal ones, the
    latest. The weight is how often the pair is formed.

    vectors: of behaviour, `[N, D]`, which say what is alike for users; vectors of the content would find what they
        know already. Zero rows are like nothing.
    """
    unit, items, offsets = unit_rows(vectors), interactions.items, interactions.offsets
    best, partner = np.zeros(len(items), dtype=np.float32), np.full(len(items), -1)
    place = np.arange(len(items)) - np.repeat(offsets[:-1], interactions.lengths)
    for distance in range(1, min(last, int(interactions.lengths.max(initial=1)) - 1) + 1):
        targets = np.flatnonzero(place >= distance)
        before = items[targets - distance]
        cosine = np.where(before == items[targets], -np.inf, np.einsum("nd,nd->n", unit[items[targets]], unit[before]))
        better = cosine > best[targets]
        best[targets[better]], partner[targets[better]] = cosine[better], before[better]
    paired = partner >= 0
    low, high = np.minimum(items, partner)[paired], np.maximum(items, partner)[paired]
    counts = sparse.coo_array((np.ones(len(low)), (low, high)), shape=(len(vectors), len(vectors)))
    return Pairs.of_matrix(sparse.csr_array(counts))


def together(groups: Sequence[Pairs], num_items: int) -> Pairs:
    """Pairs of several kinds, each kind with the same sum of weights."""
    total = sparse.csr_array((num_items, num_items), dtype=np.float64)
    for group in groups:
        total = total + Pairs(group.first, group.second, group.weight / (group.weight.sum() or 1)).matrix(num_items)
    return Pairs.of_matrix(total)


def num_users_of(interactions: TrainingInteractions, num_items: int, pairs: Pairs) -> Ints:
    """The number of users who took both items of each pair, `[M]`."""
    takers = sparse.csr_array(_took(interactions, num_items, longest=0).T)
    counts = np.empty(len(pairs), dtype=np.int64)
    for begin in range(0, len(pairs), step := 1 << 16):
        part = slice(begin, begin + step)
        counts[part] = np.asarray(takers[pairs.first[part]].multiply(takers[pairs.second[part]]).sum(axis=1)).ravel()
    return counts


def _took(interactions: TrainingInteractions, num_items: int, longest: int) -> Graph:
    """`[U, N]`: 1 where a user took an item, among the last `longest` of the user, or among all if it is 0."""
    users, items = interactions.users, interactions.items
    if longest:
        recent = interactions.offsets[users + 1] - np.arange(len(items)) <= longest
        users, items = users[recent], items[recent]
    ones = np.ones(len(items), dtype=np.int32)
    took = sparse.csr_array((ones, (users, items)), shape=(interactions.num_users, num_items))
    took.sum_duplicates()
    took.data[:] = 1
    return took


def _blocks(took: Graph) -> Iterator[tuple[int, int]]:
    """Ranges of users who together meet about `ENTRIES_AT_ONCE` other takers of their items."""
    met = np.cumsum(took @ np.asarray(took.sum(axis=0)).ravel())
    begin = 0
    while begin < len(met):
        reached = (met[begin - 1] if begin else 0) + ENTRIES_AT_ONCE
        end = max(int(np.searchsorted(met, reached, side="right")), begin + 1)
        yield begin, end
        begin = end


def _all_pairs(rows: Graph, weights: Weights) -> Graph:
    """The sum over the rows of `weights[row]` for every pair of items in the row, `[N, N]` above the diagonal."""
    rows.sort_indices()
    num_items, lengths = rows.shape[1], np.diff(rows.indptr)
    items, owner = rows.indices, np.repeat(np.arange(len(lengths)), lengths)
    total = sparse.csr_array((num_items, num_items), dtype=np.float64)
    for distance in range(1, int(lengths.max(initial=1))):  # shifting the rows end to end pairs every item with a later
        same = np.flatnonzero(owner[:-distance] == owner[distance:])
        ends = items[same], items[same + distance]
        total = total + sparse.coo_array((weights[owner[same]], ends), shape=total.shape).tocsr()
    return total

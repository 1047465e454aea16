"""The tree of semantic IDs with its items as one array of nodes, and filters laid over it; without a tensor library."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class FlatTrie:
    """`sids.trie.Trie` in one numbering: the root is node 0, depth follows depth, and behind the leaves stand the N
    items in path order. The children of node v are `firsts[v] .. firsts[v + 1] - 1`. V nodes have children, the leaves'
    are their items.

    begins: the first node of each depth, L + 2 numbers; the last is V, the first item.
    firsts: int32 `[V + 1]`. codes: the last code of each node, and 0 for the root and for items, `[V + N]`.
    order: the items in path order, int32 `[N]`; `rank` is its inverse.
    """

    begins: tuple[int, ...]
    firsts: Array
    codes: Array
    order: Array
    rank: Array

    @classmethod
    def of(cls, tensors: dict[str, Array]) -> "FlatTrie":
        """Of the arrays of a bundle's tree: `order`, `rank`, and per depth `codes_d` and `firsts_d`."""
        depths = range(sum(name.startswith("firsts_") for name in tensors))
        counts = [len(tensors[f"firsts_{depth}"]) - 1 for depth in depths]
        begins = np.cumsum([0, *counts])
        firsts = [tensors[f"firsts_{depth}"][:-1] + begins[depth + 1] for depth in depths]
        codes = [tensors[f"codes_{depth}"][: counts[depth]] for depth in depths]
        order = tensors["order"]
        return cls(
            tuple(begins.tolist()),
            np.concatenate([*firsts, [begins[-1] + len(order)]]).astype(np.int32),
            np.concatenate([*codes, np.zeros(len(order), codes[0].dtype)]),
            order,
            tensors["rank"],
        )

    @property
    def num_levels(self) -> int:
        return len(self.begins) - 2

    @property
    def num_nodes(self) -> int:
        """Nodes with children."""
        return self.begins[-1]

    @property
    def num_items(self) -> int:
        return len(self.order)

    @cached_property
    def parents(self) -> Array:
        """The parent of every node and item, int32 `[V + N]`; the root's is 0."""
        counts = np.diff(self.firsts)
        return np.concatenate([[0], np.repeat(np.arange(self.num_nodes), counts)]).astype(np.int32)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """The largest number of children of a node, by depth, `L + 1` numbers."""
        counts = np.diff(self.firsts)
        return tuple(int(counts[begin:end].max()) for begin, end in pairwise(self.begins))

    @cached_property
    def spans(self) -> tuple[Array, Array]:
        """For every node with children, the places in `order` where the items under it begin and end, `[V]` each."""
        begin, end = np.empty((2, self.num_nodes), dtype=np.int64)
        for depth in reversed(range(self.num_levels + 1)):
            nodes = slice(self.begins[depth], self.begins[depth + 1])
            firsts = self.firsts[self.begins[depth] : self.begins[depth + 1] + 1].astype(np.int64)
            if depth == self.num_levels:
                begin[nodes], end[nodes] = firsts[:-1] - self.num_nodes, firsts[1:] - self.num_nodes
            else:
                begin[nodes], end[nodes] = begin[firsts[:-1]], end[firsts[1:] - 1]
        return begin, end


@dataclass(frozen=True)
class Laid:
    """Allowed items laid over a tree once, for any number of searches; see `sids.trie.Permitted` for the law.

    before: how many allowed items stand before each place of the order, `[N + 1]`. open: which nodes have one under
    them, bool `[V + N]`.
    """

    trie: FlatTrie
    items: Array
    before: Array
    open: Array

    @classmethod
    def over(cls, trie: FlatTrie, items: Array) -> "Laid":
        """items: True for those that may be answered, bool `[N]`."""
        allowed = items[trie.order]
        before = np.concatenate([[0], np.cumsum(allowed)])
        begin, end = trie.spans
        return cls(trie, items, before, np.concatenate([before[end] > before[begin], allowed]))

    def closed(self, excluded: Sequence[Sequence[int]]) -> Array:
        """For every row, the nodes below the root and the items that its excluded items close: int64 `[B, C]`, padded
        with -1.

        A node is closed only when every allowed item under it is excluded.
        """
        trie, size = self.trie, len(self.open)
        rows = np.repeat(np.arange(len(excluded)), [len(row) for row in excluded])
        items = np.array([item for row in excluded for item in row], dtype=np.int64)
        allowed = self.items[items]
        nodes = trie.rank[items[allowed]].astype(np.int64) + trie.num_nodes
        keys = np.unique(rows[allowed] * size + nodes)  # a row, and a node of it
        counts = np.ones(len(keys), dtype=np.int64)  # the excluded items under it
        begin, end = trie.spans
        found = [keys]
        for _ in range(trie.num_levels):
            above = keys // size * size + trie.parents[keys % size]
            above, number = np.unique(above, return_inverse=True)
            counts = np.bincount(number, counts, len(above)).astype(np.int64)
            nodes = above % size
            whole = counts == self.before[end[nodes]] - self.before[begin[nodes]]
            keys, counts = above[whole], counts[whole]
            found.append(keys)
        every = np.sort(np.concatenate(found))
        return padded(np.split(every % size, np.searchsorted(every, np.arange(1, len(excluded)) * size)))


def padded(rows: Sequence[Sequence[int] | Array]) -> Array:
    """Rows of unequal length as one int64 array of at least one column, padded on the right with -1."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    table = np.full((len(rows), max(int(lengths.max(initial=0)), 1)), -1, dtype=np.int64)
    if lengths.sum():
        table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate([row for row in rows if len(row)])
    return table

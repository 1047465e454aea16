"""All semantic IDs of a catalogue as one tree of prefixes, in flat integer arrays."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

NOWHERE = -1
"""The node of a path that no item has. Its children are none, and so are its items."""


@dataclass(frozen=True)
class Trie:
    """Which codes may follow which, and which items a path leads to.

    Depth 0 holds the root, node 0; depth d holds one node per distinct prefix of d codes, numbered in path order;
    depth L holds the leaves, the distinct semantic IDs. Items are kept in path order too, so every node covers one
    contiguous range of them and counting the items under a node is one subtraction.

    Memory: 4 bytes x (2N for the items' order and its inverse, plus 3 for every node at every depth). Three levels of
    256 codes have at most 1 + 256 + 65,536 + N nodes: at most 20 bytes an item, plus 0.8 MB.

    codebook_sizes: number of codes at each level.
    order: items in path order, int32 `[N]`; `rank` is its inverse, the place of every item in it.
    codes: per depth, the last code of every node, int32 (the root's is 0 and means nothing).
    first_items: per depth, where each node's items begin in `order`, int32 `[nodes + 1]`.
    first_children: per depth but the last, each node's first child at the next depth, int32 `[nodes + 1]`.
    """

    codebook_sizes: tuple[int, ...]
    order: Int[Tensor, " N"]
    rank: Int[Tensor, " N"]
    codes: tuple[Int[Tensor, " _"], ...]
    first_items: tuple[Int[Tensor, " _"], ...]
    first_children: tuple[Int[Tensor, " _"], ...]

    @classmethod
    def build(
        cls, codes: Int[Tensor, "N L"], codebook_sizes: tuple[int, ...], popularity: Int[Tensor, " N"] | None = None
    ) -> "Trie":
        """The tree of the semantic IDs of items 0..N-1.

        Items that share an ID stand in order of falling `popularity` where it is given, then of item number.
        """
        assert codes.shape[1] == len(codebook_sizes)
        assert len(codes) > 0
        table = codes.cpu().numpy()
        keys = [*table.T[::-1]] if popularity is None else [-popularity.cpu().numpy(), *table.T[::-1]]
        order = np.lexsort(keys)
        firsts, last_codes = [np.zeros(1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
        opens_node = np.zeros(len(table), dtype=bool)  # the item differs from its predecessor in some code so far
        opens_node[0] = True
        for column in table.T:
            in_order = column[order]
            opens_node[1:] |= in_order[1:] != in_order[:-1]
            firsts.append(np.flatnonzero(opens_node))
            last_codes.append(in_order[firsts[-1]])
        children = [np.append(np.searchsorted(below, here), len(below)) for here, below in pairwise(firsts)]
        order_tensor = torch.from_numpy(order)
        rank = torch.empty_like(order_tensor)
        rank[order_tensor] = torch.arange(len(order))
        return cls(
            codebook_sizes,
            order_tensor.int(),
            rank.int(),
            tuple(torch.from_numpy(last).int() for last in last_codes),
            tuple(torch.from_numpy(np.append(first, len(table))).int() for first in firsts),
            tuple(torch.from_numpy(first).int() for first in children),
        )

    @property
    def num_items(self) -> int:
        return len(self.order)

    @property
    def num_levels(self) -> int:
        return len(self.codebook_sizes)

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays."""
        tensors = (self.order, self.rank, *self.codes, *self.first_items, *self.first_children)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def to(self, device: torch.device | str) -> "Trie":
        groups = (self.codes, self.first_items, self.first_children)
        moved = (tuple(tensor.to(device) for tensor in group) for group in groups)
        return Trie(self.codebook_sizes, self.order.to(device), self.rank.to(device), *moved)

    def num_nodes(self, depth: int) -> int:
        return len(self.codes[depth])

    def counts(self, depth: int) -> Int[Tensor, " n"]:
        """How many items stand under every node of a depth."""
        return self.first_items[depth].long().diff()

    def node_of_item(self, depth: int, items: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        """The node of a depth above (or, at depth L, at the end of) every item's path; `NOWHERE` for item -1."""
        places = self.rank[items.clamp(min=0)].contiguous()
        nodes = torch.searchsorted(self.first_items[depth], places, right=True) - 1
        return nodes.masked_fill(items < 0, NOWHERE)

    def children_mask(self, level: int, nodes: Int[Tensor, "*B"]) -> Bool[Tensor, "*B K"]:
        """Which codes of a level may follow nodes of depth `level`."""
        children, real = self.children(level, nodes)
        return self.over_codes(level, children, real, real)

    def child(self, level: int, nodes: Int[Tensor, "*B"], codes: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        """The nodes of depth `level + 1` reached from nodes of depth `level` by codes; `NOWHERE` where none is."""
        children, real = self.children(level, nodes)
        found = real & (self.codes[level + 1][children] == codes[..., None])
        chosen = children.gather(-1, found.int().argmax(-1, keepdim=True))[..., 0]
        return torch.where(found.any(-1), chosen, NOWHERE)

    def children(self, level: int, nodes: Int[Tensor, "*B"]) -> tuple[Int[Tensor, "*B D"], Bool[Tensor, "*B D"]]:
        """The children of every node, and which of the D places hold one; D is the largest number of children here."""
        numbers = _ranges(self.first_children[level], nodes)
        return numbers.clamp(min=0), numbers >= 0

    def over_codes(
        self, level: int, children: Int[Tensor, "*B D"], real: Bool[Tensor, "*B D"], values: Shaped[Tensor, "*B D"]
    ) -> Shaped[Tensor, "*B K"]:
        """Values of children laid out over the codes that lead to them; 0 where no child is."""
        size = self.codebook_sizes[level]
        codes = torch.where(real, self.codes[level + 1][children].long(), size)  # the last column takes the padding
        return values.new_zeros(*real.shape[:-1], size + 1).scatter_(-1, codes, values)[..., :size]

    def items_under(self, depth: int, nodes: Int[Tensor, "*B"]) -> Int[Tensor, "*B M"]:
        """The items under every node in path order, padded with -1 to the largest number of them."""
        places = _ranges(self.first_items[depth], nodes)
        return self.order[places.clamp(min=0)].long().masked_fill(places < 0, -1)


class Permitted:
    """A trie seen through a filter: which codes still lead to an item that may be answered.

    A node is barred only when every item under it is. Barred are the items where `allowed` is False, for every row,
    and the items of `excluded[b]` (padded with -1), for row b alone. Nothing here is of size rows x items.
    """

    def __init__(
        self, trie: Trie, allowed: Bool[Tensor, " N"] | None = None, excluded: Int[Tensor, "B E"] | None = None
    ) -> None:
        self._trie = trie
        self._allowed = allowed
        self._before: Tensor | None = None  # how many allowed items stand before each place of the trie's order
        if allowed is not None:
            self._before = torch.zeros(trie.num_items + 1, dtype=torch.int64, device=allowed.device)
            torch.cumsum(allowed[trie.order.long()], 0, out=self._before[1:])
        self._excluded = None if excluded is None else _drop_repeated(_drop_barred(excluded, allowed))

    def mask(self, level: int, nodes: Int[Tensor, "B W"]) -> Bool[Tensor, "B W K"]:
        """Which codes of a level may follow nodes of depth `level`: `Trie.children_mask` less what is barred."""
        trie = self._trie
        children, real = trie.children(level, nodes)
        left = trie.over_codes(level, children, real, self._counts(level + 1, children) * real)
        if self._excluded is None or not self._excluded.numel():
            return left > 0
        # An excluded item takes one from the code it continues with, in the beams that stand on its path.
        above = trie.node_of_item(level, self._excluded)
        below = trie.node_of_item(level + 1, self._excluded)
        codes = trie.codes[level + 1][below.clamp(min=0)].long()
        on_path = (nodes[:, :, None] == above[:, None, :]) & (self._excluded >= 0)[:, None, :]
        return left.scatter_add_(2, codes[:, None, :].expand_as(on_path), -on_path.to(left.dtype)) > 0

    def _counts(self, depth: int, nodes: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        """How many allowed items stand under every node: the range of places it covers, less the barred ones."""
        first, end = self._trie.first_items[depth][nodes].long(), self._trie.first_items[depth][nodes + 1].long()
        return end - first if self._before is None else self._before[end] - self._before[first]

    def items_under(self, leaves: Int[Tensor, "B W"]) -> Int[Tensor, "B W M"]:
        """The items at the ends of paths, in `Trie.items_under`'s order; -1 stands for barred ones, too."""
        items = self._trie.items_under(self._trie.num_levels, leaves)
        items = _drop_barred(items, self._allowed)
        if self._excluded is None:
            return items
        barred = (items[..., None] == self._excluded[:, None, None, :]).any(-1)
        return items.masked_fill(barred, -1)


def _drop_barred(items: Int[Tensor, "*B"], allowed: Bool[Tensor, " N"] | None) -> Int[Tensor, "*B"]:
    return items if allowed is None else items.masked_fill(~allowed[items.clamp(min=0)], -1)


def _drop_repeated(items: Int[Tensor, "B E"]) -> Int[Tensor, "B E"]:
    """Each row's items once; an item that stood there again becomes -1, so that it is not counted twice."""
    ordered = items.sort(dim=1).values
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return ordered.masked_fill(again, -1)


def _ranges(firsts: Int[Tensor, " m"], nodes: Int[Tensor, "*B"]) -> Int[Tensor, "*B D"]:
    """The numbers firsts[n] .. firsts[n+1]-1 of every node, padded with -1; a node of -1 has none."""
    known = nodes.clamp(min=0)
    first, end = firsts[known].long(), firsts[known + 1].long()
    end = torch.where(nodes < 0, first, end)
    width = max(int((end - first).max()), 1) if nodes.numel() else 1  # a width of 0 would leave nothing to gather
    numbers = first[..., None] + torch.arange(width, device=nodes.device)
    return numbers.masked_fill(numbers >= end[..., None], -1)

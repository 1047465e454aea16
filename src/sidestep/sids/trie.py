"""All semantic IDs of a catalogue as one tree of prefixes, in flat integer arrays."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

NOWHERE = -1
"""The node of a path that no item has. It has no children and no items."""


@dataclass(frozen=True)
class Trie:
    """The codes that may follow each prefix, and the items at the end of each path.

    Depth 0 holds the root, node 0; depth d holds one node per distinct prefix of d codes, numbered in path order;
    depth L holds the leaves, the distinct semantic IDs. The items are also kept in path order, and an item's place in
    this order is its number as a child of its leaf. So the nodes or items under a node are, at any depth, one range of
    numbers, and counting them is one subtraction.

    Memory: 8 bytes an item and 6 for every node below the root (8, where a level has more than 32,768 codes), plus 2
    for every code. Three levels of 256 codes have at most 256 + 65,536 + N nodes: at most 14 bytes an item, plus
    0.4 MB. Building takes about 60 bytes an item on top of the codes, most of them for sorting.

    codebook_sizes: number of codes at each level.
    order: items in path order, int32 `[N]`; `rank` is its inverse, the place of every item in it.
    codes: per depth, the last code of every node (the root's is 0 and means nothing), followed by as many zeros as the
        level has codes, so that a row of that length can be cut out behind any node.
    firsts: per depth, each node's first child at the next depth (a leaf's first place in `order`), int32 `[nodes + 1]`.
    """

    codebook_sizes: tuple[int, ...]
    order: Int[Tensor, " N"]
    rank: Int[Tensor, " N"]
    codes: tuple[Int[Tensor, " _"], ...]
    firsts: tuple[Int[Tensor, " _"], ...]

    @classmethod
    def build(
        cls, codes: Int[Tensor, "N L"], codebook_sizes: tuple[int, ...], popularity: Int[Tensor, " N"] | None = None
    ) -> "Trie":
        """The tree of the semantic IDs of items 0..N-1, on the CPU.

        Items that share an ID stand in order of falling `popularity` where it is given, then of item number.
        """
        assert codes.shape[1] == len(codebook_sizes)
        assert len(codes) > 0
        codes = codes.cpu()
        order = _path_order(codes, codebook_sizes, popularity)
        small = torch.int16 if max(codebook_sizes) <= 2**15 else torch.int32
        end = torch.tensor([len(codes)])
        begins, last_codes = [torch.zeros(1, dtype=torch.int64)], [torch.zeros(1, dtype=small)]
        opens_node = torch.zeros(len(codes), dtype=torch.bool)  # the item's prefix differs from its predecessor's
        opens_node[0] = True
        for level, size in enumerate(codebook_sizes):
            column = codes[:, level].to(small).index_select(0, order)
            opens_node[1:] |= column[1:] != column[:-1]
            begins.append(opens_node.nonzero()[:, 0])
            last_codes.append(F.pad(column.index_select(0, begins[-1]), (0, size)))
        bounds = [torch.cat([begin, end]).int() for begin in begins]  # where the items of every node begin
        firsts = [torch.searchsorted(below, here, out_int32=True) for here, below in pairwise(bounds)]
        rank = torch.empty(len(order), dtype=torch.int32)
        rank[order] = torch.arange(len(order), dtype=torch.int32)
        return cls(codebook_sizes, order.int(), rank, tuple(last_codes), (*firsts, bounds[-1]))

    @property
    def num_items(self) -> int:
        return len(self.order)

    @property
    def num_levels(self) -> int:
        return len(self.codebook_sizes)

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays."""
        tensors = (self.order, self.rank, *self.codes, *self.firsts)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def to(self, device: torch.device | str) -> "Trie":
        moved = (tuple(tensor.to(device) for tensor in group) for group in (self.codes, self.firsts))
        return Trie(self.codebook_sizes, self.order.to(device), self.rank.to(device), *moved)

    def num_nodes(self, depth: int) -> int:
        return len(self.firsts[depth]) - 1

    def places(self, depth: int, nodes: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        """The place in `order` where the items of every node begin; those of node n end where those of n + 1 begin."""
        for firsts in self.firsts[depth:]:
            nodes = firsts[nodes]
        return nodes

    def counts(self, depth: int) -> Int[Tensor, " n"]:
        """The number of items under every node of a depth."""
        return self.places(depth, torch.arange(self.num_nodes(depth) + 1, device=self.order.device)).diff()

    def parents(self, depth: int, nodes: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        """For nodes of depth + 1, their parents at `depth`; for depth L, the leaves of items' places."""
        return torch.searchsorted(self.firsts[depth], nodes.int(), right=True) - 1

    def node_of_item(self, depth: int, items: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        """The node at `depth` on the path of every item; `NOWHERE` for item -1."""
        nodes = self.rank[items.clamp(min=0)]
        for above in reversed(range(depth, self.num_levels + 1)):
            nodes = self.parents(above, nodes)
        return nodes.masked_fill(items < 0, NOWHERE).long()

    def codes_of(self, items: Int[Tensor, "*B"]) -> Int[Tensor, "*B L"]:
        """The semantic ID of every item; any codes for item -1."""
        nodes = [self.node_of_item(depth, items).clamp(min=0) for depth in range(1, self.num_levels + 1)]
        return torch.stack([self.codes[depth][at].long() for depth, at in enumerate(nodes, start=1)], dim=-1)

    def span(self, depth: int, nodes: Int[Tensor, "*B"]) -> tuple[Int[Tensor, "*B"], Int[Tensor, "*B"]]:
        """The first child of every node and its number of children (0 for `NOWHERE`). A leaf's children are places."""
        firsts, known = self.firsts[depth], nodes.clamp(min=0)
        begins = firsts[known].long()
        return begins, (firsts[known + 1] - begins).masked_fill(nodes < 0, 0)

    def children(self, depth: int, nodes: Int[Tensor, "B W"]) -> "Children":
        """All children of nodes of a depth above the leaves; `NOWHERE` has none."""
        begins, counts = self.span(depth, nodes)
        width, size = _widest(counts), self.codebook_sizes[depth]
        exists = rows_of(torch.arange(2 * size, device=nodes.device) < size, size - counts, width)
        return Children(begins, rows_of(self.codes[depth + 1], begins, width).long(), exists, exists)

    def items_under(self, nodes: Int[Tensor, "*B"]) -> Int[Tensor, "*B M"]:
        """The items of every leaf in path order, padded with -1 to the largest number of items."""
        begins, counts = self.span(self.num_levels, nodes)
        offsets = torch.arange(_widest(counts), device=nodes.device)
        places = (begins[..., None] + offsets).clamp(max=self.num_items - 1)
        return self.order[places].long().masked_fill(offsets >= counts[..., None], -1)


@dataclass(frozen=True)
class Allowed:
    """A filter of items laid over a trie once, to be used by any number of searches.

    Memory: 5 bytes an item and 1 for every node.

    items: which items may be answered.
    before: how many of them stand before each place of the trie's order, int32 `[N + 1]`.
    open: per depth, which nodes have one of them under them, padded as `Trie.codes` is.
    """

    items: Bool[Tensor, " N"]
    before: Int[Tensor, " _"]
    open: tuple[Bool[Tensor, " _"], ...]

    @classmethod
    def of(cls, trie: Trie, items: Bool[Tensor, " N"]) -> "Allowed":
        before = torch.zeros(trie.num_items + 1, dtype=torch.int32, device=items.device)
        torch.cumsum(items.index_select(0, trie.order), 0, dtype=torch.int32, out=before[1:])
        at, opens = before, []
        for firsts, spare in zip(reversed(trie.firsts), reversed((0, *trie.codebook_sizes)), strict=True):
            at = at.index_select(0, firsts)
            opens.append(F.pad(at[1:] > at[:-1], (0, spare)))
        return cls(items, before, tuple(reversed(opens)))


@dataclass(frozen=True)
class Children:
    """The children of W nodes in each of B rows, in path order; D is the largest number of children.

    firsts: each node's first child; the others' numbers follow it.
    codes: the code that leads to each child, int64; some code of the level where there is no child.
    exists: True where there is a child. open: True where there is one with a permitted item under it.
    """

    firsts: Int[Tensor, "B W"]
    codes: Int[Tensor, "B W D"]
    exists: Bool[Tensor, "B W D"]
    open: Bool[Tensor, "B W D"]

    @property
    def nodes(self) -> Int[Tensor, "B W D"]:
        """The children's numbers, one depth below; 0 where closed."""
        numbers = self.firsts[:, :, None] + torch.arange(self.open.shape[2], device=self.open.device)
        return numbers.masked_fill(~self.open, 0)

    def take(self, places: Int[Tensor, "B k"]) -> tuple[Int[Tensor, "B k"], Int[Tensor, "B k"], Int[Tensor, "B k"]]:
        """For k of a row's W x D places: the index of the parent among the W nodes, the child (`NOWHERE` where closed),
        and its code.
        """
        width = self.open.shape[2]
        parents = places // width
        nodes = self.firsts.gather(1, parents) + places % width
        nodes = torch.where(self.open.flatten(1).gather(1, places), nodes, NOWHERE)
        return parents, nodes, self.codes.flatten(1).gather(1, places)


Closing = tuple[Int[Tensor, " R"], Int[Tensor, " R"], Int[Tensor, " R"]]
"""Children that are closed for a row: rows, parents, and the index of each child among its parent's children."""


class Permitted:
    """A trie seen through a filter: which children still lead to an item that may be answered.

    A node is closed only when every item under it is barred. Barred are the items that `allowed` leaves out, for every
    row, and the items of `excluded[b]` (padded with -1), for row b alone. Nothing here is of size rows x items.
    """

    def __init__(
        self,
        trie: Trie,
        allowed: Allowed | None = None,
        excluded: Int[Tensor, "B E"] | None = None,
    ) -> None:
        self._trie = trie
        self._allowed = allowed
        self._closings = [] if excluded is None else self._closings_of(excluded)

    @property
    def num_levels(self) -> int:
        return self._trie.num_levels

    def children(self, level: int, nodes: Int[Tensor, "B W"]) -> Children:
        """The children of nodes of depth `level`; `NOWHERE` has none."""
        children = self._trie.children(level, nodes)
        open = children.exists.clone()
        if self._allowed is not None:
            open &= rows_of(self._allowed.open[level + 1], children.firsts, open.shape[2])
        self._close(level, nodes, open)
        return replace(children, open=open)

    def items_under(self, leaves: Int[Tensor, "B W"]) -> Int[Tensor, "B W M"]:
        """The items at the ends of paths, in `Trie.items_under`'s order; -1 stands for barred ones, too."""
        items = self._trie.items_under(leaves)
        open = items >= 0
        if self._allowed is not None:
            open &= self._allowed.items[items.clamp(min=0)]
        self._close(self._trie.num_levels, leaves, open)
        return items.masked_fill(~open, -1)

    def _close(self, depth: int, nodes: Int[Tensor, "B W"], open: Bool[Tensor, "B W D"]) -> None:
        """Close the children of nodes under which all items are excluded for the row."""
        above = self._trie.num_levels - depth
        if above >= len(self._closings):
            return
        rows, parents, offsets = self._closings[above]
        which, beams = (nodes[rows] == parents[:, None]).nonzero().unbind(1)
        open[rows[which], beams, offsets[which]] = False

    def _closings_of(self, excluded: Int[Tensor, "B E"]) -> list[Closing]:
        """The children that the excluded items close: first under the leaves (the items themselves), then level by
        level upwards, as far as anything is closed.
        """
        trie = self._trie
        rows, nodes = self._places(excluded)
        closings: list[Closing] = []
        for depth in reversed(range(trie.num_levels + 1)):
            chosen = self._exhausted(depth + 1, rows, nodes)
            if not len(chosen):
                break
            parents = trie.parents(depth, nodes)
            closings.append((rows[chosen], parents[chosen], (nodes - trie.firsts[depth][parents])[chosen]))
            nodes = parents
        return closings

    def _places(self, excluded: Int[Tensor, "B E"]) -> tuple[Int[Tensor, " R"], Int[Tensor, " R"]]:
        """The rows and the places of the excluded items, ascending, each once, without those barred for all rows."""
        real = excluded >= 0
        if self._allowed is not None:
            real &= self._allowed.items[excluded.clamp(min=0)]
        rows, size = real.nonzero()[:, 0], self._trie.num_items
        keys = (rows * size + self._trie.rank[excluded[real]]).sort().values
        keys = keys[_runs(keys)[0]]
        return keys // size, keys % size

    def _exhausted(self, depth: int, rows: Int[Tensor, " R"], nodes: Int[Tensor, " R"]) -> Int[Tensor, " R_"]:
        """For each node at `depth` whose items are all excluded: the index of its first excluded item.

        Below the leaves, where the nodes are the items' places, these are all indices.
        """
        trie = self._trie
        if depth > trie.num_levels:
            return torch.arange(len(nodes), device=nodes.device)
        heads, counts = _runs(rows * trie.num_nodes(depth) + nodes)
        begins, ends = trie.places(depth, nodes[heads]), trie.places(depth, nodes[heads] + 1)
        if self._allowed is not None:
            begins, ends = self._allowed.before[begins], self._allowed.before[ends]
        return heads[counts == ends - begins]


def rows_of(table: Shaped[Tensor, " n"], begins: Int[Tensor, "*B"], width: int) -> Shaped[Tensor, "*B D"]:
    """Entries begin .. begin + width - 1 of a table for every begin.

    This copies whole rows. Indexing by begin + arange would gather single entries, which takes ten times as long.
    """
    return table.unfold(0, width, 1).index_select(0, begins.flatten()).view(*begins.shape, width)


def _widest(counts: Int[Tensor, "*B"]) -> int:
    """The largest count, at least 1: a tensor of width 0 cannot be gathered from."""
    return max(int(counts.max()), 1) if counts.numel() else 1


def _runs(ascending: Int[Tensor, " n"]) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """The first index and the length of each run of equal numbers."""
    heads = F.pad(ascending[1:] != ascending[:-1], (1, 0), value=True)[: len(ascending)].nonzero()[:, 0]
    return heads, F.pad(heads, (0, 1), value=len(ascending)).diff()


def _path_order(
    codes: Int[Tensor, "N L"], codebook_sizes: tuple[int, ...], popularity: Int[Tensor, " N"] | None
) -> Int[Tensor, " N"]:
    """Items by path, then falling popularity, then number.

    The path is read as one number, whose last digit is the popularity. A number of more than 63 bits is sorted in
    parts, the last part first, which gives the same order because the sort is stable.
    """
    digits = [(codes[:, level], codebook_sizes[level]) for level in reversed(range(codes.shape[1]))]
    if popularity is not None:
        most = int(popularity.max())
        digits.insert(0, (most - popularity.cpu(), most + 1))
    order = torch.arange(len(codes))
    key, scale = torch.zeros(len(codes), dtype=torch.int64), 1
    for digit, size in digits:
        if scale * size >= 2**63:
            order = order.index_select(0, key.index_select(0, order).sort(stable=True).indices)
            key, scale = torch.zeros_like(key), 1
        key.add_(digit, alpha=scale)
        scale *= size
    return order.index_select(0, key.index_select(0, order).sort(stable=True).indices)

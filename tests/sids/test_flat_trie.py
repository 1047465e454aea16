"""The flat tree is the tree, and its filters are the tree's filters."""

import numpy as np
import pytest
import torch

from sidestep.pipeline.exporting import trie_tensors
from sidestep.recommenders.generative import trie_of
from sidestep.sids.flat_trie import FlatTrie, Laid, padded
from sidestep.sids.trie import Allowed, Trie
from small_world import make_sids

N = 40
SHAPES = [((5, 4, 6), 40), ((3,), 7), ((2, 2), 40), ((40, 30, 20, 10), 40)]


def both(sizes: tuple[int, ...] = (5, 4, 6), num_items: int = N) -> tuple[Trie, FlatTrie]:
    trie = trie_of(make_sids(num_items, sizes), np.arange(num_items) % 7)
    return trie, FlatTrie.of(trie_tensors(trie))


@pytest.mark.parametrize(("sizes", "num_items"), SHAPES)
def test_children_codes_and_items_are_the_trees(sizes: tuple[int, ...], num_items: int) -> None:
    trie, flat = both(sizes, num_items)
    assert flat.num_nodes == sum(trie.num_nodes(depth) for depth in range(len(sizes) + 1))
    for depth in range(len(sizes) + 1):
        for node in range(trie.num_nodes(depth)):
            here = flat.begins[depth] + node
            children = np.arange(flat.firsts[here], flat.firsts[here + 1])
            begin, count = (int(x) for x in trie.span(depth, torch.tensor(node)))
            assert (children - flat.begins[depth + 1] == np.arange(begin, begin + count)).all()
            assert (flat.parents[children] == here).all()
            if depth < len(sizes):
                assert flat.codes[children].tolist() == trie.codes[depth + 1][begin : begin + count].tolist()
            first, last = (int(trie.places(depth, torch.tensor(each))) for each in (node, node + 1))
            assert (flat.spans[0][here], flat.spans[1][here]) == (first, last)
        nodes = torch.arange(trie.num_nodes(depth))
        assert flat.widths[depth] == int(trie.span(depth, nodes)[1].max())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_allowed_items_open_the_same_nodes(share: float) -> None:
    trie, flat = both()
    items = np.random.default_rng(1).random(N) < share
    laid, theirs = Laid.over(flat, items), Allowed.of(trie, torch.from_numpy(items))
    opens = [theirs.open[depth][: trie.num_nodes(depth)] for depth in range(4)]
    assert (laid.open == np.concatenate([*(each.numpy() for each in opens), items[flat.order]])).all()


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("sizes", [(5, 4, 6), (2, 2), (3,)])
def test_a_node_is_closed_when_all_allowed_items_under_it_are_excluded(sizes: tuple[int, ...], share: float) -> None:
    _, flat = both(sizes)
    rng = np.random.default_rng(2)
    items = rng.random(N) < share
    laid = Laid.over(flat, items)
    excluded = [rng.integers(0, N, count).tolist() for count in (0, 1, 5, 30, 200)] + [[7, 7, 7], []]
    closed = laid.closed(excluded)
    assert closed.shape[0] == len(excluded)
    begin, end = flat.spans
    for row, barred in zip(closed, excluded, strict=True):
        under = [flat.order[first:last] for first, last in zip(begin, end, strict=True)] + [
            [item] for item in flat.order
        ]
        allowed = [[item for item in some if items[item]] for some in under]
        by_hand = [node for node, some in enumerate(allowed) if node and some and set(some) <= set(barred)]
        assert row[row >= 0].tolist() == by_hand


def test_rows_are_padded_on_the_right_to_at_least_one_column() -> None:
    assert padded([[1, 2], [], [3]]).tolist() == [[1, 2], [-1, -1], [3, -1]]
    assert padded([[], []]).tolist() == [[-1], [-1]]

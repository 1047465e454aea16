"""The tree holds the catalogue's paths and no others; a filter closes what leads to no permitted item."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sidestep.sids.trie import NOWHERE, Allowed, Permitted, Trie

SIZES = (3, 2, 4)
laws = settings(max_examples=40, deadline=None)
numbers, seeds = st.integers(1, 30), st.integers(0, 10_000)


def random_codes(number: int, seed: int, sizes: tuple[int, ...] = SIZES) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (number,), generator=generator) for size in sizes], dim=1)


def every_node(trie: Trie, depth: int) -> Tensor:
    return torch.arange(trie.num_nodes(depth))[None]


def prefixes(codes: Tensor, depth: int) -> list[tuple[int, ...]]:
    """The distinct prefixes in path order: what the nodes of a depth stand for."""
    return sorted({tuple(path[:depth]) for path in codes.tolist()})


def expected_children(codes: Tensor, left: Tensor, depth: int) -> list[list[tuple[int, int, bool]]]:
    """By brute force, for every node of a depth: its children, their codes, and whether they are open."""
    below = prefixes(codes, depth + 1)
    open_paths = {tuple(path[: depth + 1]) for path in codes[left].tolist()}
    return [
        [(number, path[-1], path in open_paths) for number, path in enumerate(below) if path[:-1] == prefix]
        for prefix in prefixes(codes, depth)
    ]


def real_children(permitted: Permitted, trie: Trie, depth: int, nodes: Tensor, row: int) -> list[list[tuple[int, ...]]]:
    """What `Permitted.children` says of a row, without the padding, which must be closed."""
    found = permitted.children(depth, nodes)
    counts = trie.firsts[depth].diff().tolist()
    real = []
    for w, node in enumerate(nodes[row].tolist()):
        assert not found.open[row, w, counts[node] :].any()
        numbers = range(int(found.firsts[row, w]), int(found.firsts[row, w]) + counts[node])
        both = zip(numbers, found.codes[row, w].tolist(), found.open[row, w].tolist(), strict=False)
        real.append([(number, code, is_open) for number, code, is_open in both])
    return real


@laws
@given(numbers, seeds)
def test_children_are_the_catalogues_prefixes_one_code_longer(number: int, seed: int) -> None:
    codes = random_codes(number, seed)
    trie, everything = Trie.build(codes, SIZES), torch.ones(number, dtype=torch.bool)
    for depth in range(3):
        nodes = every_node(trie, depth)
        assert real_children(Permitted(trie), trie, depth, nodes, 0) == expected_children(codes, everything, depth)
    assert trie.num_nodes(3) == len(prefixes(codes, 3))


@laws
@given(st.integers(1, 25), seeds, st.booleans(), st.booleans())
def test_children_are_open_where_and_only_where_a_permitted_item_is_under_them(
    number: int, seed: int, some_allowed: bool, some_excluded: bool
) -> None:
    codes, generator = random_codes(number, seed), torch.Generator().manual_seed(seed)
    trie = Trie.build(codes, SIZES)
    allowed = torch.rand(number, generator=generator) < 0.6 if some_allowed else None
    excluded = torch.randint(-1, number, (2, 20), generator=generator) if some_excluded else None
    permitted = Permitted(trie, None if allowed is None else Allowed.of(trie, allowed), excluded)
    for row in range(2):
        left = torch.ones(number, dtype=torch.bool) if allowed is None else allowed.clone()
        if excluded is not None:
            left[excluded[row][excluded[row] >= 0]] = False
        for depth in range(3):
            nodes = every_node(trie, depth)[:, torch.randperm(trie.num_nodes(depth), generator=generator)]
            expected = expected_children(codes, left, depth)
            got = real_children(permitted, trie, depth, nodes.expand(2, -1), row)
            assert got == [expected[node] for node in nodes[0].tolist()]
        under = permitted.items_under(every_node(trie, 3).expand(2, -1))[row]
        assert sorted(under[under >= 0].tolist()) == left.nonzero().flatten().tolist()


@laws
@given(numbers, seeds)
def test_taking_places_gives_the_child_and_the_code_that_stand_there(number: int, seed: int) -> None:
    trie = Trie.build(random_codes(number, seed), SIZES)
    items = torch.rand(number, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = Permitted(trie, Allowed.of(trie, items)).children(1, every_node(trie, 1))
    places = torch.arange(found.open.numel())[None]
    parents, nodes, codes = found.take(places)
    assert parents.tolist() == [[w for w in range(trie.num_nodes(1)) for _ in range(found.open.shape[2])]]
    assert torch.equal(nodes, found.nodes.flatten(1).masked_fill(~found.open.flatten(1), NOWHERE))
    assert torch.equal(codes, found.codes.flatten(1))


@laws
@given(numbers, seeds)
def test_walking_down_an_items_codes_leads_to_its_nodes_and_its_leaf(number: int, seed: int) -> None:
    codes = random_codes(number, seed)
    trie = Trie.build(codes, SIZES)
    items, nodes = torch.arange(number), torch.zeros(1, number, dtype=torch.int64)
    for depth in range(4):
        assert torch.equal(trie.node_of_item(depth, items), nodes[0])
        assert torch.equal(trie.counts(depth), nodes[0].bincount())
        if depth < 3:
            found = Permitted(trie).children(depth, nodes)
            nodes = found.nodes[(found.codes == codes[None, :, depth : depth + 1]) & found.open][None]


@laws
@given(numbers, seeds)
def test_leaves_hold_the_items_with_their_path_and_every_item_once(number: int, seed: int) -> None:
    codes = random_codes(number, seed)
    trie = Trie.build(codes, SIZES)
    items = trie.items_under(trie.node_of_item(3, torch.arange(number)))
    for item, under in enumerate(items.tolist()):
        same = (codes == codes[item]).all(1).nonzero().flatten().tolist()
        assert [other for other in under if other >= 0] == same
    everything = trie.items_under(torch.arange(trie.num_nodes(3))).flatten()
    assert sorted(everything[everything >= 0].tolist()) == list(range(number))


def test_nowhere_has_no_children_and_no_items() -> None:
    trie = Trie.build(torch.tensor([[0, 1], [1, 1]]), (2, 2))
    nowhere = torch.tensor([[NOWHERE, 0]])
    assert Permitted(trie).children(1, nowhere).open.tolist() == [[[False], [True]]]
    assert Permitted(trie, None, torch.tensor([[0]])).children(1, nowhere).open.tolist() == [[[False], [False]]]
    assert trie.items_under(nowhere).tolist() == [[[-1], [0]]]
    assert Permitted(trie).items_under(nowhere).tolist() == [[[-1], [0]]]
    assert trie.node_of_item(1, torch.tensor([-1])).tolist() == [NOWHERE]
    nothing = Permitted(trie).children(1, torch.tensor([[NOWHERE, NOWHERE]]))
    assert nothing.open.tolist() == [[[False], [False]]]
    assert nothing.take(torch.tensor([[1]]))[1].tolist() == [[NOWHERE]]
    assert trie.items_under(torch.tensor([NOWHERE])).tolist() == [[-1]]


def test_items_that_share_an_id_stand_in_order_of_popularity_then_number() -> None:
    codes = torch.zeros(4, 2, dtype=torch.int64)
    leaf = torch.tensor([0])
    assert Trie.build(codes, (1, 1)).items_under(leaf).tolist() == [[0, 1, 2, 3]]
    trie = Trie.build(codes, (1, 1), popularity=torch.tensor([5, 1, 7, 5]))
    assert trie.items_under(leaf).tolist() == [[2, 0, 3, 1]]


@pytest.mark.parametrize("size", [4, 40_000, 2**22])
def test_paths_are_sorted_alike_in_one_number_or_in_parts(size: int) -> None:
    """Three levels of 2**22 codes do not fit into 63 bits; levels of 40,000 do not into 16."""
    codes, number = random_codes(200, 1, (4, 4, 4)), 200
    popularity = torch.randint(5, (number,), generator=torch.Generator().manual_seed(2))
    spread = codes * (size // 4)
    by_hand = sorted(range(number), key=lambda item: (codes[item].tolist(), -int(popularity[item]), item))
    trie = Trie.build(spread, (size,) * 3, popularity)
    assert trie.order.tolist() == by_hand


def test_memory_is_what_the_docstring_says() -> None:
    sizes, number = (256, 256, 256), 50_000
    trie = Trie.build(random_codes(number, 0, sizes), sizes)
    nodes = sum(trie.num_nodes(depth) for depth in range(1, 4))
    assert trie.num_bytes == 8 * number + 6 * nodes + 2 * 3 * 256 + 6 + 4 * 4
    assert trie.num_bytes <= 14 * number + 400_000

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.sids.trie import Permitted, Trie

SIZES = (3, 2, 4)


def random_codes(number: int, seed: int, sizes: tuple[int, ...] = SIZES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (number,), generator=generator) for size in sizes], dim=1)


def all_paths(sizes: tuple[int, ...] = SIZES) -> torch.Tensor:
    return torch.cartesian_prod(*[torch.arange(size) for size in sizes])


def walk(trie: Trie, paths: torch.Tensor) -> torch.Tensor:
    nodes = torch.zeros(len(paths), dtype=torch.int64)
    for level in range(paths.shape[1]):
        nodes = trie.child(level, nodes, paths[:, level])
    return nodes


worlds = given(st.integers(1, 30), st.integers(0, 10_000))


@worlds
@settings(max_examples=30, deadline=None)
def test_exactly_the_catalogues_paths_are_accepted(number: int, seed: int) -> None:
    codes = random_codes(number, seed)
    trie = Trie.build(codes, SIZES)
    have = set(map(tuple, codes.tolist()))
    leaves = walk(trie, all_paths())
    accepted = [tuple(path) for path, leaf in zip(all_paths().tolist(), leaves.tolist(), strict=True) if leaf >= 0]
    assert set(accepted) == have
    assert sorted(leaves[leaves >= 0].tolist()) == list(range(trie.num_nodes(3)))


@worlds
@settings(max_examples=30, deadline=None)
def test_a_code_may_follow_where_and_only_where_it_has_a_child(number: int, seed: int) -> None:
    trie = Trie.build(random_codes(number, seed), SIZES)
    for level, size in enumerate(SIZES):
        nodes = torch.arange(trie.num_nodes(level))
        children = trie.child(level, nodes[:, None].expand(-1, size), torch.arange(size).expand(len(nodes), -1))
        assert torch.equal(trie.children_mask(level, nodes), children >= 0)


@worlds
@settings(max_examples=30, deadline=None)
def test_leaves_hold_the_items_with_their_path_and_every_item_once(number: int, seed: int) -> None:
    codes = random_codes(number, seed)
    trie = Trie.build(codes, SIZES)
    leaves = walk(trie, codes)
    items = trie.items_under(3, leaves)
    for item, under in enumerate(items.tolist()):
        same = (codes == codes[item]).all(1).nonzero().flatten().tolist()
        assert [other for other in under if other >= 0] == same
    everything = trie.items_under(3, torch.arange(trie.num_nodes(3))).flatten()
    assert sorted(everything[everything >= 0].tolist()) == list(range(number))


@worlds
@settings(max_examples=30, deadline=None)
def test_nodes_of_items_are_where_their_prefixes_lead_and_count_them(number: int, seed: int) -> None:
    codes = random_codes(number, seed)
    trie = Trie.build(codes, SIZES)
    for depth in range(4):
        nodes = trie.node_of_item(depth, torch.arange(number))
        assert torch.equal(nodes, walk(trie, codes[:, :depth]))
        assert torch.equal(trie.counts(depth), nodes.bincount())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 25), st.integers(0, 10_000), st.booleans(), st.booleans())
def test_a_filtered_trie_equals_a_trie_of_the_permitted_items(
    number: int, seed: int, some_allowed: bool, some_excluded: bool
) -> None:
    codes, generator = random_codes(number, seed), torch.Generator().manual_seed(seed)
    trie = Trie.build(codes, SIZES)
    allowed = torch.rand(number, generator=generator) < 0.6 if some_allowed else None
    excluded = torch.randint(-1, number, (2, 8), generator=generator) if some_excluded else None
    permitted = Permitted(trie, allowed, excluded)
    for row in range(2):
        left = torch.ones(number, dtype=torch.bool) if allowed is None else allowed.clone()
        if excluded is not None:
            left[excluded[row][excluded[row] >= 0]] = False
        for level, size in enumerate(SIZES):
            nodes = torch.arange(trie.num_nodes(level)).expand(2, -1)
            expected = torch.zeros(trie.num_nodes(level), size, dtype=torch.bool)
            above = trie.node_of_item(level, torch.arange(number))
            expected[above[left], codes[left, level]] = True
            assert torch.equal(permitted.mask(level, nodes)[row], expected)
        under = permitted.items_under(torch.arange(trie.num_nodes(3)).expand(2, -1))[row]
        assert sorted(under[under >= 0].tolist()) == left.nonzero().flatten().tolist()


def test_nowhere_has_no_children_and_no_items() -> None:
    trie = Trie.build(torch.tensor([[0, 1], [1, 1]]), (2, 2))
    nowhere = torch.tensor([[-1, 0]])
    assert trie.children_mask(1, nowhere).tolist() == [[[False, False], [False, True]]]
    assert trie.child(1, nowhere, torch.tensor([[1, 1]])).tolist() == [[-1, 0]]
    assert trie.items_under(2, nowhere).tolist() == [[[-1], [0]]]
    assert Permitted(trie).mask(1, nowhere).tolist() == [[[False, False], [False, True]]]
    assert trie.node_of_item(1, torch.tensor([-1])).tolist() == [-1]
    assert trie.child(1, torch.tensor([-1]), torch.tensor([0])).tolist() == [-1]
    assert trie.items_under(2, torch.tensor([-1])).tolist() == [[-1]]


def test_items_that_share_an_id_stand_in_order_of_popularity_then_number() -> None:
    codes = torch.zeros(4, 2, dtype=torch.int64)
    leaf = torch.tensor([0])
    assert Trie.build(codes, (1, 1)).items_under(2, leaf).tolist() == [[0, 1, 2, 3]]
    trie = Trie.build(codes, (1, 1), popularity=torch.tensor([5, 1, 7, 5]))
    assert trie.items_under(2, leaf).tolist() == [[2, 0, 3, 1]]


def test_memory_is_what_the_docstring_says() -> None:
    sizes, number = (256, 256, 256), 50_000
    trie = Trie.build(random_codes(number, 0, sizes), sizes)
    nodes = sum(trie.num_nodes(depth) for depth in range(4))
    assert trie.num_bytes == 4 * (2 * number + 3 * nodes - trie.num_nodes(3) + 4 + 3)
    assert trie.num_bytes <= 20 * number + 800_000

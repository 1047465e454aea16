"""Collision policies: an ID for every item, a price that is told, and nothing published that moves."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from sidestep.errors import DataError
from sidestep.sids.collisions import (
    Assigned,
    Resolved,
    extra_code,
    nearest_free,
    num_shared,
    random_codes,
    resolve_collisions,
    with_further_levels,
)
from sidestep.sids.kmeans import nearest
from sidestep.sids.residual import ResidualQuantiser
from sidestep.sids.semantic_ids import Floats, Ints, SemanticIds


class Table(nn.Module):
    """A level with given codewords."""

    def __init__(self, codewords: torch.Tensor) -> None:
        super().__init__()
        self.codewords = codewords

    def __len__(self) -> int:
        return len(self.codewords)

    def assign(self, residuals: torch.Tensor) -> torch.Tensor:
        return nearest(residuals, self.codewords)[0]

    def initialize(self, residuals: torch.Tensor, generator: torch.Generator) -> None:
        raise NotImplementedError


def quantiser(*sizes: int, width: int = 3, seed: int = 0) -> ResidualQuantiser:
    generator = torch.Generator().manual_seed(seed)
    return ResidualQuantiser(
        [Table(torch.randn(size, width, generator=generator) / 2**i) for i, size in enumerate(sizes)]
    )


def assigned(levels: ResidualQuantiser, latents: torch.Tensor, popularity: Ints | None = None) -> Assigned:
    return Assigned(levels.assign(latents).numpy(), latents, levels, popularity)


def some(count: int, width: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def semantic_ids(codes: Ints, sizes: tuple[int, ...], width: int = 3) -> SemanticIds:
    codebooks: list[Floats] = [np.zeros((size, width), dtype=np.float32) for size in sizes]
    return SemanticIds(codes, sizes, codebooks, [np.zeros(size, dtype=np.int64) for size in sizes])


def test_the_extra_code_numbers_the_items_of_an_id_the_most_popular_first() -> None:
    codes = np.array([[1, 1], [1, 1], [2, 0], [1, 1]])
    assert extra_code(codes, 4).tolist() == [0, 1, 0, 2]
    assert extra_code(codes, 4, popularity=np.array([1, 5, 0, 5])).tolist() == [2, 0, 0, 1]


def test_the_extra_code_goes_on_where_published_ones_end_and_shares_the_last_when_all_are_given_out() -> None:
    published = np.array([[1, 1, 0], [1, 1, 1], [2, 0, 0]])
    codes = np.array([[1, 1], [2, 0], [0, 0], [1, 1], [1, 1]])
    assert extra_code(codes, 4, published=published).tolist() == [2, 1, 0, 3, 3]


@pytest.mark.parametrize("popularity", [None, np.arange(60)])
def test_extra_and_nearest_leave_no_id_to_two_items(popularity: Ints | None) -> None:
    given = assigned(quantiser(4, 4, 8), some(60), popularity)
    assert num_shared(given.codes) > 0
    for kind in ("extra", "nearest"):
        resolved = resolve_collisions(given, kind)
        assert resolved.shared == num_shared(resolved.codes) == 0
        assert (resolved.codes < np.array(resolved.sizes)).all()


def test_the_extra_level_has_room_for_the_largest_group_and_at_least_a_codebook() -> None:
    given = assigned(quantiser(2, 2), torch.zeros(9, 3))
    assert resolve_collisions(given, "extra").sizes == (2, 2, 9)
    assert resolve_collisions(assigned(quantiser(2, 8), some(3)), "extra").sizes == (2, 8, 8)


def test_keeping_changes_nothing_and_says_how_many_share() -> None:
    given = assigned(quantiser(2, 2), some(20))
    resolved = resolve_collisions(given, "keep")
    assert np.array_equal(resolved.codes, given.codes)
    assert resolved.moved == 0
    brute = sum((given.codes == row).all(axis=1).sum() > 1 for row in given.codes)
    assert resolved.shared == brute


def test_the_most_popular_item_keeps_its_path_and_an_item_alone_is_not_moved() -> None:
    latents = torch.cat([torch.zeros(5, 3), some(30)])
    popularity = np.array([0, 3, 9, 9, 1, *range(30)])
    given = assigned(quantiser(4, 4, 8), latents, popularity)
    resolved = nearest_free(given)
    same = (resolved.codes == given.codes).all(axis=1)
    for path in np.unique(given.codes, axis=0):
        items = np.flatnonzero((given.codes == path).all(axis=1))
        keeper = items[np.argmax(popularity[items])]
        assert same[items].sum() == 1
        assert same[keeper]
    assert resolved.moved == (~same).sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("with_published", [False, True])
def test_nearest_pairs_first_is_what_a_sorted_list_of_all_pairs_gives(seed: int, with_published: bool) -> None:
    levels = quantiser(2, 3, 5, seed=seed)
    given = assigned(levels, some(14, seed=seed))
    published = np.array([[0, 0, 0], [1, 2, 4], [0, 1, 1]]) if with_published else np.empty((0, 3), dtype=np.int64)
    paths = np.array(list(product(range(2), range(3), range(5))))
    sums = sum(level.codewords[paths[:, at]] for at, level in enumerate(levels.levels))
    costs = (given.latents[:, None] - sums).square().sum(-1).numpy()

    taken = {tuple(path) for path in published}
    expected: dict[int, tuple[int, ...]] = {}
    for item, path in enumerate(map(tuple, given.codes)):
        if path not in taken:
            expected[item] = path
            taken.add(path)
    pairs = [(costs[item, p], item, tuple(paths[p])) for item in range(14) if item not in expected for p in range(30)]
    for _, item, path in sorted(pairs):
        if item not in expected and path not in taken:
            expected[item] = path
            taken.add(path)
    resolved = nearest_free(given, published)
    assert [tuple(path) for path in resolved.codes] == [expected[item] for item in range(14)]


def test_the_price_is_the_mean_squared_distance_of_latents_from_their_codewords() -> None:
    levels = ResidualQuantiser([Table(torch.tensor([[0.0], [1.0], [3.0]]))])
    resolved = nearest_free(assigned(levels, torch.tensor([[0.1], [0.0]]), np.array([0, 1])))
    assert resolved.codes.tolist() == [[1], [0]]
    assert resolved.before == pytest.approx(0.01 / 2)
    assert resolved.after == pytest.approx(0.81 / 2)
    assert "1 of 2 items moved" in resolved.note()


def test_as_many_items_as_paths_fill_them_all_and_one_more_is_refused() -> None:
    levels = quantiser(2, 3, 2)
    resolved = nearest_free(assigned(levels, torch.zeros(12, 3)))
    assert len(np.unique(resolved.codes, axis=0)) == 12
    with pytest.raises(DataError, match="13 items need a path of their own and the levels 2 x 3 x 2 have only 12"):
        nearest_free(assigned(levels, torch.zeros(13, 3)))
    with pytest.raises(DataError, match="13 items"):
        nearest_free(assigned(levels, torch.zeros(12, 3)), np.array([[0, 0, 0]]))


def test_a_beam_finds_a_free_path_however_many_levels_there_are() -> None:
    levels = quantiser(*[4] * 10)
    resolved = nearest_free(assigned(levels, torch.zeros(300, 3)))
    assert resolved.shared == 0


def test_random_codes_are_unused_ones_of_their_prefix_and_the_same_for_a_seed() -> None:
    prefixes = np.repeat([[0], [1], [2]], [6, 4, 1], axis=0)
    published = np.array([[0, 0, 0], [0, 1, 2], [1, 1, 1]])
    drawn = random_codes(prefixes, (3, 4), seed=7, published=published)
    codes = np.concatenate([prefixes, drawn], axis=1)
    assert num_shared(codes, published) == 0
    assert (drawn < [3, 4]).all()
    assert np.array_equal(drawn, random_codes(prefixes, (3, 4), seed=7, published=published))
    assert not np.array_equal(drawn, random_codes(prefixes, (3, 4), seed=8, published=published))


def test_a_full_prefix_uses_every_code_once_and_then_shares() -> None:
    drawn = random_codes(np.zeros((7, 1), dtype=np.int64), (5,), seed=0)
    assert sorted(set(drawn.ravel().tolist())) == [0, 1, 2, 3, 4]
    resolved = resolve_collisions(assigned(quantiser(1), torch.zeros(7, 3)), "keep", random_sizes=(5,))
    assert resolved.shared > 0
    assert "share" in resolved.note()


def test_random_codes_are_drawn_evenly() -> None:
    drawn = random_codes(np.arange(8000)[:, None] // 2, (4,), seed=0)
    assert np.bincount(drawn.ravel()) / 8000 == pytest.approx([0.25] * 4, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "random_sizes"), [("keep", ()), ("extra", ()), ("nearest", ()), ("extra", (6,)), ("keep", (9,))]
)
def test_new_items_take_no_published_path(kind: str, random_sizes: tuple[int, ...]) -> None:
    levels = quantiser(4, 4, 16)
    first = resolve_collisions(assigned(levels, some(40)), kind, random_sizes)
    published = semantic_ids(first.codes, first.sizes)
    again = resolve_collisions(assigned(levels, some(10, seed=3)), kind, random_sizes, seed=1, published=published)
    assert again.sizes == first.sizes
    if kind != "keep":
        assert again.shared == 0
        assert num_shared(np.concatenate([first.codes, again.codes])) == 0


def test_levels_that_were_not_learnt_get_unit_rows_and_one_cluster() -> None:
    learnt = semantic_ids(np.zeros((2, 1), dtype=np.int64), (4,))
    made = with_further_levels(learnt, Resolved(np.array([[0, 0], [0, 1]]), (4, 6), 0, 0), seed=0)
    assert made.codebook_sizes == (4, 6)
    assert made.num_clusters == (1, 1)
    assert np.linalg.norm(made.codebooks[1], axis=1) == pytest.approx([1.0] * 6, abs=1e-6)
    assert np.array_equal(made.codebooks[0], learnt.codebooks[0])


def test_one_item_and_none_are_settled_too() -> None:
    levels = quantiser(1, 1)
    for kind in ("keep", "extra", "nearest"):
        assert resolve_collisions(assigned(levels, some(1)), kind).codes[:, :2].tolist() == [[0, 0]]
    assert len(random_codes(np.empty((0, 2), dtype=np.int64), (3,), seed=0)) == 0


def test_a_crowd_on_one_id_spreads_over_the_paths_nearest_to_it_the_popular_ones_first() -> None:
    levels = quantiser(32, 32, 4)
    popularity = np.arange(1500)
    resolved = nearest_free(assigned(levels, torch.zeros(1500, 3), popularity))
    assert resolved.shared == 0
    sums = sum(level.codewords[resolved.codes[:, at]] for at, level in enumerate(levels.levels))
    lengths = sums.square().sum(1).numpy()
    assert resolved.codes[-1].tolist() == levels.assign(torch.zeros(1, 3))[0].tolist()
    assert (np.diff(lengths[:-1]) <= 1e-5).all()  # of those that move, the most popular goes least far
    assert resolved.after == pytest.approx(lengths.mean(), rel=1e-5)

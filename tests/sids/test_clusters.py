import numpy as np
import pytest

from sidestep.sids.clusters import adaptive_counts, cluster_codes
from sidestep.sids.semantic_ids import SemanticIds


def codewords(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, 4)).astype(np.float32)


def test_an_item_has_the_clusters_of_its_codes_level_by_level() -> None:
    codes = np.array([[0, 2], [2, 0], [1, 1]])
    books = [np.zeros((3, 1), np.float32)] * 2
    sids = SemanticIds(codes, (3, 3), books, [np.array([0, 0, 1]), np.array([1, 0, 2])])
    assert sids.clusters_of_items.tolist() == [[0, 2], [1, 1], [0, 0]]


@pytest.mark.parametrize(("size", "wanted", "expected"), [(64, 8, 8), (5, 32, 5), (1, 32, 1), (10, 1, 1)])
def test_every_cluster_number_occurs_and_there_are_at_most_as_many_as_codes(
    size: int, wanted: int, expected: int
) -> None:
    clusters = cluster_codes(codewords(size), wanted, seed=0)
    assert clusters.shape == (size,)
    assert sorted(set(clusters.tolist())) == list(range(expected))


def test_clusters_are_numbered_as_the_codes_meet_them() -> None:
    clusters = cluster_codes(codewords(40), 7, seed=3).tolist()
    assert list(dict.fromkeys(clusters)) == list(range(7))


def test_balanced_clusters_hold_equally_many_codes_where_plain_ones_do_not() -> None:
    apart = np.eye(64, dtype=np.float32)  # all codewords at one distance from each other: k-means has nothing to go by
    assert np.bincount(cluster_codes(apart, 8, seed=0)).tolist() == [8] * 8
    assert np.bincount(cluster_codes(apart, 8, seed=0, balanced=False)).max() > 16


def test_equal_codewords_share_a_cluster() -> None:
    book = np.repeat(codewords(3), 4, axis=0)
    assert cluster_codes(book, 32, seed=0).tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_the_same_seed_gives_the_same_clusters() -> None:
    assert np.array_equal(cluster_codes(codewords(50), 9, seed=4), cluster_codes(codewords(50), 9, seed=4))


def test_adaptive_counts_by_hand() -> None:
    # Level 1 uses 16 codes alike: H = log 16, K = 4. Level 2 has 4 codes alike under each: K = 2. Level 3 says nothing.
    codes = np.array([(first, second, 0) for first in range(16) for second in range(4)])
    assert adaptive_counts(codes, (16, 16, 16)) == [4, 2, 2]
    assert adaptive_counts(codes, (16, 16, 1)) == [4, 2, 1]


def test_adaptive_counts_fall_where_codes_are_used_unevenly() -> None:
    rng = np.random.default_rng(0)
    even, uneven = rng.integers(0, 100, (5000, 1)), np.minimum(rng.geometric(0.3, (5000, 1)), 100) - 1
    assert adaptive_counts(even, (100,))[0] == 10
    assert adaptive_counts(uneven, (100,))[0] < 4

import numpy as np
import pytest

from sidestep.sids.clusters import cluster_codes


def codewords(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, 4)).astype(np.float32)


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


def test_equal_codewords_share_a_cluster() -> None:
    book = np.repeat(codewords(3), 4, axis=0)
    assert cluster_codes(book, 32, seed=0).tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_the_same_seed_gives_the_same_clusters() -> None:
    assert np.array_equal(cluster_codes(codewords(50), 9, seed=4), cluster_codes(codewords(50), 9, seed=4))

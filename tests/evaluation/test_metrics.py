"""HR, NDCG and MRR of four users by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.errors import ConfigError
from sidestep.evaluation.metrics import METRICS, hit_rate, named, ndcg, reciprocal_rank

RANKS = np.array([1, 3, 0, 8])  # first, third, not found, eighth


def test_hit_rate_by_hand() -> None:
    assert hit_rate(RANKS, 5).tolist() == [1, 1, 0, 0]
    assert hit_rate(RANKS, 10).mean() == 0.75


def test_ndcg_by_hand() -> None:
    np.testing.assert_allclose(ndcg(RANKS, 5), [1, 1 / 2, 0, 0])
    np.testing.assert_allclose(ndcg(RANKS, 10), [1, 1 / 2, 0, 1 / np.log2(9)])


def test_reciprocal_rank_by_hand() -> None:
    np.testing.assert_allclose(reciprocal_rank(RANKS, 5), [1, 1 / 3, 0, 0])
    np.testing.assert_allclose(reciprocal_rank(RANKS, 10), [1, 1 / 3, 0, 1 / 8])


@given(ranks=st.lists(st.integers(0, 30), min_size=1), k=st.integers(1, 20))
def test_metrics_lie_within_the_hit_rate_and_grow_with_depth(ranks: list[int], k: int) -> None:
    array = np.array(ranks)
    for metric in METRICS.values():
        values = metric(array, k)
        assert ((values >= 0) & (values <= hit_rate(array, k))).all()
        assert (metric(array, k + 1) >= values).all()
        np.testing.assert_array_equal(metric(np.ones(3, dtype=np.int64), k), 1)


def test_metric_names_are_read() -> None:
    assert named("NDCG@10") == ("NDCG", 10)


@pytest.mark.parametrize(
    ("name", "message"),
    [("ndgc@10", "did you mean 'NDCG'"), ("HR", "no depth"), ("HR@0", "no depth"), ("HR@ten", "no depth")],
)
def test_names_that_are_no_metric_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        named(name)

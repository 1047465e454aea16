"""AUC by hand, and against counting every pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.evaluation.auc import auc, user_aucs

shown = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=1, max_size=30)


def test_auc_by_hand() -> None:
    taken = np.array([True, False, True, False])
    assert auc(np.array([0.9, 0.1, 0.5, 0.5]), taken) == (1 + 1 + 1 + 0.5) / 4
    assert auc(np.array([0.1, 0.9, 0.1, 0.9]), taken) == 0
    assert np.isnan(auc(np.array([0.1, 0.9]), np.array([True, True])))


def test_gauc_weighs_users_by_impressions_and_uauc_does_not() -> None:
    users = np.array([5, 5, 7, 7, 7, 7, 9])  # user 9 took all that was shown
    taken = np.array([True, False, True, False, False, False, True])
    found = user_aucs(np.array([2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 1.0]), taken, users)
    assert found.users.tolist() == [5, 7]
    assert found.values.tolist() == [1, 0]
    assert found.gauc == pytest.approx(2 / 6)
    assert found.uauc == 0.5


@settings(deadline=None, max_examples=60)
@given(rows=shown, seed=st.integers(0, 9))
def test_ranks_equal_counting_pairs_in_any_order(rows: list[tuple[int, int, bool]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    users, scores, taken = (np.array(column)[order] for column in zip(*rows, strict=True))
    expected = {}
    for user in set(users.tolist()):
        own = users == user
        wins = [(one > other) + 0.5 * (one == other) for one in scores[own & taken] for other in scores[own & ~taken]]
        if wins:
            expected[user] = float(np.mean(wins))
    found = user_aucs(scores.astype(np.float64), taken, users.astype(np.int64))
    assert dict(zip(found.users.tolist(), found.values.tolist(), strict=True)) == pytest.approx(expected)

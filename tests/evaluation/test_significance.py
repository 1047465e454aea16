"""The paired bootstrap: against the textbook, against drawing users one by one, and what it will not pair."""

import numpy as np
import polars as pl
import pytest

from sidestep.errors import DataError
from sidestep.evaluation import significance
from sidestep.evaluation.ranking import RankTable, Seen
from sidestep.evaluation.significance import compare, paired_bootstrap


def ranks(
    values: list[int], users: list[int] | None = None, targets: list[int] | None = None, seen: Seen = "masked"
) -> RankTable:
    size = len(values)
    columns = {"user": users or list(range(size)), "target": targets or [0] * size, "rank": values}
    return RankTable(pl.DataFrame({**columns, "length": [5] * size}), 10, seen)


def test_the_interval_is_the_textbooks_for_many_users() -> None:
    rng = np.random.default_rng(0)
    first = (rng.random(5_000) < 0.10).astype(float)
    second = np.where(rng.random(5_000) < 0.9, first, (rng.random(5_000) < 0.3).astype(float))
    found = paired_bootstrap(first, second)
    error = (second - first).std() / np.sqrt(5_000)
    assert found.difference == pytest.approx((second - first).mean())
    assert found.low == pytest.approx(found.difference - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.difference + 1.96 * error, abs=0.1 * error)


def test_counting_distinct_differences_equals_drawing_users_one_by_one() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.choice([0, 0.5, 1], 300, p=[0.8, 0.1, 0.1]), rng.choice([0, 0.5, 1], 300, p=[0.7, 0.2, 0.1])
    drawn = (second - first)[rng.integers(0, 300, (10_000, 300))].mean(axis=1)
    found = paired_bootstrap(first, second)
    assert found.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.004)
    assert found.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.004)
    assert found.p == pytest.approx(2 * (drawn <= 0).mean(), abs=0.01)


def test_no_difference_has_p_one_and_an_interval_of_zero() -> None:
    found = paired_bootstrap(np.array([0.0, 1.0, 0.5]), np.array([0.0, 1.0, 0.5]))
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_difference_in_every_user_has_the_smallest_p() -> None:
    found = paired_bootstrap(np.zeros(50), np.ones(50), draws=999)
    assert found.p == pytest.approx(2 / 1000)
    assert (found.low, found.high) == (1, 1)


def test_swapping_the_two_mirrors_the_answer() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(200).round(1), rng.random(200).round(1)
    there, back = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert back.difference == -there.difference
    assert back.p == pytest.approx(there.p, abs=0.03)
    assert back.low == pytest.approx(-there.high, abs=0.01)


def test_pure_chance_is_called_significant_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(3)
    calls = [
        paired_bootstrap(*(rng.random((2, 200)) < 0.3).astype(float), draws=500, seed=trial).p < 0.05
        for trial in range(300)
    ]
    assert 0.02 < np.mean(calls) < 0.09


def test_the_same_seed_gives_the_same_answer_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random(50), rng.random(50)
    whole = paired_bootstrap(first, second, draws=100, seed=5)
    monkeypatch.setattr(significance, "COUNTS_AT_ONCE", 7 * 50)
    in_blocks = paired_bootstrap(first, second, draws=100, seed=5)
    assert (in_blocks.low, in_blocks.high, in_blocks.p) == pytest.approx((whole.low, whole.high, whole.p))


def test_two_rankings_of_the_same_cases_are_compared_on_a_metric() -> None:
    found = compare(ranks([1, 0, 0, 2]), ranks([1, 1, 0, 2]), "HR@10", draws=100)
    assert (found.first, found.second, found.num_users) == (0.5, 0.75, 4)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ranks([1, 1, 1]), "Cannot pair 2 users with 3"),
        (ranks([1, 1], users=[0, 7]), "1 of 2 users differ, the first in row 1"),
        (ranks([1, 1], targets=[3, 0]), "1 of 2 targets differ, the first in row 0"),
        (ranks([1, 1], seen="kept"), "seen items masked and kept"),
    ],
)
def test_what_does_not_belong_together_is_not_paired(other: RankTable, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare(ranks([1, 0]), other, "HR@10")


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0, 0.0])])
def test_values_without_a_partner_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(DataError, match=f"Cannot pair {len(first)} values with {len(second)}"):
        paired_bootstrap(np.array(first), np.array(second))


def alike(users: int, cases: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two recommenders' hits in several cases of every user, which are alike: who is easy for one is easy always."""
    easy = rng.random((2, users, 1)) < 0.5
    first, second = (rng.random((2, users, cases)) < np.where(easy, 0.8, 0.1)).astype(float).reshape(2, -1)
    return first, second, np.arange(users).repeat(cases)


def test_users_are_drawn_with_all_of_their_cases() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 6, 200)
    users = np.arange(200).repeat(sizes)
    first, second = rng.choice([0, 0.5, 1], (2, len(users)), p=[0.7, 0.2, 0.1])
    sums = np.bincount(users, weights=second - first)
    chosen = rng.integers(0, 200, (10_000, 200))
    drawn = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    found = paired_bootstrap(first, second, users=users)
    assert found.num_users == 200
    assert found.difference == pytest.approx((second - first).mean())
    assert found.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.005)
    assert found.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.005)


def test_where_every_user_has_one_case_nothing_is_different() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.random(300).round(1), rng.random(300).round(1)
    assert paired_bootstrap(first, second, users=rng.permutation(300)) == paired_bootstrap(first, second)


def test_equal_cases_of_a_user_make_nothing_surer() -> None:
    rng = np.random.default_rng(8)
    first, second = (rng.random((2, 80)) < 0.3).astype(float)
    once = paired_bootstrap(first, second)
    often = paired_bootstrap(first.repeat(4), second.repeat(4), users=np.arange(80).repeat(4))
    assert (often.low, often.high, often.p) == pytest.approx((once.low, once.high, once.p))


def test_the_order_of_cases_does_not_matter() -> None:
    first, second, users = alike(50, 4, np.random.default_rng(9))
    order = np.random.default_rng(10).permutation(len(users))
    there, back = (
        paired_bootstrap(first, second, users=users, draws=500),
        paired_bootstrap(first[order], second[order], users=users[order], draws=500),
    )
    assert (there.low, there.high, there.p) == pytest.approx((back.low, back.high, back.p))


def test_chance_among_cases_that_are_alike_is_called_significant_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(11)
    worlds = [alike(60, 10, rng) for _ in range(200)]
    by_user = [paired_bootstrap(a, b, users=users, draws=400).p < 0.05 for a, b, users in worlds]
    by_case = [paired_bootstrap(a, b, draws=400).p < 0.05 for a, b, _ in worlds]
    assert np.mean(by_user) < 0.1
    assert np.mean(by_case) > 0.2  # what drawing cases one by one would claim


def test_two_rankings_with_several_cases_of_a_user_are_compared_by_user() -> None:
    one, other = (ranks(values, users=[4, 4, 9, 9]) for values in ([1, 0, 0, 2], [1, 1, 0, 2]))
    found = compare(one, other, "HR@10", draws=100)
    assert (found.first, found.second, found.num_users) == (0.5, 0.75, 2)

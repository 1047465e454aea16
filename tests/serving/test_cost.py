"""What a batch costs, learnt from batches whose cost is known."""

import random

import pytest

from sidestep.serving.cost import MEMORY, SAFETY, USUAL, Cost


def learnt(batches: list[tuple[int, int]], fixed: float, each: float) -> Cost:
    """Of batches of so many searches and rows."""
    cost = Cost()
    for searches, rows in batches:
        cost.saw(searches, rows, fixed * searches + each * rows)
    return cost


@pytest.mark.parametrize(("fixed", "each"), [(0.1, 0.03), (0.0, 0.05), (0.2, 0.0)])
def test_batches_of_two_sizes_tell_what_any_size_costs(fixed: float, each: float) -> None:
    cost = learnt([(1, 4), (1, 32)] * 10, fixed, each)
    for rows in (1, 16, 64):
        assert cost.of(rows) == pytest.approx(fixed + rows * each, rel=0.05, abs=0.005)


def test_a_single_row_is_known_at_once_and_of_more_the_usual_share_is_assumed() -> None:
    cost = learnt([(1, 1)], 0.12, 0.0)
    assert cost.of(1) == pytest.approx(0.12)
    assert cost.each == pytest.approx(USUAL * cost.fixed)
    assert cost.of(32) == pytest.approx(0.12 * (1 + 32 * USUAL) / (1 + USUAL))


def test_rows_that_do_not_ask_alike_cost_a_search_each() -> None:
    alike, mixed = learnt([(1, 2), (1, 8)] * 20, 0.1, 0.01), learnt([(2, 2), (8, 8), (1, 1)] * 20, 0.1, 0.01)
    assert alike.of(8) == pytest.approx(0.1 + 8 * 0.01, rel=0.01)
    assert mixed.of(8) == pytest.approx(8 * (0.1 + 0.01), rel=0.02)


def test_what_has_changed_is_learnt_anew_and_no_part_is_ever_negative() -> None:
    cost, draw = learnt([(1, 4), (1, 32)] * 10, 0.5, 0.1), random.Random(0)
    for _ in range(100):
        rows = draw.randint(1, 32)
        cost.saw(1, rows, 0.02 * draw.uniform(0.5, 1.5))
        assert min(cost.fixed, cost.each) >= 0
    assert cost.of(32) < 0.04
    assert MEMORY**100 < 1e-4


def test_the_rows_within_a_time_are_the_most_that_end_in_it() -> None:
    cost = learnt([(1, 4), (1, 32)] * 10, 0.1, 0.03)
    for seconds in (0.14, 0.5, 2.0):
        rows = cost.rows_within(seconds)
        assert cost.of(rows) <= seconds < cost.of(rows + 1)
    assert cost.rows_within(0.1) == 0
    assert Cost().rows_within(0.1) > 1_000  # nothing is known, nothing is forbidden


def test_two_batches_fit_into_the_time_or_else_one() -> None:
    cost = learnt([(1, 4), (1, 32)] * 10, 0.1, 0.03)
    assert 2 * cost.of(cost.size(2.0)) <= SAFETY * 2.0 < 2 * cost.of(cost.size(2.0) + 1)
    assert cost.of(cost.size(0.3)) <= SAFETY * 0.3 < cost.of(cost.size(0.3) + 1)
    assert cost.size(0.01) == 1

"""The drawing itself: scales, ticks, labels that do not meet, and text that stays text."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.report.svg import Frame, element, labels, path, picture, spread, ticks

numbers = st.floats(-1e6, 1e6, allow_nan=False)


def test_element_escapes_content_and_attributes_but_not_other_elements() -> None:
    inner = element("text", "<script>&", x=1.25)
    assert inner == '<text x="1.2">&lt;script&gt;&amp;</text>'
    outer = element("g", inner, aria_label='"quoted"', class_="name")
    assert outer == f'<g aria-label="&#34;quoted&#34;" class="name">{inner}</g>'


def test_path_has_a_gap_where_a_value_is_not_finite() -> None:
    points = [(0.0, 0.0), (1.0, 2.0), (2.0, math.nan), (3.0, 4.0), (4.0, 5.0)]
    assert 'd="M0 0L1 2M3 4L4 5"' in path(points)


def test_frame_puts_the_corners_of_the_data_in_the_corners_of_the_plot() -> None:
    frame = Frame(1.0, 3.0, -1.0, 1.0, width=100, height=50, left=10, right=20, top=5, bottom=15)
    assert (frame.x(1.0), frame.x(2.0), frame.x(3.0)) == (10, 45, 80)
    assert (frame.y(-1.0), frame.y(0.0), frame.y(1.0)) == (35, 20, 5)


def test_frame_of_a_single_value_draws_it_instead_of_dividing_by_zero() -> None:
    frame = Frame(2.0, 2.0, 0.0, 0.0)
    assert (frame.x(2.0), frame.y(0.0)) == (frame.left, frame.height - frame.bottom)


@pytest.mark.parametrize(
    ("low", "high", "wanted", "shown"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.0, 4321.0, [0, 1000, 2000, 3000, 4000], ["0", "1,000", "2,000", "3,000", "4,000"]),
        (0.011, 0.0134, [0.011, 0.0115, 0.012, 0.0125, 0.013], ["0.0110", "0.0115", "0.0120", "0.0125", "0.0130"]),
    ],
)
def test_ticks_are_round_and_labelled_with_the_decimals_they_need(
    low: float, high: float, wanted: list[float], shown: list[str]
) -> None:
    found = ticks(low, high, 4)
    assert found == pytest.approx(wanted)
    assert labels(found) == shown


@given(numbers, st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_lie_within_their_range_evenly_and_about_as_many_as_asked_for(
    low: float, span: float, count: int
) -> None:
    high = low + span
    if high - low < abs(low) * 1e-9:
        return
    found = ticks(low, high, count)
    slack = 1e-6 * (high - low) + 1e-9 * abs(low)
    assert all(low - slack <= value <= high + slack for value in found)
    assert count / 2 <= len(found) <= 2 * count + 1 or count < 4
    steps = [right - left for left, right in itertools.pairwise(found)]
    assert steps == pytest.approx(steps[:1] * len(steps), rel=1e-3)


def test_ticks_of_no_range_are_the_value_itself() -> None:
    assert ticks(3.0, 3.0, 4) == [3.0]
    assert labels(ticks(3.0, 3.0, 4)) == ["3"]
    assert ticks(math.nan, 1.0, 4) == []


def test_whole_ticks_name_no_half_epochs() -> None:
    assert ticks(1.0, 3.0, 5, whole=True) == [1, 2, 3]


@given(st.lists(st.floats(0, 100), max_size=6))
def test_labels_keep_their_order_and_distance_within_their_frame(wanted: list[float]) -> None:
    found = spread(wanted, 14.0, 0.0, 100.0)
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in found)
    ordered = sorted(found)
    assert all(right - left >= 14 - 1e-9 for left, right in itertools.pairwise(ordered))
    for (first, a), (second, b) in itertools.combinations(zip(wanted, found, strict=True), 2):
        assert first == second or (first < second) == (a < b)


def test_labels_that_do_not_meet_stay_where_they_are() -> None:
    assert spread([50.0, 10.0, 90.0], 14.0, 0.0, 100.0) == [50.0, 10.0, 90.0]


def test_picture_has_a_description_and_no_fixed_size() -> None:
    drawn = picture("Loss by epoch", element("rect", width=3))
    assert drawn.startswith('<svg viewBox="0 0 340 210"')
    assert 'role="img" aria-label="Loss by epoch"' in drawn

"""Shapes that a paper states in words, found in numbers that have them and in none that have not."""

import numpy as np
import pytest

from sidestep.evaluation.significance import Comparison, paired_bootstrap
from sidestep.studies.shapes import Verdict, ends_over_middle, rise_then_fall, steady_gap

USERS = 400


def curve(*means: float, noise: float = 0.0) -> Verdict:
    rng = np.random.default_rng(0)
    values = [mean + noise * rng.standard_normal(USERS) for mean in means]
    names = [f"K = {place}" for place in range(len(means))]
    averages = [float(value.mean()) for value in values]
    return rise_then_fall(names, averages, lambda a, b: paired_bootstrap(values[a], values[b], draws=500))


def test_a_curve_that_rises_and_then_falls_is_told_from_one_that_only_rises_or_falls() -> None:
    assert curve(0.1, 0.3, 0.2).holds == "yes"
    assert curve(0.1, 0.2, 0.3).holds == "no"
    assert curve(0.3, 0.2, 0.1).holds == "no"


def test_a_hump_within_the_noise_stays_open() -> None:
    found = curve(0.1, 0.1001, 0.1, noise=1.0)
    assert found.holds in ("open", "no")
    assert curve(0.1, 0.2).holds == "open"


def test_words_name_the_highest_point_and_the_way_there() -> None:
    words = curve(0.1, 0.3, 0.2).words
    assert words.startswith("Highest at K = 1: 0.3000. From K = 0 +0.2000 (p = 0.0")
    assert "from there to K = 2 -0.1000" in words


def gap(value: float, p: float) -> Comparison:
    return Comparison(0.1, 0.1 + value, value, value, p, USERS)


@pytest.mark.parametrize(
    ("gaps", "second", "holds"),
    [
        ([gap(0.01, 0.01), gap(0.02, 0.04)], (0.11, 0.14), "yes"),
        ([gap(0.01, 0.01), gap(0.02, 0.20)], (0.11, 0.14), "open"),
        ([gap(0.01, 0.01), gap(-0.01, 0.01)], (0.11, 0.11), "no"),
        ([gap(0.01, 0.01), gap(-0.01, 0.60)], (0.11, 0.11), "open"),
        ([gap(0.03, 0.01), gap(0.01, 0.01)], (0.14, 0.13), "open"),
    ],
)
def test_a_steady_gap_is_above_at_every_size_while_both_improve(
    gaps: list[Comparison], second: tuple[float, float], holds: str
) -> None:
    assert steady_gap(["1", "2"], (0.10, 0.12), second, gaps).holds == holds


def pair(base: float, gain: float) -> tuple[np.ndarray, np.ndarray, None]:
    """Hits of two recommenders that differ by exactly this gain."""
    first, second = np.zeros(USERS), np.zeros(USERS)
    first[: round(base * USERS)] = 1
    second[: round(base * (1 + gain) * USERS)] = 1
    return first, second, None


def test_the_gain_of_a_group_is_the_ratio_of_its_means() -> None:
    gains, verdict = ends_over_middle(["5", "6-9", "10-"], [pair(0.5, 0.5), pair(0.5, 0.0), pair(0.5, 0.4)])
    assert [gain.value for gain in gains] == pytest.approx([0.5, 0.0, 0.4])
    assert gains[1].low == gains[1].high == 0  # the same hits: nothing to draw
    assert gains[0].low < 0.5 < gains[0].high
    assert verdict.holds == "yes"
    assert "+50.0% for 5 and +40.0% for 10- interactions, +0.0% for 6-9" in verdict.words


def test_gains_that_are_largest_in_the_middle_are_not_the_stated_shape() -> None:
    _, verdict = ends_over_middle(["5", "6-9", "10-"], [pair(0.5, 0.0), pair(0.5, 0.5), pair(0.5, 0.0)])
    assert verdict.holds == "no"


def test_groups_that_nobody_hits_leave_it_open() -> None:
    _, verdict = ends_over_middle(["5", "6-9", "10-"], [pair(0.0, 0.0), pair(0.5, 0.5), pair(0.5, 0.0)])
    assert verdict.holds == "open"


def test_groups_with_so_few_hits_that_a_sample_may_have_none_leave_it_open() -> None:
    gains, verdict = ends_over_middle(["5", "6-9", "10-"], [pair(0.0025, 1.0), pair(0.0025, 1.0), pair(0.5, 0.0)])
    assert gains[0].value == pytest.approx(1.0)
    assert np.isnan(gains[0].low)
    assert gains[0].as_json() == {"value": pytest.approx(1.0), "low": None, "high": None}
    assert verdict.holds == "open"


def test_equal_cases_of_a_user_do_not_make_a_gain_surer() -> None:
    once = [pair(0.5, 0.5), pair(0.5, 0.0), pair(0.5, 0.4)]
    thrice = [(first.repeat(3), second.repeat(3), np.arange(USERS).repeat(3)) for first, second, _ in once]
    (found, verdict), (expected, same) = (ends_over_middle(["5", "6-9", "10-"], groups) for groups in (thrice, once))
    assert verdict == same
    for gain, other in zip(found, expected, strict=True):
        assert (gain.value, gain.low, gain.high) == pytest.approx((other.value, other.low, other.high))

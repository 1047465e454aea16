"""Tests of statements that a paper makes about a figure in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.significance import Comparison, sums_of_users

LEVEL = 0.05
COUNTS_AT_ONCE = 2**22
Holds = Literal["yes", "no", "open"]
Between = Callable[[int, int], Comparison]
"""The paired comparison of two points of a curve by index: the second minus the first."""


@dataclass(frozen=True)
class Verdict:
    """holds: whether the statement holds; "open" if the figures do not decide it. words: the figures behind it."""

    holds: Holds
    words: str


@dataclass(frozen=True)
class Gain:
    """The second mean divided by the first, minus 1, with its 95 % interval. NaN if the first mean is 0."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """The figures as plain values; None for NaN."""
        return {name: value if np.isfinite(value) else None for name, value in vars(self).items()}


def rise_then_fall(names: Sequence[str], values: Sequence[float], between: Between) -> Verdict:
    """Whether a curve has its highest point inside, above both of its ends at p < .05.

    The highest point is selected with the same figures that it is tested with, so p is too small.
    """
    if len(values) < 3:
        return Verdict("open", "There are fewer than three points.")
    best = int(np.argmax(values))
    last = len(values) - 1
    highest = f"Highest at {names[best]}: {values[best]:.4f}."
    if best in (0, last):
        other = last - best
        run = "falls from its first point on" if best == 0 else "is highest at its last point"
        nearest = between(best, 1 if best == 0 else last - 1)
        holds: Holds = "no" if nearest.p < LEVEL else "open"  # another point may be as high
        return Verdict(holds, f"{highest} The curve {run}; to {names[other]} {_words(between(best, other))}.")
    rise, fall = between(0, best), between(best, last)
    significant = rise.p < LEVEL and fall.p < LEVEL
    return Verdict(
        "yes" if significant else "open",
        f"{highest} From {names[0]} {_words(rise)}; from there to {names[last]} {_words(fall)}.",
    )


def steady_gap(
    names: Sequence[str], first: Sequence[float], second: Sequence[float], gaps: Sequence[Comparison]
) -> Verdict:
    """Whether both curves end higher than they begin, and the second is above the first at every point, at p < .05."""
    if len(gaps) < 2:
        return Verdict("open", "There are fewer than two sizes with both methods.")
    listed = "; ".join(f"{name} {_words(gap)}" for name, gap in zip(names, gaps, strict=True))
    growth = ", ".join(f"{line[-1] - line[0]:+.4f}" for line in (first, second))
    words = f"From the smallest to the largest the two change by {growth}. The gap: {listed}."
    if min(gap.difference for gap in gaps) <= 0 or first[-1] <= first[0] or second[-1] <= second[0]:
        against = any(gap.difference <= 0 and gap.p < LEVEL for gap in gaps)
        return Verdict("no" if against else "open", words)
    return Verdict("yes" if all(gap.p < LEVEL for gap in gaps) else "open", words)


def ends_over_middle(
    names: Sequence[str], groups: Sequence[tuple[Values, Values, Ints | None]]
) -> tuple[list[Gain], Verdict]:
    """The relative gain of every group, and whether the mean gain of the first and the last group exceeds that of the
    middle one, by a bootstrap over users (10,000 draws within each group).

    groups: for each, the value of every case for the first and for the second recommender, and the users of the cases;
        None if every user has one case.
    """
    drawn = [_drawn_gains(*group, seed) for seed, group in enumerate(groups)]
    gains = [
        Gain(_ratio(first.mean(), second.mean()), *_interval(d))
        for (first, second, _), d in zip(groups, drawn, strict=True)
    ]
    if len(gains) < 3 or not all(np.isfinite(gain.low) for gain in gains):
        return gains, Verdict("open", "Three groups in which both recommenders hit more than a few users are needed.")
    middle = len(gains) // 2
    value = (gains[0].value + gains[-1].value) / 2 - gains[middle].value
    low, high = _interval((drawn[0] + drawn[-1]) / 2 - drawn[middle])
    ends = " and ".join(f"{gains[place].value:+.1%} for {names[place]}" for place in (0, -1))
    words = (
        f"Gain {ends} interactions, {gains[middle].value:+.1%} for {names[middle]}: the ends are above the middle by "
        f"{100 * value:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f})."
    )
    return gains, Verdict("yes" if low > 0 else "no" if high < 0 else "open", words)


def _drawn_gains(first: Values, second: Values, users: Ints | None, seed: int, draws: int = 10_000) -> Values:
    """The relative gain in samples of the users with replacement, with all values of a user together. The number of
    draws of every distinct pair is multinomial.
    """
    sums, _ = sums_of_users(np.stack([first, second], axis=1), users)
    pairs, counts = np.unique(sums, axis=0, return_counts=True)
    rng, size = np.random.default_rng(seed), len(sums)
    rows = max(COUNTS_AT_ONCE // len(pairs), 1)
    gains = []
    for begin in range(0, draws, rows):
        means = rng.multinomial(size, counts / size, size=min(rows, draws - begin)) @ pairs / size
        with np.errstate(divide="ignore", invalid="ignore"):
            gains.append(means[:, 1] / means[:, 0] - 1)
    return np.concatenate(gains)


def _ratio(first: float, second: float) -> float:
    return float(second / first - 1) if first else float("nan")


def _interval(drawn: Values) -> tuple[float, float]:
    if not np.isfinite(drawn).all():
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _words(comparison: Comparison) -> str:
    return f"{comparison.difference:+.4f} (p = {comparison.p:.3f})"

"""Is one recommender better than another, or were its users lucky?"""

from dataclasses import dataclass

import numpy as np

from sidestep.errors import DataError
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.ranking import RankTable

COUNTS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Comparison:
    """The second minus the first.

    first, second: the two means. low, high: 95 % percentile interval of their difference. p: two-sided.
    """

    first: float
    second: float
    low: float
    high: float
    p: float
    num_users: int

    @property
    def difference(self) -> float:
        return self.second - self.first


def compare(first: RankTable, second: RankTable, metric: str, *, draws: int = 10_000, seed: int = 0) -> Comparison:
    """Paired bootstrap of a metric such as `"NDCG@10"` between two rankings of the same cases.

    Raises:
        DataError: the two were made on other users or targets, or one masks seen items and the other does not.
        ConfigError: an unknown metric, or one deeper than the lists.
    """
    if first.seen != second.seen:
        raise DataError(f"Cannot pair ranks with seen items {first.seen} and {second.seen}; evaluate both alike")
    if len(first) != len(second):
        raise DataError(
            f"Cannot pair {len(first)} users with {len(second)}; both must be evaluated on the same split of one log"
        )
    for column, noun in (("user", "users"), ("target", "targets")):
        differing = first.table[column].to_numpy() != second.table[column].to_numpy()
        if differing.any():
            raise DataError(
                f"Cannot pair the two: {int(differing.sum())} of {len(first)} {noun} differ, the first in row "
                f"{int(differing.argmax())}; both must be evaluated on the same split of one log, with one seed"
            )
    return paired_bootstrap(first.values(metric), second.values(metric), draws=draws, seed=seed)


def paired_bootstrap(first: Values, second: Values, *, draws: int = 10_000, seed: int = 0) -> Comparison:
    """Resample users with replacement, keeping each user's two values together (Efron & Tibshirani 1993, ch. 16).

    `p = min(1, 2 (1 + #{draws on the less likely side of zero, zero included}) / (1 + draws))`.

    Only how often each distinct difference is drawn matters, and that is multinomial: the same distribution as
    drawing users one by one, at the cost of the few distinct values that ranking metrics have.

    Raises:
        DataError: the two have unequal lengths, or there are no users.
    """
    if len(first) != len(second) or len(first) == 0:
        raise DataError(f"Cannot pair {len(first)} values with {len(second)}; expected one of each for every user")
    values, counts = np.unique(second - first, return_counts=True)
    shares = counts / counts.sum()
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    rows = max(COUNTS_AT_ONCE // len(values), 1)
    for begin in range(0, draws, rows):
        end = min(begin + rows, draws)
        means[begin:end] = rng.multinomial(len(first), shares, size=end - begin) @ values / len(first)
    low, high = np.quantile(means, [0.025, 0.975])
    zero = 1e-12  # sums that cancel exactly on paper
    tail = min(int((means <= zero).sum()), int((means >= -zero).sum()))
    p = min(1.0, 2 * (1 + tail) / (1 + draws))
    return Comparison(float(first.mean()), float(second.mean()), float(low), float(high), p, len(first))

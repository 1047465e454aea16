"""Significance of the difference between two recommenders: a paired bootstrap over users."""

from dataclasses import dataclass

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.errors import DataError
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.ranking import RankTable

COUNTS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Comparison:
    """The difference between two recommenders, second minus first.

    first, second: the two means over cases. low, high: 95 % percentile interval of their difference. p: two-sided.
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
        DataError: the two have different users or targets, or only one of them masks seen items.
        ConfigError: an unknown metric, or one deeper than the lists.
    """
    if first.seen != second.seen:
        raise DataError(f"Cannot pair ranks with seen items {first.seen} and {second.seen}; evaluate both the same way")
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
    users = first.table["user"].to_numpy()
    return paired_bootstrap(first.values(metric), second.values(metric), users=users, draws=draws, seed=seed)


def paired_bootstrap(
    first: Values, second: Values, *, users: Ints | None = None, draws: int = 10_000, seed: int = 0
) -> Comparison:
    """Resample users with replacement, keeping each user's two values together (Efron & Tibshirani 1993, ch. 16). A
    user with several cases is drawn with all of them (the cluster bootstrap), since one user's cases are alike; the
    statistic stays the mean over cases.

    users: the user of every value; None where every value is of another user.

    `p = min(1, 2 (1 + #{draws on the less likely side of zero, zero included}) / (1 + draws))`.

    The result depends only on the number of draws of each distinct difference, which is multinomial. Drawing these
    numbers has the same distribution as drawing users, and is fast since ranking metrics have few distinct values.

    Raises:
        DataError: the two have different lengths, or there are no users.
    """
    if len(first) != len(second) or len(first) == 0:
        raise DataError(f"Cannot pair {len(first)} values with {len(second)}; expected one of each for every user")
    sums, sizes = sums_of_users(second - first, users)
    kinds, counts = distinct(sums, sizes)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    rows = max(COUNTS_AT_ONCE // len(counts), 1)
    for begin in range(0, draws, rows):
        end = min(begin + rows, draws)
        drawn = rng.multinomial(len(sums), counts / len(sums), size=end - begin)
        means[begin:end] = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(means, [0.025, 0.975])
    zero = 1e-12  # sums that are 0 in exact arithmetic
    tail = min(int((means <= zero).sum()), int((means >= -zero).sum()))
    p = min(1.0, 2 * (1 + tail) / (1 + draws))
    return Comparison(float(first.mean()), float(second.mean()), float(low), float(high), p, len(sums))


def sums_of_users(values: Values, users: Ints | None) -> tuple[Values, Values]:
    """The sum of every user's values and how many there are; the values themselves where each is of another user.

    values: one for each case, `[C]` or `[C, M]`. users: the user of each, `[C]`.
    """
    ones = np.ones(len(values))
    if users is None or len(np.unique(users)) == len(users):
        return values, ones
    number = np.unique(users, return_inverse=True)[1]
    sums = np.zeros((int(number.max()) + 1, *values.shape[1:]))
    np.add.at(sums, number, values)
    return sums, np.bincount(number).astype(np.float64)


def distinct(sums: Values, sizes: Values) -> tuple[tuple[Values, Values], Ints]:
    """The distinct pairs of a sum and a size, and how many users have each."""
    if (sizes == 1).all():
        values, counts = np.unique(sums, return_counts=True)
        return (values, np.ones(len(values))), counts
    pairs, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    return (pairs[:, 0], pairs[:, 1]), counts

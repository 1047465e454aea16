"""Averages over the cells of a row: means over seeds, paired tests, intervals, groups of users by history length."""

from collections.abc import Sequence

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.ranking import Seen
from sidestep.evaluation.seeds import Sample, compare_seeds, owners, seed_averaged
from sidestep.evaluation.significance import Comparison, sums_of_users
from sidestep.studies.cells import CellResult, Users
from sidestep.studies.rows import MAIN

GROUPS = 5
"""Number of groups of users by history length, of about equal size."""


def samples(group: Sequence[CellResult], seen: Seen, users: Users, metric: str = MAIN) -> list[Sample]:
    """One sample for every cell with such users."""
    return [
        Sample(cell.values(seen, users, metric), cell.cases, cell.targets, cell.users[cell.chosen(users)])
        for cell in group
        if cell.chosen(users).any()
    ]  # fmt: skip


def averaged(group: Sequence[CellResult], seen: Seen, users: Users) -> Values:
    """The main metric of every case, a mean over the seeds; see `seed_averaged`.

    Raises:
        DataError: there are no such users.
    """
    return seed_averaged(samples(group, seen, users))


def compared(first: Sequence[CellResult], second: Sequence[CellResult], seen: Seen, users: Users) -> Comparison | None:
    """The second row minus the first in the main metric, each a mean over its seeds, paired over users; None if they
    have no targets in common, which can happen where targets depend on the seed.
    """
    pair = [samples(group, seen, users) for group in (first, second)]
    if not {sample.targets for sample in pair[0]} & {sample.targets for sample in pair[1]}:
        return None
    return compare_seeds(*pair)


def interval(values: Values, users: Ints | None = None) -> tuple[float, float]:
    """The 95 % interval of a mean over cases, by the normal approximation; the cases of a user are one observation.

    users: the user of every value; None if every user has one value.
    """
    sums, sizes = sums_of_users(values, users)
    if len(sums) < len(values):
        values = values.mean() + (sums - values.mean() * sizes) * (len(sums) / len(values))
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return float(values.mean()) - half, float(values.mean()) + half


def lengths_of(group: Sequence[CellResult]) -> Ints:
    """The length of every case, in the order of `averaged` over all users."""
    by_cases = {cell.cases: cell.lengths for cell in group}
    return np.concatenate([by_cases[cases] for cases in sorted(by_cases)])


def users_of(group: Sequence[CellResult], users: Users) -> Ints | None:
    """The user of every case, in the order of `averaged`; see `owners`."""
    return owners(samples(group, "masked", users))


def group_of(lengths: Ints) -> Ints:
    """The group of every case, from 0: groups of about equal size; cases of equal length are in the same group."""
    edges = np.unique(np.quantile(lengths, np.arange(1, GROUPS) / GROUPS, method="lower"))
    return np.unique(np.searchsorted(edges, lengths, side="left"), return_inverse=True)[1].astype(np.int64)

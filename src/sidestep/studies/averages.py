"""Cells of one row as one: means over seeds, paired tests, intervals, groups of users by length."""

from collections.abc import Sequence

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.ranking import Seen
from sidestep.evaluation.seeds import Sample, compare_seeds, seed_averaged
from sidestep.evaluation.significance import Comparison
from sidestep.studies.cells import CellResult, Users
from sidestep.studies.papers import MAIN

GROUPS = 5
"""Groups of users by history length, as equal as ties allow."""


def samples(group: Sequence[CellResult], seen: Seen, users: Users, metric: str = MAIN) -> list[Sample]:
    """One sample for every cell that has such users."""
    return [
        Sample(cell.values(seen, users, metric), cell.cases, cell.targets)
        for cell in group
        if cell.chosen(users).any()
    ]  # fmt: skip


def averaged(group: Sequence[CellResult], seen: Seen, users: Users) -> Values:
    """Every user's main metric, a mean over the seeds; see `seed_averaged`.

    Raises:
        DataError: nobody is of these users.
    """
    return seed_averaged(samples(group, seen, users))


def compared(first: Sequence[CellResult], second: Sequence[CellResult], seen: Seen, users: Users) -> Comparison | None:
    """The second row minus the first in the main metric, each a mean over its seeds, paired over users; None where they
    were asked nothing in common, which may be where targets hang on the seed.
    """
    pair = [samples(group, seen, users) for group in (first, second)]
    if not {sample.targets for sample in pair[0]} & {sample.targets for sample in pair[1]}:
        return None
    return compare_seeds(*pair)


def interval(values: Values) -> tuple[float, float]:
    """Of a mean over users, 95 %, by the normal approximation."""
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return float(values.mean()) - half, float(values.mean()) + half


def lengths_of(group: Sequence[CellResult]) -> Ints:
    """Every user's length, in the order of `averaged` over all users."""
    worlds = {cell.cases: cell.lengths for cell in group}
    return np.concatenate([worlds[cases] for cases in sorted(worlds)])


def group_of(lengths: Ints) -> Ints:
    """The group of every user, from 0: about equally many in each, users of one length together."""
    edges = np.unique(np.quantile(lengths, np.arange(1, GROUPS) / GROUPS, method="lower"))
    return np.unique(np.searchsorted(edges, lengths, side="left"), return_inverse=True)[1].astype(np.int64)

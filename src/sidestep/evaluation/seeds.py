"""One method over several seeds: mean, deviation, and comparison with another method."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.errors import DataError
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.significance import Comparison, paired_bootstrap


@dataclass(frozen=True)
class Sample:
    """The metric of one trained model, for every case.

    values: one for each case, `[C]`. users: a key of the users; samples with the same key have the same users in the
        same order. targets: a key of the users and the targets of their cases. whose: the user number of every case,
        `[C]`; None if every user has one case.
    """

    values: Values
    users: str
    targets: str
    whose: Ints | None = None


@dataclass(frozen=True)
class Spread:
    """The mean over seeds of the mean over users, and the standard deviation over seeds (with `n - 1`), None for a
    single seed.
    """

    mean: float
    deviation: float | None
    seeds: int


def spread(samples: Sequence[Sample]) -> Spread:
    """Mean and deviation over seeds.

    Raises:
        DataError: no samples, or one without users.
    """
    _require(samples)
    return spread_of([float(sample.values.mean()) for sample in samples])


def spread_of(means: Sequence[float]) -> Spread:
    """Mean and deviation of one figure a seed, at least one."""
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return Spread(float(np.mean(means)), deviation, len(means))


def summaries(cells: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The `mean` and the `deviation` of every figure over cells of one seed each; 0 for a single seed."""
    spreads = {name: spread_of([cell[name] for cell in cells]) for name in cells[0]}
    return {
        "mean": {name: figure.mean for name, figure in spreads.items()},
        "deviation": {name: figure.deviation or 0.0 for name, figure in spreads.items()},
    }


def seed_averaged(samples: Sequence[Sample]) -> Values:
    """The mean of every case over the seeds. Seeds with different users (each seed of a planted data set has its own)
    are concatenated, in the order of their keys.

    Raises:
        DataError: no samples, or one without users.
    """
    _require(samples)
    by_users: dict[str, list[Values]] = defaultdict(list)
    for sample in samples:
        by_users[sample.users].append(sample.values)
    return np.concatenate([np.mean(by_users[users], axis=0) for users in sorted(by_users)])


def owners(samples: Sequence[Sample]) -> Ints | None:
    """The user of every value of `seed_averaged`, numbered over all keys; None if every user has one value."""
    by_users = {sample.users: sample for sample in samples}
    numbers, first = [], 0
    for users in sorted(by_users):
        sample = by_users[users]
        whose = np.arange(len(sample.values)) if sample.whose is None else sample.whose
        numbers.append(first + whose)
        first += int(whose.max()) + 1
    return None if all(sample.whose is None for sample in samples) else np.concatenate(numbers)


def compare_seeds(
    first: Sequence[Sample], second: Sequence[Sample], *, draws: int = 10_000, seed: int = 0
) -> Comparison:
    """Paired bootstrap over users of the seed-averaged metric, two-sided: the second group minus the first.

    The groups may have different numbers of seeds if all have the same targets. Where the targets depend on the seed
    (shuffled ties, planted data), only targets that both groups have are compared.

    Raises:
        DataError: the groups have no targets in common.
    """
    _require(first)
    _require(second)
    common = {sample.targets for sample in first} & {sample.targets for sample in second}
    if not common:
        raise DataError(
            f"Cannot pair {len(first[0].values)} users with {len(second[0].values)}: the two groups share no users and "
            "targets; both must be evaluated on one split of one log, and with the same seeds where ties are shuffled"
        )
    pair = [[sample for sample in group if sample.targets in common] for group in (first, second)]
    one, other = (_balanced(group) for group in pair)
    values = seed_averaged(one), seed_averaged(other)
    return paired_bootstrap(*values, users=owners(one), draws=draws, seed=seed)


def _balanced(samples: Sequence[Sample]) -> list[Sample]:
    """One sample for every set of targets, so that each has the same weight, however many samples it has."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.targets].append(sample)
    return [replace(groups[t][0], values=np.mean([each.values for each in groups[t]], axis=0)) for t in sorted(groups)]


def _require(samples: Sequence[Sample]) -> None:
    if not samples or any(len(sample.values) == 0 for sample in samples):
        raise DataError("Nothing to average: expected at least one seed, and users in each")
    for sample in samples:
        if len(sample.values) != len(next(s for s in samples if s.users == sample.users).values):
            raise DataError("Samples with the same key of users have different numbers of users")

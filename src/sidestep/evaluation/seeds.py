"""One method over several seeds: what it reaches, and whether another is better."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.errors import DataError
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.significance import Comparison, paired_bootstrap


@dataclass(frozen=True)
class Sample:
    """One trained model's metric, case by case.

    values: one for each case, `[C]`. users: what tells these users from others; samples that share it have the same
    users in the same order. targets: the same for users and the targets of their cases. whose: the user number of every
    case, `[C]`; None where every case is of another user.
    """

    values: Values
    users: str
    targets: str
    whose: Ints | None = None


@dataclass(frozen=True)
class Spread:
    """The mean over seeds of the mean over users, and the standard deviation between them (over `n - 1`), which is None
    for one seed: nothing is known of it.
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
    means = np.array([sample.values.mean() for sample in samples])
    deviation = float(means.std(ddof=1)) if len(means) > 1 else None
    return Spread(float(means.mean()), deviation, len(means))


def seed_averaged(samples: Sequence[Sample]) -> Values:
    """The mean of every case over the seeds. Where seeds have other users, as every seed of a planted world has, these
    stand in a row, in the order of what tells them apart.

    Raises:
        DataError: no samples, or one without users.
    """
    _require(samples)
    worlds: dict[str, list[Values]] = defaultdict(list)
    for sample in samples:
        worlds[sample.users].append(sample.values)
    return np.concatenate([np.mean(worlds[users], axis=0) for users in sorted(worlds)])


def owners(samples: Sequence[Sample]) -> Ints | None:
    """The user of every value of `seed_averaged`, numbered across worlds; None where every value is of another user."""
    worlds = {sample.users: sample for sample in samples}
    numbers, first = [], 0
    for users in sorted(worlds):
        sample = worlds[users]
        whose = np.arange(len(sample.values)) if sample.whose is None else sample.whose
        numbers.append(first + whose)
        first += int(whose.max()) + 1
    return None if all(sample.whose is None for sample in samples) else np.concatenate(numbers)


def compare_seeds(
    first: Sequence[Sample], second: Sequence[Sample], *, draws: int = 10_000, seed: int = 0
) -> Comparison:
    """Paired bootstrap over users of the seed-averaged metric, two-sided: the second group minus the first.

    The groups may have unequal numbers of seeds as long as all were asked the same. Where what is asked hangs on the
    seed (ties shuffled by it, a planted world grown from it) only what both groups were asked is compared.

    Raises:
        DataError: the groups have no question in common.
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
    """One sample for every question, so that each weighs the same however often it was asked."""
    asked: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        asked[sample.targets].append(sample)
    return [replace(asked[t][0], values=np.mean([each.values for each in asked[t]], axis=0)) for t in sorted(asked)]


def _require(samples: Sequence[Sample]) -> None:
    if not samples or any(len(sample.values) == 0 for sample in samples):
        raise DataError("Nothing to average: expected at least one seed, and users in each")
    for sample in samples:
        if len(sample.values) != len(next(s for s in samples if s.users == sample.users).values):
            raise DataError("Samples that claim the same users have unequal numbers of them")

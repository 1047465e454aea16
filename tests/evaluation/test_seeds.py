"""Means over seeds, and a test that neither more seeds nor their order can fool."""

import numpy as np
import pytest

from sidestep.errors import DataError
from sidestep.evaluation.seeds import Sample, compare_seeds, owners, seed_averaged, spread
from sidestep.evaluation.significance import paired_bootstrap

rng = np.random.default_rng(0)


def samples(count: int, users: str = "u", targets: str = "t", size: int = 200, level: float = 0.3) -> list[Sample]:
    return [Sample((rng.random(size) < level).astype(float), users, targets) for _ in range(count)]


def test_mean_and_deviation_by_hand() -> None:
    found = spread([Sample(np.array(values), "u", "t") for values in ([0.0, 1.0], [1.0, 1.0], [0.0, 0.0])])
    assert (found.mean, found.deviation, found.seeds) == (0.5, 0.5, 3)


def test_one_seed_has_no_deviation() -> None:
    assert spread(samples(1)).deviation is None


def test_users_are_averaged_over_seeds_and_other_worlds_stand_in_a_row() -> None:
    one, two, three = samples(2), samples(1, "v"), samples(1, "u", "s")
    assert np.array_equal(seed_averaged(one), (one[0].values + one[1].values) / 2)
    assert len(seed_averaged([*one, *two])) == 400
    assert len(seed_averaged([*one, *three])) == 200


def test_one_seed_each_is_the_plain_paired_bootstrap() -> None:
    one, other = samples(1), samples(1)
    assert compare_seeds(one, other, draws=500) == paired_bootstrap(one[0].values, other[0].values, draws=500)


def test_more_seeds_of_the_same_do_not_make_a_difference_surer() -> None:
    one, other = samples(1), samples(1, level=0.4)
    assert compare_seeds(one * 5, other * 3, draws=500) == compare_seeds(one, other, draws=500)


def test_the_order_of_seeds_does_not_matter() -> None:
    one, other = samples(2) + samples(1, "v", "w"), samples(1, "v", "w") + samples(2)
    first, second = compare_seeds(one, other, draws=500), compare_seeds(one[::-1], other[::-1], draws=500)
    assert (first.p, first.low, first.high) == pytest.approx((second.p, second.low, second.high))


def test_only_what_both_were_asked_is_compared() -> None:
    shared, alone = samples(1, "u", "seed 0"), samples(1, "u", "seed 1")
    other = samples(1, "u", "seed 0")
    assert compare_seeds([*shared, *alone], other, draws=500) == compare_seeds(shared, other, draws=500)


def test_where_targets_hang_on_the_seed_every_one_weighs_the_same() -> None:
    """Three seeds of one question and one of another against one of each."""
    one = [*[Sample(np.zeros(50), "u", "a")] * 3, Sample(np.ones(50), "u", "b")]
    other = [Sample(np.zeros(50), "u", "a"), Sample(np.ones(50), "u", "b")]
    assert compare_seeds(one, other, draws=100).difference == 0


@pytest.mark.parametrize("other", [{"targets": "other"}, {"users": "v", "targets": "w"}])
def test_groups_that_were_asked_other_things_are_not_paired(other: dict[str, str]) -> None:
    with pytest.raises(DataError, match="share no users and targets"):
        compare_seeds(samples(2), samples(2, **other))


@pytest.mark.parametrize("group", [[], [Sample(np.empty(0), "u", "t")]])
def test_nothing_has_no_mean(group: list[Sample]) -> None:
    with pytest.raises(DataError, match="Nothing to average"):
        spread(group)
    with pytest.raises(DataError, match="Nothing to average"):
        compare_seeds(samples(1), group)


def test_unequal_numbers_of_the_same_users_are_refused() -> None:
    with pytest.raises(DataError, match="different numbers of users"):
        seed_averaged([*samples(1), *samples(1, size=3)])


def several(users: str, whose: list[int], level: float = 0.3) -> Sample:
    return Sample((rng.random(len(whose)) < level).astype(float), users, f"targets of {users}", np.array(whose))


def test_users_with_several_cases_are_resampled_as_users_over_seeds_and_worlds() -> None:
    one = [several("u", [0, 0, 3]), several("u", [0, 0, 3]), several("v", [1, 2, 2, 2])]
    other = [several("v", [1, 2, 2, 2]), several("u", [0, 0, 3])]
    whose = owners(one)
    assert whose is not None
    assert np.unique(whose, return_inverse=True)[1].tolist() == [0, 0, 1, 2, 3, 3, 3]
    found = compare_seeds(one, other, draws=200)
    assert found == paired_bootstrap(seed_averaged(one), seed_averaged(other), users=whose, draws=200)
    assert found.num_users == 4


def test_samples_with_a_case_a_user_have_no_owners_to_tell_apart() -> None:
    assert owners(samples(3) + samples(1, "v")) is None


def test_naming_the_user_of_every_case_changes_nothing_where_each_has_one() -> None:
    one, other = samples(2), samples(2, level=0.4)
    named = [[Sample(s.values, s.users, s.targets, np.arange(len(s.values))) for s in group] for group in (one, other)]
    assert compare_seeds(*named, draws=500) == compare_seeds(one, other, draws=500)

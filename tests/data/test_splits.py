"""Laws of the split: what is held out is never seen, and every question has its whole past and nothing more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.interactions import NO_TIME, Interactions
from sidestep.data.splits import Cases, Split, SplitConfig, TrainingInteractions, split
from sidestep.errors import DataError

LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(lambda lengths: max(lengths) >= 3)
GLOBAL = SplitConfig(kind="global-time", valid_from=100, test_from=200)


def numbered_log(lengths: list[int], times: list[int] | None = None, absolute: bool = True) -> Interactions:
    """Every interaction has an item of its own, so an item names a row."""
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    moments = None if times is None else np.array(times, dtype=np.int64)
    ids = [str(user) for user in range(len(lengths))]
    return Interactions(ids, offsets, np.arange(offsets[-1]), moments, absolute)


def assert_nothing_held_out_is_seen(divided: Split) -> None:
    seen = set(divided.train.items.tolist())
    for cases in (divided.valid, divided.test):
        assert not seen & set(cases.targets.tolist())
    assert not set(divided.valid.targets.tolist()) & set(divided.test.targets.tolist())


@settings(max_examples=50, deadline=None)
@given(LENGTHS)
def test_leave_one_out_holds_out_the_last_two_of_everyone_with_three(lengths: list[int]) -> None:
    lengths = [*lengths, 4]
    log = numbered_log(lengths)
    divided = split(log, SplitConfig())
    long_enough = [user for user, length in enumerate(lengths) if length >= 3]
    assert_nothing_held_out_is_seen(divided)
    assert divided.test.users.tolist() == divided.valid.users.tolist() == long_enough
    assert divided.test.targets.tolist() == [log.history(user)[-1] for user in long_enough]
    assert divided.valid.targets.tolist() == [log.history(user)[-2] for user in long_enough]
    assert divided.short_users == len(lengths) - len(long_enough)
    for user, length in enumerate(lengths):
        kept = log.history(user) if length < 3 else log.history(user)[:-2]
        assert divided.train.history(user).tolist() == kept.tolist()


@settings(max_examples=50, deadline=None)
@given(LENGTHS)
def test_a_case_is_asked_with_all_that_came_before_it(lengths: list[int]) -> None:
    log = numbered_log([*lengths, 4])
    for cases in (split(log, SplitConfig()).valid, split(log, SplitConfig()).test):
        for case in range(len(cases)):
            whole = log.history(int(cases.users[case])).tolist()
            before = cases.history(case).tolist()
            assert whole[: len(before) + 1] == [*before, cases.targets[case]]
            assert cases.lengths[case] == len(before) + 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(st.integers(0, 299), st.just(NO_TIME)), max_size=8), min_size=3, max_size=8))
def test_a_global_split_trains_on_nothing_at_or_after_its_boundary(moments: list[list[int]]) -> None:
    histories = [sorted(history) for history in moments] + [[10, 20, 110, 210]]
    log = numbered_log([len(history) for history in histories], [time for history in histories for time in history])
    divided = split(log, GLOBAL)
    assert log.times is not None
    assert (log.times[divided.train.items] < 100).all()
    assert divided.train.items.tolist() == np.flatnonzero(log.times < 100).tolist()
    assert_nothing_held_out_is_seen(divided)
    for cases, begin, end in ((divided.valid, 100, 200), (divided.test, 200, 300)):
        for case in range(len(cases)):
            row = int(cases.rows[case])
            assert begin <= log.times[row] < end
            assert all(log.times[earlier] < begin for earlier in cases.history(case).tolist())
            assert len(cases.history(case)) >= 1


def test_untimed_interactions_behind_a_held_out_one_are_not_trained_on() -> None:
    times = [NO_TIME, 10, 110, NO_TIME, 210, NO_TIME, 20, 120, 220]
    divided = split(numbered_log([6, 3], times), GLOBAL)
    assert divided.train.items.tolist() == [0, 1, 6]


def test_a_validation_history_holds_no_test_target_where_positions_contradict_times() -> None:
    times = [5, 10, 210, 110, 10, 20, 120, 220]
    divided = split(numbered_log([4, 4], times), GLOBAL)
    assert divided.valid.users.tolist() == [1]
    assert divided.test.targets.tolist() == [2, 7]


def test_a_global_split_without_boundaries_cuts_at_the_80th_and_90th_percentile() -> None:
    times = list(range(0, 1000, 10))  # 100 rows, one user: 80 train; the first of each later part is asked for
    divided = split(numbered_log([100], times), SplitConfig(kind="global-time"))
    assert len(divided.train) == 80
    assert divided.valid.targets.tolist() == [80]
    assert divided.test.targets.tolist() == [90]


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 4))
def test_leave_n_out_holds_out_the_last_of_everyone_who_is_long_enough(lengths: list[int], count: int) -> None:
    lengths = [*lengths, 2 * count + 2]
    log = numbered_log(lengths)
    divided = split(log, SplitConfig(hold_out=count))
    long_enough = [user for user, length in enumerate(lengths) if length > 2 * count]
    assert_nothing_held_out_is_seen(divided)
    for cases, first, last in ((divided.valid, -2 * count, -count), (divided.test, -count, None)):
        assert cases.users.tolist() == [user for user in long_enough for _ in range(count)]
        assert cases.targets.tolist() == [row for user in long_enough for row in log.history(user)[first:last].tolist()]
        for case in range(len(cases)):
            begin = int(log.offsets[cases.users[case]])
            assert cases.history(case).tolist() == list(range(begin, int(cases.rows[case])))
    for user, length in enumerate(lengths):
        kept = log.history(user)[: -2 * count] if user in long_enough else log.history(user)
        assert divided.train.history(user).tolist() == kept.tolist(), length
    assert divided.short_users == len(lengths) - len(long_enough)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.one_of(st.integers(0, 299), st.just(NO_TIME)), max_size=8), min_size=3, max_size=8),
    st.integers(1, 4),
)
def test_a_global_split_holds_out_up_to_n_first_interactions_after_each_boundary(
    moments: list[list[int]], count: int
) -> None:
    histories = [sorted(history) for history in moments] + [[10, 20, 110, 210]]
    log = numbered_log([len(history) for history in histories], [time for history in histories for time in history])
    once, divided = split(log, GLOBAL), split(log, GLOBAL.model_copy(update={"hold_out": count}))
    assert divided.train.items.tolist() == once.train.items.tolist()
    assert log.times is not None
    assert_nothing_held_out_is_seen(divided)
    for cases, begin, end in ((divided.valid, 100, 200), (divided.test, 200, 300)):
        for user in range(log.num_users):
            rows = [row for row in log.history(user).tolist() if begin <= log.times[row] < end][:count]
            assert cases.rows[cases.users == user].tolist() == [row for row in rows if row > log.offsets[user]]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (SplitConfig(), "leave-one-out"),
        (SplitConfig(hold_out=10), "leave-10-out"),
        (SplitConfig(kind="global-time"), "global-time"),
        (SplitConfig(kind="global-time", hold_out=3), "global-time, 3 a user"),
    ],
)
def test_a_split_has_a_short_name_for_a_protocol(config: SplitConfig, name: str) -> None:
    assert config.name == name


def test_only_a_split_makes_training_interactions_and_they_know_all_users() -> None:
    log = numbered_log([3, 1, 5])
    train = split(log, SplitConfig()).train
    assert isinstance(train, TrainingInteractions)
    assert not isinstance(log, TrainingInteractions)
    assert train.user_ids == log.user_ids


def test_a_sample_of_cases_is_a_function_of_the_seed_and_keeps_their_order() -> None:
    cases = split(numbered_log([4] * 50), SplitConfig()).test
    first, again, other = (cases.sample(10, seed) for seed in (1, 1, 2))
    assert first.rows.tolist() == again.rows.tolist() == sorted(first.rows.tolist())
    assert first.rows.tolist() != other.rows.tolist()
    assert set(first.rows.tolist()) <= set(cases.rows.tolist())
    assert cases.sample(1000, 1).rows.tolist() == cases.rows.tolist()


def test_taken_cases_stay_the_same_questions() -> None:
    cases = split(numbered_log([4, 2, 6, 3]), SplitConfig()).test
    taken: Cases = cases.take(np.array([2, 0]))
    assert taken.targets.tolist() == [cases.targets[2], cases.targets[0]]
    assert taken.history(0).tolist() == cases.history(2).tolist()


def test_seen_items_are_those_of_the_history_once_and_never_the_target() -> None:
    log = Interactions(["a", "b"], np.array([0, 6, 10]), np.array([5, 2, 5, 7, 1, 7, 3, 0, 2, 1]))
    cases = split(log, SplitConfig()).test
    assert cases.targets.tolist() == [7, 1]
    assert [cases.seen(case).tolist() for case in (0, 1)] == [[1, 2, 5], [0, 2, 3]]


@pytest.mark.parametrize(
    ("log", "config", "message"),
    [
        (numbered_log([0]), SplitConfig(), "holds no interactions"),
        (numbered_log([2, 1]), SplitConfig(), "longest history has 2 interactions; 3 hold"),
        (numbered_log([3, 3]), SplitConfig(), "two interactions to train on .* longest history has 3"),
        (
            numbered_log([6, 1]),
            SplitConfig(hold_out=3),
            "leave-3-out: .* has 6 .*; 7 hold .* smaller split",
        ),
        (
            numbered_log([7]),
            SplitConfig(hold_out=3),
            "two interactions .* has 7; at least one user needs 8",
        ),
        (numbered_log([4]), GLOBAL, "this log has none"),
        (numbered_log([4], [1, 2, 3, 4], absolute=False), GLOBAL, "compared between users"),
        (numbered_log([3], [NO_TIME] * 3), GLOBAL, "every time in this log is empty"),
        (numbered_log([3], [1, 2, 3]), GLOBAL, "leaves 3 interactions to train on, 0 users"),
        (
            numbered_log([3], [1, 2, 3]),
            SplitConfig(kind="global-time", valid_from=9, test_from=9),
            "must lie before split.test_from",
        ),
    ],
)
def test_a_log_that_cannot_be_split_is_refused(log: Interactions, config: SplitConfig, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(log, config)

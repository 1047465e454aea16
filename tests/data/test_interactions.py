from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.interactions import NO_TIME, Interactions, by_popularity


def log_of(*histories: list[int], times: list[int] | None = None) -> Interactions:
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    moments = None if times is None else np.array(times, dtype=np.int64)
    return Interactions([f"u{user}" for user in range(len(histories))], offsets, items, moments, times is not None)


def test_histories_laid_end_to_end_come_apart_again() -> None:
    log = log_of([3, 1, 3], [], [2])
    assert [history.tolist() for history in log.histories()] == [[3, 1, 3], [], [2]]
    assert log.users.tolist() == [0, 0, 0, 2]
    assert log.lengths.tolist() == [3, 0, 1]


def test_popularity_counts_repeated_purchases_and_untouched_items() -> None:
    assert log_of([3, 1, 3], [3]).popularity(5).tolist() == [0, 1, 0, 3, 0]


def test_the_most_popular_items_come_first_and_equals_by_number() -> None:
    assert by_popularity(5, np.array([1, 4, 0, 4, 1])).tolist() == [1, 3, 0, 4, 2]
    assert by_popularity(3, None).tolist() == [0, 1, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6), st.integers(0, 99))
def test_taking_rows_keeps_user_numbers_and_order(histories: list[list[int]], seed: int) -> None:
    log = log_of(*histories)
    keep = np.random.default_rng(seed).random(len(log)) < 0.5
    taken = log.take(keep)
    marks = iter(keep.tolist())
    expected = [[item for item in history if next(marks)] for history in histories]
    assert taken.user_ids == log.user_ids
    assert [history.tolist() for history in taken.histories()] == expected


def test_saving_and_loading_is_a_round_trip_with_and_without_times(tmp_path: Path) -> None:
    for name, times in (("timed", [5, NO_TIME, 7, 2**60]), ("bare", None)):
        before = log_of([3, 1], [2, 2], times=times)
        before.save(tmp_path / name)
        after = Interactions.load(tmp_path / name)
        assert after.user_ids == before.user_ids
        assert after.absolute_times == before.absolute_times
        np.testing.assert_array_equal(after.offsets, before.offsets)
        np.testing.assert_array_equal(after.items, before.items)
        if times is None:
            assert after.times is None
        else:
            np.testing.assert_array_equal(after.times, times)

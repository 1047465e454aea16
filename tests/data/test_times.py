"""Times as users write them: one moment however it is spelled, and one sentence for what is none."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.data.interactions import NO_TIME
from sidestep.data.times import LATEST, SECONDS_BELOW, read_time, read_times
from sidestep.errors import DataError

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_the_same_however_it_is_spelled(moment: datetime, minutes: int) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
    zone = timezone(timedelta(minutes=minutes))
    elsewhere = moment.replace(tzinfo=UTC).astimezone(zone) if 2 < moment.year < 9999 else moment.replace(tzinfo=UTC)
    found = read_time(moment, "at")
    assert datetime(1970, 1, 1) + timedelta(milliseconds=found) == moment
    for spelled in (moment.isoformat(), f" {moment.isoformat()} ", elsewhere, elsewhere.isoformat(), found, str(found)):
        assert read_time(spelled, "at") == found


def test_moments_by_hand() -> None:
    assert read_time("1970-01-02", "at") == 86_400_000
    assert read_time("2026-11-28T20:15", "at") == read_time("2026-11-28T21:15+01:00", "at") == 1_795_896_900_000
    assert read_time("2026-11-28T20:15:00.250Z", "at") == 1_795_896_900_250
    assert read_time(None, "at") == NO_TIME


@pytest.mark.parametrize("wrong", ["", "tomorrow", "2026-13-01", "20:15", True, 1.5, [], LATEST + 1, "9" * 30, NO_TIME])
def test_what_is_no_time_is_refused_with_what_is_expected(wrong: Any) -> None:
    with pytest.raises(DataError, match=r"Cannot read at = .* as a time; expected ISO 8601, as in 2026-"):
        read_time(wrong, "at")


def test_seconds_in_place_of_milliseconds_are_noticed_where_times_are_of_the_calendar() -> None:
    for seconds in (1_795_896_900, "1795896900"):
        with pytest.raises(DataError, match=r"at = 1795896900 is 1970-01-21T\d\d:\d\d:\d\d in .* send 1795896900000"):
            read_time(seconds, "at", absolute=True)
        assert read_time(seconds, "at") == 1_795_896_900  # gaps from any start may be small
    assert read_time("1971-01-01", "at", absolute=True) < SECONDS_BELOW


def test_a_history_may_have_unknown_times_anywhere() -> None:
    assert read_times([None, 5, None, 5, 7, None], 6).tolist() == [NO_TIME, 5, NO_TIME, 5, 7, NO_TIME]
    assert read_times([], 0).tolist() == []


@pytest.mark.parametrize(("times", "count"), [([1, 2], 3), ([], 1), ([1], 0), ("2026-11-28", 10)])
def test_a_time_is_wanted_for_every_item(times: Any, count: int) -> None:
    with pytest.raises(DataError, match=f"Expected a time for each of the history's {count} items, .* given; put None"):
        read_times(times, count)


def test_times_that_fall_are_named_by_their_places() -> None:
    with pytest.raises(DataError, match=r"fall: item 4 is of 2026-01-01T.*, item 2 before it of 2026-01-02T.* oldest"):
        read_times(["2026-01-01", "2026-01-02", None, "2026-01-01"], 4)


def test_times_of_a_log_are_taken_as_they_are() -> None:
    log = np.array([5, NO_TIME, 3])
    assert read_times(log, 3) is log
    with pytest.raises(DataError, match="3 are given"):
        read_times(log, 2)

"""Times as users write them, in milliseconds since 1970."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from sidestep.data.interactions import NO_TIME, Ints
from sidestep.errors import DataError

Time = str | int | datetime
"""ISO 8601 text or a `datetime`, in UTC where it names no zone; or milliseconds since 1970, also as text."""

Times = Sequence[Time | None] | Ints
"""A time for every item of a history, None where unknown; an array is of a log, in milliseconds and `NO_TIME`."""

LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999. No time may be further from 1970 than this."""
SECONDS_BELOW = 100_000_000_000
"""A number below this is March 1973 at the latest in milliseconds, and any day up to 5138 in seconds."""


def read_time(value: object, what: str, absolute: bool = False) -> int:
    """The time in milliseconds since 1970; `NO_TIME` for None.

    value: a `Time`, or what a user gave for one.
    what: what the value is called where the user wrote it. absolute: whether it has to be a moment of the calendar, so
        that a small number is a mistake.

    Raises:
        DataError: no time, one beyond the year 9999, or seconds where milliseconds are expected.
    """
    if value is None:
        return NO_TIME
    found = _milliseconds(value)
    if found is None or abs(found) > LATEST:
        raise DataError(
            f"Cannot read {what} = {str(value)[:60]!r} as a time; expected ISO 8601, as in 2026-11-28T20:15 (UTC where "
            "no zone is named), or milliseconds since 1970"
        )
    if absolute and isinstance(value, int | str) and str(value).strip() == str(found) and 0 < found < SECONDS_BELOW:
        raise DataError(f"{what} = {found} is {_shown(found)} in milliseconds since 1970; for seconds, send {found}000")
    return found


def read_times(values: Times, count: int, absolute: bool = False) -> Ints:
    """When each of a history's `count` items was taken, oldest first, in milliseconds; `NO_TIME` where unknown. Those
    of a log are as they are: its positions may contradict its times, and a model has learnt from both.

    Raises:
        DataError: a time that cannot be read, not one for every item, or times that fall.
    """
    if isinstance(values, str) or len(values) != count:
        given = "a single text is" if isinstance(values, str) else f"{len(values)} are"
        raise DataError(
            f"Expected a time for each of the history's {count} items, {given} given; put None where one is unknown"
        )
    if isinstance(values, np.ndarray):
        return values
    times = np.array([read_time(value, "a history's time", absolute) for value in values], dtype=np.int64)
    check_rising(times)
    return times


def check_rising(times: Ints) -> None:
    """Unknown times may stand anywhere.

    Raises:
        DataError: a time before an earlier item's.
    """
    known = np.flatnonzero(times != NO_TIME)
    falls = np.flatnonzero(np.diff(times[known]) < 0)
    if len(falls):
        before, place = known[falls[0]], known[falls[0] + 1]
        raise DataError(
            f"The history's times fall: item {place + 1} is of {_shown(times[place])}, item {before + 1} before it of "
            f"{_shown(times[before])}; expected the oldest item first"
        )


def _milliseconds(value: object) -> int | None:
    if isinstance(value, datetime):
        return _of(value)
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
        return None
    text = str(value).strip()
    if re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        return int(text)
    try:
        return _of(datetime.fromisoformat(text))
    except ValueError:
        return None


def _of(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _shown(milliseconds: int | np.integer) -> str:
    seconds = np.datetime64(int(milliseconds), "ms")
    return str(seconds.astype("datetime64[s]"))

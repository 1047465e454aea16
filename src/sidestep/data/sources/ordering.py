"""By which columns a log is ordered: its times, and positions where they are places in a user's history."""

from pathlib import Path

import polars as pl

from sidestep.data.interactions import NO_TIME
from sidestep.data.sources import columns
from sidestep.data.sources.bad_rows import BadRows, first_row
from sidestep.data.sources.config import DataConfig, TimeUnit
from sidestep.data.sources.decisions import Guess
from sidestep.data.sources.hints import POSITIONS, TIMES, column_like, like
from sidestep.data.sources.kinds import Profile
from sidestep.data.sources.moments import DAY_MS, OF_NUMBERS, UNIT_NAMES, YEAR_1990, YEAR_2100
from sidestep.errors import ConfigError, DataError, MixedTimesError, UnclearTimesError, brief, listed

Roles = dict[str, tuple[str, str]]
NO_COLUMN = "none"
"""What a user says in place of a column of times, where the order of the file is that of the events."""
TOLERATED = 0.01
"""The share of rows in which positions may be doubled, or run against the times."""


def guess_order(path: Path, log: dict[str, Profile], user: str, roles: Roles, unit: str | None, found: Guess) -> None:
    """Settle time and order; `roles` gets what they are taken for. unit: that of a time the user names, or empty;
    None where the user says that there is none.

    Raises:
        DataError: a column of times that mixes units, two that tell different orders, or one that cannot be read,
            where no positions order the log.
    """
    if unit and unit not in UNIT_NAMES:
        raise ConfigError(f"--time: unknown unit {unit!r}; expected one of {', '.join(UNIT_NAMES)}")
    named = next((name for name, (role, _) in roles.items() if role == "time"), None)
    position = _position(log, user, roles)
    time = named or (None if unit is None else _time(path, log, user, roles))
    read: tuple[pl.Series, str] | None = None
    doubts = len(found.doubts)
    if time is not None:
        read = _read_time(path, log[time], unit or "", named is not None, position is not None, found)
    unread = found.doubts[doubts:] if time is not None and log[time].holds_digits else []
    if read is None and time is not None:
        roles.pop(time, None)
        time = None
    if position is not None:
        why = _why_no_position(log[position].column, log[user].column, None if read is None else read[0])
        if why is None:
            by_name = "by its name, and it" if like(position, POSITIONS) else "it"
            reason = f"{by_name} numbers each user's rows"
            found.decide("order", position, reason)
            roles[position] = ("order", reason)
        else:
            found.doubts.append(f"column {position!r} is not taken for the order of events: {why}")
            if time is not None and read is not None and read[0].null_count() and not _few_missing(read[0]):
                unread.append(_lacking(read[0], time))
                read, time = None, None
    if time is not None and read is not None:
        _decide_time(log[time], read, time in roles, roles, found)
        clock = next((name for name in log if name not in roles and log[name].is_clock), None)
        if clock is not None and "order" not in found.settings and bool((read[0].drop_nulls() % DAY_MS == 0).all()):
            found.doubts.append(
                f"column {time!r} holds days and {clock!r} the time of day: the order within a day is the file's; join "
                "the two into one column, such as 2020-01-31T10:30:00"
            )
    if "order" not in found.settings and "time" not in found.settings:
        if unread:
            raise DataError(
                f"{str(path)!r}: {unread[0]}; bring it to ISO dates or to numbers since 1970, or take the order of the "
                f"file for that of events with --time {NO_COLUMN}"
            )
        found.doubts.append("no column of times or positions: the order of the file is taken for the order of events")


def _few_missing(values: pl.Series) -> bool:
    return values.null_count() <= float(DataConfig().bad_rows_limit) * len(values)


def _time(path: Path, log: dict[str, Profile], user: str, roles: Roles) -> str | None:
    """The column of times: by its values, else by its name, else one that looks like dates nobody can read."""
    free = {name: profile for name, profile in log.items() if name not in roles}
    absolute = [name for name, profile in free.items() if profile.is_moment]
    varying = [name for name in absolute if _varies(log[name].column, log[user].column)] or absolute
    if len(varying) > 1:
        return _finest(path, log, varying)
    if varying:
        return varying[0]
    filled = [name for name, profile in free.items() if not like(name, POSITIONS) and not profile.known.is_empty()]
    hinted = column_like(filled, TIMES)
    return hinted or next((name for name in filled if free[name].is_dated), None)


def _varies(column: pl.Series, users: pl.Series) -> bool:
    """Whether some user has two values; a date of birth or of signing up has one a user."""
    pairs = pl.DataFrame({"user": users, "value": column}).drop_nulls()
    return pairs.n_unique() > pairs["user"].n_unique()


def _finest(path: Path, log: dict[str, Profile], names: list[str]) -> str:
    """Of several columns of times the one that orders most rows, if the others never contradict it."""
    read = {}
    for name in names:
        try:
            read[name] = columns.times(log[name].column, "auto", path, BadRows(path, "drop", 1.0))[0]
        except DataError:
            continue
    best = max(read, key=lambda name: (read[name].n_unique(), like(name, TIMES)), default=names[0])
    against = []
    for name, moments in read.items():
        if name == best:
            continue
        pair = pl.DataFrame({"best": read[best], "other": moments}).drop_nulls().sort("best", maintain_order=True)
        backwards = (pair["other"].diff() < 0) & (pair["best"].diff() > 0)
        if int(backwards.sum() or 0) > TOLERATED * len(pair):
            against.append(name)
    hinted = [name for name in (best, *against) if like(name, TIMES)]
    if against and len(hinted) != 1:
        raise DataError(
            f"Cannot tell which column of {str(path)!r} holds the time of the interaction: {listed((best, *against))} "
            "tell different orders; name it with --time COLUMN"
        )
    return hinted[0] if against else best


def _read_time(
    path: Path, profile: Profile, unit: str, named: bool, has_position: bool, found: Guess
) -> tuple[pl.Series, str] | None:
    """The moments of a column and their unit; None, with a doubt, where it cannot order the log."""
    bad = BadRows(path, "drop", 1.0)
    wanted: TimeUnit = unit if unit else "auto"  # type: ignore[assignment]
    try:
        moments, chosen = columns.times(profile.column, wanted, path, bad)
    except UnclearTimesError as error:
        raise DataError(f"{error}, or name it with --time {profile.name}=UNIT") from None
    except MixedTimesError:
        raise
    except DataError as error:
        if named or profile.is_moment:
            raise
        why = str(error).removeprefix(f"{str(path)!r}: ")
        found.doubts.append(f"column {profile.name!r} looks like a time but cannot be read as one: {why}")
        return None
    unread = int(bad.any(len(moments)).sum())
    if not named and unread > float(DataConfig().bad_rows_limit) * len(moments):
        row = first_row(bad.any(len(moments)))
        found.doubts.append(
            f"column {profile.name!r} looks like a time but cannot be read as one in {unread:,} rows, such as data row "
            f"{row} with {brief(repr(profile.column[row - 1]), 60)}"
        )
        return None
    if moments.null_count() and not has_position and not _few_missing(moments):
        found.doubts.append(_lacking(moments, profile.name))
        return None
    return moments, chosen


def _lacking(values: pl.Series, name: str) -> str:
    return f"{values.null_count():,} of {len(values):,} rows have no {name!r}, so it cannot order the log"


def _decide_time(profile: Profile, read: tuple[pl.Series, str], named: bool, roles: Roles, found: Guess) -> None:
    moments, unit = read
    why = "--time" if named else "by its values" if profile.is_moment else "by its name"
    found.decide("time", profile.name, why)
    roles[profile.name] = ("time", f"{why}, {UNIT_NAMES[unit]}")
    found.decide("time_unit", unit, "by the size of its numbers" if unit in OF_NUMBERS else "its values are dates")
    middle = moments.median()
    absolute = isinstance(middle, (int, float)) and middle >= YEAR_1990
    reason = "the times lie after 1990" if absolute else "the times lie before 1990, so they count from some start"
    found.decide("absolute_times", absolute, reason)
    if len(moments) > 1 and moments.n_unique() == 1:
        found.doubts.append(f"every row has the same {profile.name!r}: it orders nothing")
    outside = int(((moments < YEAR_1990) | (moments >= YEAR_2100)).sum() or 0)
    if absolute and outside:
        found.doubts.append(f"{outside:,} rows have a {profile.name!r} before 1990 or after 2100, unlike the others")
    latest = moments.max()
    if absolute and isinstance(latest, int) and latest != NO_TIME and latest >= YEAR_2100:
        found.doubts.append(f"the latest {profile.name!r} lies after the year 2100; is data.time_unit right?")


def _position(log: dict[str, Profile], user: str, roles: Roles) -> str | None:
    free = [name for name, profile in log.items() if name not in roles and profile.numbers is not None]
    hinted = column_like([name for name in free if log[name].numbers is not None], POSITIONS)
    if hinted is not None:
        return hinted
    counting = [name for name in free if log[name].is_whole and _counts_rows(log[name].column, log[user].column)]
    return counting[0] if len(counting) == 1 else None


def _counts_rows(column: pl.Series, users: pl.Series) -> bool:
    """Whether a column numbers each user's rows from 0 or from 1 without gaps, for users of at least two rows."""
    numbers = columns.numbers_of(column).cast(pl.Int64, strict=False)
    if numbers.null_count() or len(numbers) < 4 or users.n_unique() * 2 > len(users):
        return False
    spans = pl.DataFrame({"user": users, "at": numbers}).group_by("user").agg(
        pl.col("at").min().alias("low"), pl.col("at").max().alias("high"),
        pl.col("at").n_unique().alias("distinct"), pl.len().alias("rows"),
    )  # fmt: skip
    whole = (spans["distinct"] == spans["rows"]) & (spans["high"] - spans["low"] + 1 == spans["rows"])
    return bool((whole & (spans["low"] == spans["low"][0]) & (spans["low"] <= 1)).all())


def _why_no_position(column: pl.Series, users: pl.Series, moments: pl.Series | None) -> str | None:
    """Why positions are no order of events; None where they are: one place for a user once, none against the times."""
    numbers = columns.numbers_of(column).cast(pl.Float64, strict=False)
    if not _few_missing(numbers):
        return f"{numbers.null_count():,} rows have none"
    table = pl.DataFrame({"user": users.cast(pl.String), "at": numbers}).filter(numbers.is_not_null())
    doubled = len(table) - table.n_unique()
    if doubled > TOLERATED * len(table):
        return f"{doubled:,} rows repeat a position of the same user, as places on a page do"
    if moments is None:
        return None
    timed = (
        table.with_columns(moments.filter(numbers.is_not_null()).alias("time"))
        .drop_nulls()
        .sort("user", "at", maintain_order=True)
    )
    backwards = (timed["user"] == timed["user"].shift()) & (timed["time"].diff() < 0)
    if int(backwards.sum() or 0) > TOLERATED * len(timed):
        return f"it runs against the times in {int(backwards.sum()):,} places, as places on a page do"
    return None

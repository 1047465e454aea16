"""Moments in any spelling, as int64 milliseconds: epochs of four units, ISO dates, days first or last, "... UTC"."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl

from sidestep.data.sources.config import TimeUnit
from sidestep.data.sources.numbers import with_plain_digits

MOST = 0.9
"""The share of a column's values that decides what it holds."""
PER_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
OF_NUMBERS = (*PER_MS, "excel")
"""The units of moments that are numbers."""
LARGE_UNITS: tuple[tuple[float, TimeUnit], ...] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))
UNIT_NAMES = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "iso": "dates",
    "d/m/y": "dates, the day first",
    "m/d/y": "dates, the month first",
    "excel": "days of a spreadsheet, since the end of 1899",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_1990, YEAR_2100 = 631_152_000_000, 4_102_444_800_000
"""In milliseconds. Between these years, an epoch's unit is certain: the four units' ranges do not meet."""
DAY_MS, EXCEL_EPOCH = 86_400_000, 25_569
"""Of a day, and the day of 1 January 1970 in the count of spreadsheets, which is right from March 1900 on."""

FAR = 20 * 365 * DAY_MS
"""In milliseconds: how far from all others a moment may be that stands for one."""

DayOrder = Literal["d/m/y", "m/d/y"]
TAIL = r"(?:[T ,]+(?P<clock>\d{1,2}:\d{2}.*))?$"
NUMBERED = re.compile(r"^(?P<a>\d{1,2})(?P<mark>[/.-])(?P<b>\d{1,2})(?P=mark)(?P<y>\d{4})" + TAIL)
YEAR_FIRST = re.compile(r"^(?P<y>\d{4})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})" + TAIL)
NAMED = (
    re.compile(
        r"^(?:[^\W\d_]{3,9},? )?(?P<d>\d{1,2})(?:\.|st|nd|rd|th)?[ -](?:de )?(?P<m>[^\W\d_]{3,10})\.?,?[ -](?:de )?"
        r"(?P<y>\d{4})" + TAIL
    ),
    re.compile(r"^(?:[A-Za-z]{3,9},? )?(?P<m>[A-Za-z]{3,9})\.? (?P<d>\d{1,2})(?:st|nd|rd|th)?,? (?P<y>\d{4})" + TAIL),
    re.compile(
        r"^[A-Za-z]{3} (?P<m>[A-Za-z]{3}) (?P<d>\d{1,2}) "
        r"(?P<clock>\d{2}:\d{2}:\d{2}(?: ?[A-Z+-][\w+:-]*)?) (?P<y>\d{4})$"
    ),
    re.compile(r"^(?P<m>\d{1,2}) (?P<d>\d{1,2}), (?P<y>\d{4})(?P<clock>)$"),  # Amazon's reviewTime: 09 13, 2009
)
MONTHS = (
    *("jan ene gen", "feb fev fév lut", "mar mär maa mrt", "apr avr abr", "may mai mag mei maj", "jun juin giu"),
    *("jul juil lug", "aug aou aoû ago", "sep set", "oct okt ott out", "nov", "dec dez déc dic"),
)
"""How the names of the twelve months begin, in the languages of western Europe."""
OTHER_SPELLINGS = (
    (r"^(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]", r"\1/\2/\3"),
    (r"(\d{1,2})\s*[時时시]\s*(\d{1,2})\s*[分분]\s*(\d{1,2})\s*[秒초]", r"\1:\2:\3"),
    (r"(\d{1,2})\s*[時时시]\s*(\d{1,2})\s*[分분]", r"\1:\2"),
    (r"^\[?(\d{1,2})/([A-Za-z]{3})/(\d{4}):(\d{2}:\d{2}:\d{2}.*?)\]?$", r"\1 \2 \3 \4"),  # logs of web servers
    (r"(Z|[+-]\d{2}:?\d{2})\[[\w/+-]+\]$", r"\1"),  # Java's 2020-01-28T18:41:19+01:00[Europe/Berlin]
    (r"(\d[T ])(\d{1,2})\.(\d{2})\.(\d{2})$", r"\1\2:\3:\4"),
)
"""Spellings of moments, and the same in one that is read."""
ZONE = re.compile(r"\s*(?:UTC|GMT|Z)$", re.IGNORECASE)
CLOCK_ENDS = ("", "%z", " %z", " %p", "%p")


def guess_unit(known: pl.Series) -> TimeUnit:
    """The unit of numbers, by their size: seconds up to the year 5138, then milliseconds, and so on."""
    middle = known.abs().median()
    size = float(middle) if isinstance(middle, (int, float)) else 0.0
    return next((unit for limit, unit in LARGE_UNITS if size >= limit), "s")


def units_met(numbers: pl.Series) -> dict[str, pl.Series]:
    """For each unit in which some number is a moment between 1990 and 2100, which numbers are."""
    values = numbers.cast(pl.Float64)
    found = {}
    for unit, scale in PER_MS.items():
        mask = ((values * scale >= YEAR_1990) & (values * scale < YEAR_2100)).fill_null(False)
        if mask.any():
            found[unit] = mask
    return found


def epochs(numbers: pl.Series) -> pl.Series:
    """Which numbers are moments between 1990 and 2100 in any of the four units."""
    found = pl.repeat(False, len(numbers), eager=True)
    for mask in units_met(numbers).values():
        found = found | mask
    return found


def near_the_others(found: pl.Series, most: float) -> pl.Series:
    """Which moments, in milliseconds, are no such as 1970 or 9999 that stand for none: more than a share `most` lies in
    the calendar, between 1990 and 2100, and these are over 20 years away from all of that. Missing ones are near.
    """
    calendar = found.filter((found >= YEAR_1990) & (found < YEAR_2100))
    if len(calendar) <= most * (len(found) - found.null_count()):
        return pl.repeat(True, len(found), eager=True)
    first, last = pl.Series([calendar.min(), calendar.max()], dtype=pl.Int64).to_list()
    return found.is_between(first - FAR, last + FAR).fill_null(True)


def spreadsheet_days(numbers: pl.Series) -> bool:
    """Whether most numbers, such as 45291.5, are days between 1990 and 2100 as spreadsheets count them."""
    moments = (numbers.drop_nulls().cast(pl.Float64) - EXCEL_EPOCH) * DAY_MS
    inside = (moments >= YEAR_1990) & (moments < YEAR_2100)
    return len(moments) > 0 and int(inside.sum()) >= MOST * len(moments)


def with_clock(days: pl.Series, decimals: int = 0) -> bool:
    """Whether some day has a fraction of more decimals than these, as no number of seconds, and no price, has."""
    fractions = days.drop_nulls().cast(pl.Float64) * 10.0**decimals % 1
    return bool(fractions.is_between(1e-6, 1 - 1e-6).any())


def compact_dates(numbers: pl.Series) -> bool:
    """Whether whole numbers are days spelled as 20200928, every one of them."""
    known = numbers.drop_nulls()
    if not known.dtype.is_integer() or known.is_empty():
        return False
    months, days = known // 100 % 100, known % 100
    return bool((known.is_between(19_900_101, 21_001_231) & months.is_between(1, 12) & days.is_between(1, 31)).all())


def day_order(texts: Iterable[str]) -> DayOrder | Literal["open", "none"]:
    """Which number of dates such as 31/12/2020 is the day: "open" where they leave it open, "none" without any."""
    first, second, seen = False, False, False
    for text in texts:
        found = NUMBERED.match(text)
        if found is None:
            continue
        seen = True
        if found["mark"] == ".":  # 31.12.2020 is spelled where days come first
            first = True
        first, second = first or int(found["a"]) > 12, second or int(found["b"]) > 12
    if not seen:
        return "none"
    return "open" if first == second else "d/m/y" if first else "m/d/y"


def parser(order: DayOrder | Literal["open", "none"]) -> Callable[[str], int | None]:
    """From one spelling of a moment to milliseconds, None where it is none. Without a zone it is taken as UTC."""

    def parse(text: str) -> int | None:
        try:
            return _milliseconds(datetime.fromisoformat(text))
        except (ValueError, OverflowError):
            pass
        try:
            return _milliseconds(_spelled(ZONE.sub("", _respelled(text)), order))
        except (ValueError, OverflowError):
            return None

    return parse


def _respelled(text: str) -> str:
    text = with_plain_digits(text)
    for spelling, read in OTHER_SPELLINGS:
        text = re.sub(spelling, read, text)
    return text


def _spelled(text: str, order: str) -> datetime:
    """Raises:
    ValueError: the text is no moment.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    numbered = NUMBERED.match(text)
    if numbered is not None and order in ("d/m/y", "m/d/y"):
        first, second = int(numbered["a"]), int(numbered["b"])
        day, month = (first, second) if order == "d/m/y" else (second, first)
        return _with_clock(int(numbered["y"]), month, day, numbered["clock"])
    for pattern in (YEAR_FIRST, *NAMED):
        found = pattern.match(text)
        if found is not None:
            return _with_clock(int(found["y"]), _month(found["m"]), int(found["d"]), found["clock"])
    raise ValueError(text)


def _month(text: str) -> int:
    """Raises:
    ValueError: no month is called so.
    """
    if text.isdigit():
        return int(text)
    for number, beginnings in enumerate(MONTHS, start=1):
        if any(text.lower().startswith(one) for one in beginnings.split()):
            return number
    raise ValueError(text)


def _with_clock(year: int, month: int, day: int, clock: str | None) -> datetime:
    midnight = datetime(year, month, day)
    if not clock:
        return midnight
    clock = ZONE.sub("", clock).strip()
    for end in CLOCK_ENDS:
        for form in ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f"):
            try:
                moment = datetime.strptime(clock, (form.replace("%H", "%I") if "%p" in end else form) + end)
            except ValueError:
                continue
            return moment.replace(year=year, month=month, day=day)
    raise ValueError(clock)


def _milliseconds(moment: datetime) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round((moment - EPOCH) / timedelta(milliseconds=1))


def spelled(moment: int) -> str:
    """A moment's day as people write it; the years that calendars do not reach by their number of milliseconds."""
    try:
        return (EPOCH + timedelta(milliseconds=moment)).date().isoformat()
    except OverflowError:
        return f"{moment:,} ms"

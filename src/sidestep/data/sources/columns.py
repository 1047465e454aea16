"""From a source's own columns to the canonical ones: ids are strings, times are milliseconds, orders are numbers."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from sidestep.data.sources import moments
from sidestep.data.sources.bad_rows import BadRows, absent, first_row, spellings
from sidestep.data.sources.config import MISSING, TimeUnit
from sidestep.data.sources.moments import DAY_MS, EXCEL_EPOCH, OF_NUMBERS, PER_MS, UNIT_NAMES
from sidestep.data.sources.numbers import read_numbers
from sidestep.errors import DataError, MixedTimesError, UnclearTimesError, brief

LARGEST_MOMENT = 2.0**60
FEW = 0.1
"""The share of a column's values up to which they are bad ones among the others."""


def ids(column: pl.Series, path: Path, key: str, bad: BadRows | None = None, listed: Sequence[str] = ()) -> pl.Series:
    """A column of ids as strings, exactly as the source spells them.

    bad: is told the rows without an id, which are null; where None, and by its policy, they are refused. listed: ids
    that are spelled like missing values.

    Raises:
        DataError: an empty id, or a type that cannot hold ids faithfully (floating-point numbers, lists).
    """
    kind = column.dtype
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(
            f"{str(path)!r}: column {brief(column.name)!r} (data.{key}) holds {brief(kind)}, which cannot hold ids; "
            "expected text or whole numbers"
        )
    bad = bad or BadRows(path, missing=MISSING)
    text = column.cast(pl.String)
    mask = absent(text, bad.missing, listed)
    bad.add(mask, f"have no {column.name!r} (data.{key}){spellings(text.filter(mask))}")
    return text.set(mask, None) if mask.any() else text


def order(column: pl.Series, path: Path, bad: BadRows | None = None) -> pl.Series:
    """A column of positions as numbers. bad: see `ids`.

    Raises:
        DataError: an empty value, or one that is no number.
    """
    if column.dtype.is_temporal():
        return column.to_physical()
    if not _scalar(column):
        raise DataError(
            f"{str(path)!r}: column {brief(column.name)!r} (data.order) holds {brief(column.dtype)}, expected numbers"
        )
    numbers = numbers_of(column)
    wrong = numbers.is_null() | numbers.is_nan() if numbers.dtype.is_float() else numbers.is_null()
    if wrong.any():
        row = first_row(wrong)
        if bad is None or bad.policy == "error":
            raise DataError(
                f"{str(path)!r}: data row {row} has {_value(column, row)} in column {column.name!r} (data.order), "
                "expected a number; a column of dates belongs in data.time"
            )
        bad.add(wrong, f"have no number in {column.name!r} (data.order), such as {_value(column, row)}")
    return numbers


def times(column: pl.Series, unit: TimeUnit, path: Path, bad: BadRows | None = None) -> tuple[pl.Series, str]:
    """A column of moments as int64 milliseconds, null where there is none, and the unit it was read in.

    bad: is told the values that are no moments, or far from all others, where it drops such rows; see `ids`.

    Raises:
        DataError: a value that is neither a number nor a date, or does not fit the unit; numbers of several units.
    """
    found, chosen = _times(column, unit, path, bad)
    near = moments.near_the_others(found, 1 - FEW)
    if near.all():
        return found, chosen
    return found.set(_bad_moments(column, ~near, path, "a moment within 20 years of the others", bad), None), chosen


def _times(column: pl.Series, unit: TimeUnit, path: Path, bad: BadRows | None) -> tuple[pl.Series, str]:
    kind = column.dtype
    if kind in (pl.Date, pl.Datetime):
        return _physical(column), "iso"
    if kind.is_temporal() or not _scalar(column):
        raise DataError(
            f"{str(path)!r}: column {brief(column.name)!r} (data.time) holds {brief(kind)}, which is no moment; "
            "expected dates, or numbers since 1970"
        )
    if bad is not None and kind == pl.String:
        column = column.set(absent(column, bad.missing), None)
    numbers, filled = numbers_of(column), _filled(column, MISSING)
    words = filled & numbers.is_null()
    if unit == "auto":
        _refuse_dates_among_numbers(column, numbers, words, path)
    dates = unit not in OF_NUMBERS and (unit != "auto" or 2 * int(words.sum()) > int(filled.sum()))
    if dates or (unit == "auto" and moments.compact_dates(numbers)):
        return _dates(column, unit, path, bad)
    if words.any():
        expected = f"a number of {UNIT_NAMES[unit]}" if unit != "auto" else "a number like the others"
        numbers = numbers.set(_bad_moments(column, words, path, expected, bad), None)
    values = numbers.fill_nan(None) if numbers.dtype.is_float() else numbers
    _refuse_mixed(column, values, path, unit)
    if unit == "auto":
        _refuse_other_numbers(column, values, path)
    chosen = _unit(column, values, path) if unit == "auto" else unit
    unknown = ((values == 0) | (values == -1)).fill_null(False)  # what programs write for a time they do not know
    if unknown.any() and _of_calendar(values.filter(~unknown)):
        values = values.set(_bad_moments(column, unknown, path, "a moment like the others", bad), None)
    scale = PER_MS.get(chosen, DAY_MS)
    too_large = (values.cast(pl.Float64).abs() * scale > LARGEST_MOMENT).fill_null(False)
    if too_large.any():
        values = values.set(_bad_moments(column, too_large, path, f"a moment in {UNIT_NAMES[chosen]}", bad), None)
    return _of_spreadsheet(values) if chosen == "excel" else _milliseconds(values, scale), chosen


def chosen_events(column: pl.Series, wanted: Sequence[str], path: Path) -> pl.Series:
    """Which rows are of the `wanted` kinds.

    Raises:
        DataError: a kind that no row has.
    """
    text = column.cast(pl.String).str.strip_chars()
    counts = dict(text.drop_nulls().value_counts(sort=True).rows())
    unknown = [kind for kind in wanted if kind not in counts]
    if unknown:
        kinds = ", ".join(f"{brief(kind, 30)} ({count:,})" for kind, count in list(counts.items())[:8])
        raise DataError(
            f"{str(path)!r} has no row with {unknown[0]!r} in {column.name!r} (data.events); it has {kinds or 'none'}"
        )
    return text.is_in(list(wanted)).fill_null(False)


def _physical(column: pl.Series) -> pl.Series:
    try:
        return column.cast(pl.Datetime("ms")).dt.epoch("ms")
    except PolarsError:  # a year that milliseconds do not reach: null, like any other value that is no moment
        return column.cast(pl.Datetime("ms"), strict=False).dt.epoch("ms")


def _scalar(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)


def _filled(column: pl.Series, missing: Sequence[str]) -> pl.Series:
    return ~absent(column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column, missing)


def numbers_of(column: pl.Series) -> pl.Series:
    """The column as int64 where that loses nothing, else as float64; null where it is no number."""
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if column.dtype == pl.String:
        return read_numbers(column.set(~_filled(column, MISSING), None))
    return column.cast(pl.Float64, strict=False)


def _milliseconds(values: pl.Series, scale: float) -> pl.Series:
    if values.dtype.is_float():
        return (values * scale).round(0).cast(pl.Int64)
    return values * int(scale) if scale >= 1 else values // round(1 / scale)


def _unit(column: pl.Series, values: pl.Series, path: Path) -> TimeUnit:
    """The unit of numbers by their size.

    Raises:
        DataError: they are whole and may be days or seconds.
    """
    if not moments.spreadsheet_days(values):
        return moments.guess_unit(values.drop_nulls())
    if not moments.with_clock(values):
        day = moments.spelled(_of_spreadsheet(values.drop_nulls())[0])
        raise UnclearTimesError(
            f"{str(path)!r}: column {column.name!r} (data.time) holds numbers such as {_value(column, 1)}, which are "
            f'days of a spreadsheet ({day}) or seconds from some start; set data.time_unit = "excel" or "s"'
        )
    return "excel"


def _of_calendar(values: pl.Series) -> bool:
    """Whether most numbers are moments between 1990 and 2100."""
    return int(moments.epochs(values).sum()) > (1 - FEW) * (len(values) - values.null_count())


def _of_spreadsheet(days: pl.Series) -> pl.Series:
    return ((days.cast(pl.Float64) - EXCEL_EPOCH) * DAY_MS).round(0).cast(pl.Int64)


def _dates(column: pl.Series, unit: TimeUnit, path: Path, bad: BadRows | None) -> tuple[pl.Series, str]:
    """Dates in any spelling of `moments`; of many rows, few are distinct dates."""
    text = column.cast(pl.String).str.strip_chars()
    distinct = text.unique().drop_nulls()
    order = moments.day_order(distinct.to_list())
    if unit in ("d/m/y", "m/d/y"):
        order = unit
    if order == "open":
        row = first_row(text.str.contains(r"^\d{1,2}[/.-]\d{1,2}[/.-]\d{4}"))
        raise UnclearTimesError(
            f"{str(path)!r}: data row {row} has {_value(column, row)} in column {column.name!r} (data.time), and no or "
            'contrary rows say whether the day or the month is first; set data.time_unit = "d/m/y" or "m/d/y"'
        )
    parse = moments.parser(order)
    parsed = pl.Series([parse(value) for value in distinct.to_list()], dtype=pl.Int64)
    known = parsed.is_not_null()
    found = text.replace_strict(distinct.filter(known), parsed.filter(known), default=None, return_dtype=pl.Int64)
    wrong = found.is_null() & _filled(column, MISSING)
    if wrong.any():
        _bad_moments(column, wrong, path, "a number or an ISO date such as 2014-07-23T10:00:00", bad)
    return found, order if order in ("d/m/y", "m/d/y") else "iso"


def _refuse_dates_among_numbers(column: pl.Series, numbers: pl.Series, words: pl.Series, path: Path) -> None:
    """Refuse a column of which more than a few values are dates, and more than a few numbers that are moments."""
    epochs, few = moments.epochs(numbers), FEW * len(column)
    if int(epochs.sum()) <= few or int(words.sum()) <= few or moments.compact_dates(numbers):
        return
    parse = moments.parser("d/m/y")
    dates = words & column.is_in([text for text in column.filter(words).unique().to_list() if parse(text.strip())])
    if int(dates.sum()) > few:
        first = [f"data row {first_row(mask)} has {_value(column, first_row(mask))}" for mask in (dates, epochs)]
        raise MixedTimesError(
            f"{str(path)!r}: column {column.name!r} (data.time) mixes dates and numbers: {first[0]} "
            f"({int(dates.sum())} rows), {first[1]} ({int(epochs.sum())} rows); bring them to one spelling"
        )


def _refuse_mixed(column: pl.Series, values: pl.Series, path: Path, unit: TimeUnit) -> None:
    """Refuse numbers of two units, and those of a smaller unit than the recipe's, thousands of years ahead in it."""
    met = moments.units_met(values)
    smaller = [name for name in met if unit in PER_MS and PER_MS[name] < PER_MS[unit]]
    if len(met) == 1 and smaller:
        mask = met[smaller[0]]
        raise DataError(
            f"{str(path)!r}: data row {first_row(mask)} has {_value(column, first_row(mask))} in column "
            f"{column.name!r} (data.time), which are {UNIT_NAMES[smaller[0]]} ({int(mask.sum())} rows), and "
            f"{UNIT_NAMES[unit]} are expected; correct data.time_unit, or the layout"
        )
    if len(met) > 1:
        first = [
            f"data row {first_row(mask)} has {_value(column, first_row(mask))}, {UNIT_NAMES[unit]} "
            f"({int(mask.sum())} rows)"
            for unit, mask in met.items()
        ]
        raise MixedTimesError(
            f"{str(path)!r}: column {column.name!r} (data.time) mixes units: {'; '.join(first)}; bring them to one unit"
        )


def _refuse_other_numbers(column: pl.Series, values: pl.Series, path: Path) -> None:
    """Refuse numbers of which more than a few are moments of the calendar, and more than a few are not."""
    calendar = moments.epochs(values)
    others = (~calendar & (values != 0) & (values != -1)).fill_null(False)
    if min(int(calendar.sum()), int(others.sum())) > FEW * len(values):
        first = [
            f"data row {first_row(mask)} has {_value(column, first_row(mask))} ({int(mask.sum())} rows)"
            for mask in (calendar, others)
        ]
        raise MixedTimesError(
            f"{str(path)!r}: column {column.name!r} (data.time) mixes moments of the calendar and other numbers: "
            f"{', '.join(first)}; bring them to one unit, or set data.time_unit"
        )


def _bad_moments(column: pl.Series, wrong: pl.Series, path: Path, expected: str, bad: BadRows | None) -> pl.Series:
    """The mask itself, once the rows are refused or told to `bad`."""
    row = first_row(wrong)
    if bad is None or bad.policy == "error":
        raise DataError(
            f"{str(path)!r}: data row {row} has {_value(column, row)} in column {column.name!r} (data.time), "
            f"expected {expected}; {int(wrong.sum())} rows are like this"
        )
    bad.add(wrong, f"have no moment in {column.name!r} (data.time), such as {_value(column, row)}")
    return wrong


def _value(column: pl.Series, row: int) -> str:
    return brief(repr(column[row - 1]), 60)

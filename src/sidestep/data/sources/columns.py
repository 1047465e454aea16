"""From a source's own columns to the canonical ones: ids are strings, times are milliseconds, orders are numbers."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from sidestep.data.sources.config import TimeUnit
from sidestep.errors import DataError

PER_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
LARGE_UNITS: tuple[tuple[float, TimeUnit], ...] = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "iso": "dates"}


def ids(column: pl.Series, path: Path, key: str) -> pl.Series:
    """A column of ids as strings, exactly as the source spells them.

    Raises:
        DataError: an empty id, or a type that cannot hold ids faithfully (floating-point numbers, lists).
    """
    kind = column.dtype
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(
            f"{str(path)!r}: column {column.name!r} (data.{key}) holds {kind}, which cannot hold ids; "
            "expected text or whole numbers"
        )
    text = column.cast(pl.String)
    empty = (text.is_null() | (text == "")).fill_null(True)
    if empty.any():
        raise DataError(
            f"{str(path)!r}: {int(empty.sum())} rows have no {column.name!r} (data.{key}), the first is "
            f"data row {first_row(empty)}; every row needs an id: remove them or fill them in"
        )
    return text


def order(column: pl.Series, path: Path) -> pl.Series:
    """A column of positions as numbers.

    Raises:
        DataError: an empty value, or one that is no number.
    """
    if column.dtype.is_temporal():
        return column.to_physical()
    numbers = _numbers(column)
    wrong = numbers.is_null() | numbers.is_nan() if numbers.dtype.is_float() else numbers.is_null()
    if wrong.any():
        row = first_row(wrong)
        raise DataError(
            f"{str(path)!r}: data row {row} has {column[row - 1]!r} in column {column.name!r} (data.order), expected "
            "a number; a column of dates belongs in data.time"
        )
    return numbers


def times(column: pl.Series, unit: TimeUnit, path: Path) -> tuple[pl.Series, str]:
    """A column of moments as int64 milliseconds, null where empty or NaN, and the unit it was read in.

    Raises:
        DataError: a value that is neither a number nor an ISO date, or does not fit the unit.
    """
    if column.dtype.is_temporal():
        return column.cast(pl.Datetime("ms")).dt.epoch("ms"), "iso"
    numbers, filled = _numbers(column), _filled(column)
    words = filled & numbers.is_null()
    if unit == "iso" or (unit == "auto" and 2 * int(words.sum()) > int(filled.sum())):
        return _iso(column, path), "iso"
    if words.any():
        _refuse(
            column, words, path, f"a number of {UNIT_NAMES[unit]}" if unit != "auto" else "a number like the others"
        )
    values = numbers.fill_nan(None) if numbers.dtype.is_float() else numbers
    chosen = guess_unit(values.drop_nulls()) if unit == "auto" else unit
    scale = PER_MS[chosen]
    too_large = (values.cast(pl.Float64).abs() * scale > 2.0**60).fill_null(False)
    if too_large.any():
        _refuse(column, too_large, path, f"a moment in {UNIT_NAMES[chosen]}")
    return _milliseconds(values, scale), chosen


def guess_unit(known: pl.Series) -> TimeUnit:
    """The unit of numbers, by their size: seconds up to the year 5138, then milliseconds, and so on."""
    middle = known.abs().median()
    size = float(middle) if isinstance(middle, (int, float)) else 0.0
    return next((unit for limit, unit in LARGE_UNITS if size >= limit), "s")


def first_row(wrong: pl.Series) -> int:
    """Number of the first marked row, counted from 1 without the header."""
    position = wrong.fill_null(False).arg_max()
    return 0 if position is None else position + 1


def _filled(column: pl.Series) -> pl.Series:
    return (column.str.strip_chars() != "").fill_null(False) if column.dtype == pl.String else column.is_not_null()


def _numbers(column: pl.Series) -> pl.Series:
    """The column as int64 where that loses nothing, else as float64; null where it is no number."""
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if column.dtype == pl.String:
        stripped = column.str.strip_chars()
        whole = stripped.cast(pl.Int64, strict=False)
        return whole if (whole.is_not_null() | ~_filled(column)).all() else stripped.cast(pl.Float64, strict=False)
    return column.cast(pl.Float64, strict=False)


def _milliseconds(values: pl.Series, scale: float) -> pl.Series:
    if values.dtype.is_float():
        return (values * scale).round(0).cast(pl.Int64)
    return values * int(scale) if scale >= 1 else values // round(1 / scale)


def _iso(column: pl.Series, path: Path) -> pl.Series:
    """Dates and times in ISO 8601; without an offset they are taken as UTC. Few of many rows are distinct dates."""
    text = column.cast(pl.String).str.strip_chars()
    distinct = text.unique().drop_nulls()
    parsed = pl.Series([_epoch_ms(value) for value in distinct.to_list()], dtype=pl.Int64)
    known = parsed.is_not_null()
    found = text.replace_strict(distinct.filter(known), parsed.filter(known), default=None, return_dtype=pl.Int64)
    wrong = found.is_null() & _filled(column)
    if wrong.any():
        _refuse(column, wrong, path, "a number or an ISO date such as 2014-07-23T10:00:00")
    return found


def _epoch_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _refuse(column: pl.Series, wrong: pl.Series, path: Path, expected: str) -> None:
    row = first_row(wrong)
    raise DataError(
        f"{str(path)!r}: data row {row} has {column[row - 1]!r} in column {column.name!r} (data.time), "
        f"expected {expected}; {int(wrong.sum())} rows are like this"
    )

"""The catalogue's columns as filters: ranges of numbers, truth values, and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from sidestep.errors import DataError, brief, did_you_mean, listed

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Where = Mapping[str, Any]
"""Conditions on columns, all of which an item meets: a number, a truth value or a text that its value equals; a list of
values that it is one of; or `{"min": a, "max": b}`, a range of numbers with both ends, of which one may be left out. An
item without a value meets none.
"""
TRUTH = {"true": True, "yes": True, "false": False, "no": False}
CODE = r"^[+-]?0\d"
"""A number that begins with a further 0 is a code, such as a postal one."""
LISTED = 400
"""The most values of one column that are listed."""


@dataclass(frozen=True)
class Column:
    """What a column holds, for those who choose a condition on it.

    kind: what its values are. num_items: with a value. min, max: of numbers, else None. values: of text that has as
        many items as twice its values, or more: each with the number of its items, the most frequent first and at most
        `LISTED`; else empty.
    """

    name: str
    kind: Literal["number", "truth", "text"]
    num_items: int
    min: float | None = None
    max: float | None = None
    values: tuple[tuple[str, int], ...] = ()


def columns_of(table: pl.DataFrame) -> list[Column]:
    """The columns that conditions can be put on and that hold any value, in the table's order."""
    found = [_column(typed(table[name])) for name in table.columns]
    return [column for column in found if column is not None]


def _column(column: pl.Series) -> Column | None:
    known = column.drop_nulls()
    if known.dtype.is_numeric():
        numbers = known.cast(pl.Float64).to_numpy()
        numbers = numbers[np.isfinite(numbers)]
        return Column(column.name, "number", len(numbers), numbers.min(), numbers.max()) if len(numbers) else None
    if not len(known) or known.dtype not in (pl.Boolean, pl.String):
        return None
    if known.dtype == pl.Boolean:
        return Column(column.name, "truth", len(known))
    counted = known.alias("value").value_counts(name="count").sort("count", "value", descending=[True, False])
    repeated = 2 * len(counted) <= len(known)
    return Column(column.name, "text", len(known), values=tuple(counted.head(LISTED).iter_rows()) if repeated else ())


def typed(column: pl.Series) -> pl.Series:
    """A column of text as whole numbers, numbers or truth values, if each of its values is one; else as it is.

    Categories are text, and decimals are numbers.
    """
    if column.dtype.is_decimal():
        return column.cast(pl.Float64)
    column = column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column
    if column.dtype != pl.String:
        return column
    words = column.str.strip_chars().replace("", None)
    known = words.drop_nulls()
    if not len(known):
        return column
    if known.str.to_lowercase().is_in(list(TRUTH)).all():
        return words.str.to_lowercase().replace_strict(TRUTH, return_dtype=pl.Boolean)
    if known.str.contains(CODE).any():
        return column
    for kind in (pl.Int64, pl.Float64):
        numbers = known.cast(kind, strict=False)
        if not numbers.is_null().any() and numbers.cast(pl.Float64).is_finite().all():
            return words.cast(kind)
    return column


def meeting(table: pl.DataFrame, where: Where) -> Flags:
    """Which rows meet all conditions, `[N]`.

    Raises:
        DataError: no such column, or a condition that does not fit what it holds.
    """
    met = np.ones(len(table), dtype=np.bool_)
    for name, condition in where.items():
        if name not in table.columns:
            hint = did_you_mean(name, table.columns) or f"; it has {listed(table.columns, 20)}"
            raise DataError(f"The catalogue has no column {name!r}{hint}")
        column = typed(table[name])
        known = column.fill_nan(None) if column.dtype.is_float() else column
        met &= _met(known, name, condition).fill_null(False).to_numpy()
    return met


def _met(column: pl.Series, name: str, condition: Any) -> pl.Series:
    if isinstance(condition, Mapping):
        return _within(column, name, condition)
    listed_values = isinstance(condition, Sequence) and not isinstance(condition, str)
    values = [_value(column, name, each) for each in (condition if listed_values else [condition])]
    column = column.cast(pl.Float64) if column.dtype.is_numeric() else column
    return column.is_in(pl.Series([values], dtype=pl.List(column.dtype)))


def _within(column: pl.Series, name: str, limits: Mapping[str, Any]) -> pl.Series:
    if not column.dtype.is_numeric():
        raise DataError(f"Cannot take a range of {name!r}, which holds {_holds(column)}; a range needs numbers")
    given = {end: limit for end, limit in limits.items() if limit is not None}
    if not given or not given.keys() <= {"min", "max"}:
        raise DataError(f"Cannot read {brief(dict(limits))} as a range of {name!r}; expected min, max or both")
    ends = {end: _value(column, name, limit) for end, limit in given.items()}
    met = pl.Series(np.ones(len(column), dtype=np.bool_))
    met = met & (column >= ends["min"]) if "min" in ends else met
    return met & (column <= ends["max"]) if "max" in ends else met


def _value(column: pl.Series, name: str, value: Any) -> Any:
    """A value as the column holds them; text, as of a command line, is read as what the column holds."""
    read: Any = None
    if column.dtype == pl.Boolean:
        read = value if isinstance(value, bool) else TRUTH.get(str(value).lower())
    elif column.dtype.is_numeric():
        read = None if isinstance(value, bool) else _number(value)
    elif column.dtype == pl.String and isinstance(value, str):
        read = value
    if read is None:
        example = brief(repr(column.drop_nulls().first()), 40)
        raise DataError(
            f"Cannot compare {name!r} with {brief(repr(value), 60)}; it holds {_holds(column)}, such as {example}"
        )
    return read


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _holds(column: pl.Series) -> str:
    kinds = {pl.Boolean: "true and false", pl.String: "text"}
    return "numbers" if column.dtype.is_numeric() else kinds.get(type(column.dtype), str(column.dtype))

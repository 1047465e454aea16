"""Tables that Python holds, as polars frames: polars, pandas, whatever speaks Arrow's protocol, and columns by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from sidestep.errors import DataError, brief


def is_path(table: object) -> bool:
    return isinstance(table, str | Path)


def as_frame(table: Any, name: str) -> pl.DataFrame:
    """A table as a polars frame with the same columns, rows and types; missing values are null.

    table: a polars frame (lazy or not), a pandas one, an object with `__arrow_c_stream__`, or a mapping of column names
        to values. pandas is not imported, and its index is left out. name: what messages call the table.

    Raises:
        DataError: something else, names of columns that are no text, or a column of mixed types.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if isinstance(table, Mapping):
        return _of_columns({key: list(values) for key, values in table.items()}, name)
    if all(hasattr(table, word) for word in ("columns", "dtypes", "iloc")):
        return _of_columns({key: _pandas_column(table.iloc[:, at]) for at, key in enumerate(table.columns)}, name)
    if hasattr(table, "__arrow_c_stream__"):
        return pl.DataFrame(table)
    raise DataError(
        f"{name} is {brief(repr(table), 60)}, of type {type(table).__name__}; expected a path, a polars or pandas "
        "frame, or a mapping of column names to values"
    )


def write(frame: pl.DataFrame, path: Path, name: str) -> None:
    """A frame as Parquet: the same bytes for the same content.

    Raises:
        DataError: a column of Python objects, which no file can hold.
    """
    try:
        frame.write_parquet(path)
    except PolarsError as error:
        raise DataError(f"{name} cannot be written as Parquet: {brief(error, 160)}") from None


def _pandas_column(column: Any) -> Any:
    """Numbers and moments as NumPy holds them; all else value by value, None where pandas has one of its signs for a
    missing value.
    """
    values = column.to_numpy()
    if values.dtype.kind == "M" and np.datetime_data(values.dtype)[0] not in ("ns", "us", "ms"):
        return values.astype("datetime64[ms]")  # polars has no coarser unit
    if values.dtype.kind in "biufM":
        return values
    return [None if absent else value for value, absent in zip(column.tolist(), column.isna().tolist(), strict=True)]


def _of_columns(columns: Mapping[Any, Any], name: str) -> pl.DataFrame:
    series = []
    for key, values in columns.items():
        if not isinstance(key, str):
            raise DataError(f"{name} has a column named {key!r}, of type {type(key).__name__}; expected text")
        try:
            series.append(pl.Series(key, values, nan_to_null=True))
        except (TypeError, PolarsError, OverflowError):
            kinds = sorted({type(value).__name__ for value in values if value is not None})
            raise DataError(
                f"Column {key!r} of {name} mixes values of {', '.join(kinds)}; bring them to one type"
            ) from None
    try:
        return pl.DataFrame(series)
    except PolarsError as error:
        raise DataError(f"{name} is no table: {brief(error, 160)}") from None

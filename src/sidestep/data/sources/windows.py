"""Windows from a table: what was seen of the items in every slice of time."""

from pathlib import Path

import numpy as np
import polars as pl

from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.data.interactions import Ints
from sidestep.data.sources.files import PARQUET, read_table
from sidestep.data.times import read_time
from sidestep.data.windows import Floats, Windows
from sidestep.errors import DataError, brief, did_you_mean, listed

START = "start"


def read_windows(path: Path, catalog: Catalog, start: int | None = None) -> Windows:
    """The windows in a table with the columns `item_id`, `start` (see `start`), and one column of lists, or several of
    numbers, with the vectors. Rows may be in any order.

    start: when the one slice begins that a table without a column `start` is of, in milliseconds.

    Raises:
        DataError: no such file or column, unknown items, an item twice in a slice, a start that is no moment, vectors
            of several lengths, or NaN.
    """
    if path.suffix.lower() not in PARQUET:
        raise DataError(f"Cannot read windows from {str(path)!r}; expected a Parquet file (.parquet)")
    table = read_table(path, ())
    if ITEM_ID not in table.columns:
        hint = did_you_mean(ITEM_ID, table.columns)
        raise DataError(f"{str(path)!r} has no column {ITEM_ID!r}{hint}; it holds {listed(table.columns)}")
    if START not in table.columns and start is None:
        hint = did_you_mean(START, table.columns)
        raise DataError(
            f"{str(path)!r} has no column {START!r}{hint}, and so no slices; add when each window begins to hold, or, "
            "for a single slice, name its start with --start"
        )
    if START in table.columns and start is not None:
        raise DataError(f"{str(path)!r} has a column {START!r}; leave --start out, or the column")
    if table.is_empty():
        raise DataError(f"{str(path)!r} holds no windows; expected a row for every item that is on air")
    items = _items(table, path, catalog)
    moments = np.full(len(table), start) if start is not None else _moments(table[START], path)
    values = _values(table.drop(ITEM_ID, START, strict=False), path)
    order = np.lexsort((items, moments))
    items, moments, values = items[order], moments[order], values[order]
    twice = np.flatnonzero((np.diff(items) == 0) & (np.diff(moments) == 0))
    if len(twice):
        raise DataError(
            f"{str(path)!r} repeats {len(twice)} windows of an item in one slice, the first of item "
            f"{catalog.item_ids[items[twice[0]]]!r}; expected one window an item and slice"
        )
    starts, firsts = np.unique(moments, return_index=True)
    return Windows(starts, np.append(firsts, len(items)).astype(np.int64), items, values)


def _items(table: pl.DataFrame, path: Path, catalog: Catalog) -> Ints:
    ids = table[ITEM_ID].cast(pl.String)
    known = pl.DataFrame(
        {"id": catalog.item_ids, "number": np.arange(len(catalog))}, schema_overrides={"id": pl.String}
    )
    numbers = pl.DataFrame({"id": ids}).join(known, on="id", how="left", maintain_order="left")["number"]
    if numbers.null_count():
        strangers = ids.filter(numbers.is_null()).unique(maintain_order=True)
        raise DataError(
            f"{str(path)!r} has windows of {len(strangers)} unknown items, the first is {brief(strangers[0])!r}: the "
            f"catalogue of {len(catalog)} items has no such id; leave them out"
        )
    return numbers.to_numpy().astype(np.int64)


def _moments(column: pl.Series, path: Path) -> Ints:
    """Starts in milliseconds."""
    if column.dtype in (pl.Datetime, pl.Date):
        column = column.cast(pl.Datetime("ms")).cast(pl.Int64)
    distinct = column.unique(maintain_order=True)
    if distinct.null_count():
        raise DataError(f"{str(path)!r} has {column.null_count()} windows without a {START!r}; say when each begins")
    read = {value: read_time(value, f"{START!r} of {str(path)!r}", absolute=True) for value in distinct.to_list()}
    return np.array([read[value] for value in column.to_list()], dtype=np.int64)


def _values(table: pl.DataFrame, path: Path) -> Floats:
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List | pl.Array)]
    if len(lists) > 1:
        raise DataError(f"{str(path)!r} has {len(lists)} columns of lists ({listed(lists)}); expected one of vectors")
    if lists:
        column = table[lists[0]]
        column = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
        lengths = column.list.len()
        if lengths.null_count() or lengths.n_unique() != 1 or not lengths[0]:
            known = lengths.fill_null(0).to_list()
            raise DataError(
                f"{str(path)!r}: vectors in {lists[0]!r} have from {min(known)} to {max(known)} numbers, expected "
                "equally many in all, at least one"
            )
        rows = column.list.to_array(int(lengths[0])).to_numpy()
    else:
        numeric = [name for name, kind in table.schema.items() if kind.is_numeric()]
        if not numeric:
            raise DataError(
                f"{str(path)!r} has neither a column of lists nor columns of numbers beside {ITEM_ID!r} and {START!r}"
            )
        rows = table.select(numeric).to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(rows, dtype=np.float32)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(
            f"{str(path)!r}: {int(bad.sum())} of {len(values)} windows hold NaN, infinity or nothing, the first is row "
            f"{int(bad.argmax())}; expected finite numbers"
        )
    return values

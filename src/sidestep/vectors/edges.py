"""A co-occurrence graph that another engine has counted: a list of edges in Parquet (`graph.edges`).

A log that does not fit into memory is counted where it lies, by SQL or Spark; docs/scale.md has the query.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.data.sources.files import parquet_shape, reading, scan
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import DataError, brief
from sidestep.vectors.files import located
from sidestep.vectors.graph import Graph, GraphConfig, cooccurrence
from sidestep.vectors.rows import AT_ONCE, Edges, Ints, graph_of_edges

SRC, DST, COUNT = "src", "dst", "count"
DENSE = 8
"""Ids that are whole numbers stand in a table up to so many times the number of items."""


def graph_of(train: TrainingInteractions, catalog: Catalog, config: GraphConfig, folder: Path = Path()) -> Graph:
    """The graph that a recipe asks for: of its list of edges, or else of the training interactions.

    folder: where a relative `graph.edges` is looked for first; a file stands for the folder it lies in.
    """
    path = edges_path(config, folder)
    return cooccurrence(train, len(catalog), config) if path is None else read_edges(path, catalog)


def edges_path(config: GraphConfig, folder: Path) -> Path | None:
    """The list of edges: `graph.edges` beside the data, or else in the working directory; None without one."""
    return None if config.edges is None else located(config.edges, folder, Path.exists)


def read_edges(path: Path, catalog: Catalog) -> Graph:
    """The graph of a Parquet file, or of all `*.parquet` in a folder: `w_ij` (S2GR, eq. 3), float32 `[N, N]`.

    Columns: `src` and `dst`, outside ids of two items, and `count`, the number of users in whose training history both
    occur within the window; more columns are ignored. An edge is undirected and stands once, in either direction; if
    it stands several times, as in files written by several workers, the counts are added. Edges of items that the
    catalogue does not have, and of an item with itself, are left out. Held-out interactions must not be counted: here
    nothing can tell.

    Memory: see `rows.graph_of_edges`; `AT_ONCE` rows of a file, and the catalogue's ids with their numbers.

    Raises:
        DataError: no such file, a damaged one, without these columns, without an edge between items of the catalogue,
            or with a count that is not a positive number.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not path.exists():
        what = "no *.parquet file in the folder" if path.is_dir() else "no file"
        raise DataError(f"There is {what} {str(path)!r} (graph.edges); expected Parquet with columns src, dst, count")
    listed_edges = [(file, _rows_of(file)) for file in files]
    numbers = _Numbers(catalog)
    parts = (_numbered(file, begin, numbers) for file, rows in listed_edges for begin in range(0, rows, AT_ONCE))
    graph = graph_of_edges(parts, sum(rows for _, rows in listed_edges), len(catalog))
    if not graph.nnz:
        raise DataError(
            f"{str(path)!r} (graph.edges) has no edge between two items of the catalogue, whose ids look like "
            f"{brief(repr(catalog.item_ids[0]), 40)}; its columns src and dst must hold such ids"
        )
    return graph


def _rows_of(path: Path) -> int:
    """The number of rows of a list of edges, whose columns are checked."""
    schema, rows = parquet_shape(path, (SRC, DST, COUNT))
    for name in (SRC, DST):
        if not (schema[name].is_integer() or schema[name] in (pl.String, pl.Categorical, pl.Enum)):
            raise DataError(f"{str(path)!r}: column {name!r} holds {schema[name]}, expected the ids of items as text")
    if not schema[COUNT].is_numeric():
        raise DataError(f"{str(path)!r}: column 'count' holds {schema[COUNT]}, expected numbers")
    return rows


def _numbered(path: Path, begin: int, numbers: "_Numbers") -> Edges:
    """`AT_ONCE` edges of one file in item numbers, the smaller one first."""
    count = pl.col(COUNT)
    chosen = scan(path).select(SRC, DST, count.cast(pl.Float64))
    with reading(path):
        rows = chosen.slice(begin, AT_ONCE).collect()
    wrong = rows.filter(count.is_null() | ~count.cast(pl.Float32).is_finite() | (count.cast(pl.Float32) <= 0)).head(1)
    if len(wrong):
        src, dst, value = wrong.with_columns(pl.col(SRC, DST).cast(pl.String)).row(0)
        raise DataError(
            f"{str(path)!r} counts {value} for the edge {brief(repr(src), 40)} - {brief(repr(dst), 40)}; expected "
            "positive numbers, from 1e-38 to 1e38: leave such edges out"
        )
    one, other = numbers.of(rows[SRC]), numbers.of(rows[DST])
    known = (one >= 0) & (other >= 0) & (one != other)
    one, other = one[known], other[known]
    return np.minimum(one, other), np.maximum(one, other), rows[COUNT].to_numpy()[known].astype(np.float32)


class _Numbers:
    """Item numbers by outside ids. A column of whole numbers, as in a warehouse, is looked up in a table, which halves
    the time; a catalogue with a negative one has none, and numbers beyond 64 bits with a sign are looked up by name.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._ids = catalog.table[ITEM_ID]
        whole = self._ids.cast(pl.Int64, strict=False)
        plain = (whole.cast(pl.String) == self._ids).fill_null(False)  # "007" is not 7
        values, items = whole.filter(plain).to_numpy(), np.flatnonzero(plain.to_numpy()).astype(np.int32)
        self._table: Ints | None = None
        if values.min(initial=0) == 0 and values.max(initial=0) < DENSE * len(catalog):
            self._table = np.full(values.max(initial=0) + 2, -1, np.int32)
            self._table[values] = items

    def of(self, ids: pl.Series) -> Ints:
        """The numbers of a column of ids, -1 where the catalogue has none."""
        whole = ids.cast(pl.Int64, strict=False) if ids.dtype.is_integer() else None
        if self._table is not None and whole is not None and whole.null_count() == ids.null_count():
            values = whole.fill_null(-1).to_numpy()
            return self._table[np.where((values >= 0) & (values < len(self._table)), values, -1)]
        numbers = ids.cast(pl.String).cast(self._by_name, strict=False).to_physical()
        return numbers.cast(pl.Int32).fill_null(-1).to_numpy()

    @cached_property
    def _by_name(self) -> Any:
        """The ids as a type of polars, whose physical values are the numbers."""
        return pl.Enum(self._ids)

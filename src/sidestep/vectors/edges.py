"""A co-occurrence graph that another engine has counted: a list of edges in Parquet (`graph.edges`).

A log that does not fit into memory is counted where it lies, by SQL or Spark; docs/scale.md has the query.
"""

from pathlib import Path
from typing import Any

import polars as pl

from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.data.sources.files import reading
from sidestep.data.sources.pages import check_pages
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import DataError, brief, did_you_mean, listed
from sidestep.vectors.files import located
from sidestep.vectors.graph import Graph, GraphConfig, cooccurrence
from sidestep.vectors.rows import AT_ONCE, Edges, graph_of_edges

SRC, DST, COUNT = "src", "dst", "count"


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
    numbers = pl.Enum(catalog.table[ITEM_ID])
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
    with reading(path):
        schema = pl.read_parquet_schema(path)
        check_pages(path)
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    for name in (SRC, DST, COUNT):
        if name not in schema:
            hint = did_you_mean(name, list(schema))
            raise DataError(f"{str(path)!r} has no column {name!r}{hint}; it holds {listed(list(schema))}")
    for name in (SRC, DST):
        if not (schema[name].is_integer() or schema[name] in (pl.String, pl.Categorical, pl.Enum)):
            raise DataError(f"{str(path)!r}: column {name!r} holds {schema[name]}, expected the ids of items as text")
    if not schema[COUNT].is_numeric():
        raise DataError(f"{str(path)!r}: column 'count' holds {schema[COUNT]}, expected numbers")
    return int(rows)


def _numbered(path: Path, begin: int, numbers: Any) -> Edges:
    """`AT_ONCE` edges of one file in item numbers, the smaller one first.

    numbers: polars' `Enum` of the items' ids, whose physical values are their numbers.
    """
    count = pl.col(COUNT)
    chosen = pl.scan_parquet(path).select(pl.col(SRC, DST).cast(pl.String), count.cast(pl.Float64))
    with reading(path):
        rows = chosen.slice(begin, AT_ONCE).collect()
    wrong = rows.filter(count.is_null() | ~count.is_finite() | (count <= 0)).head(1)
    if len(wrong):
        src, dst, value = wrong.row(0)
        raise DataError(
            f"{str(path)!r} counts {value} for the edge {brief(repr(src), 40)} - {brief(repr(dst), 40)}; expected "
            "positive numbers: leave such edges out"
        )
    known = rows.select(pl.col(SRC, DST).cast(numbers, strict=False).to_physical().cast(pl.Int32), count).drop_nulls()
    first, second = pl.col(SRC), pl.col(DST)
    edges = known.filter(first != second).select(
        pl.min_horizontal(first, second).alias("low"), pl.max_horizontal(first, second).alias("high"), count
    )
    return edges["low"].to_numpy(), edges["high"].to_numpy(), edges[COUNT].cast(pl.Float32).to_numpy()

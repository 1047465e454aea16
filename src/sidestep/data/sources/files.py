"""Tables out of files by the ends of their names, with every failure a `DataError` that names the file."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import NoDataError, PanicException, PolarsError

from sidestep.data.sources import delimited, json_lines
from sidestep.data.sources.content import check_name, check_size, neighbours, opened, plain_text, read_bytes
from sidestep.data.sources.delimited import Ragged
from sidestep.data.sources.pages import check_pages
from sidestep.errors import DataError, brief, did_you_mean, listed

DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
CELL_BYTES = 8
LONGEST_HEADER = 1 << 20


def kind_of(path: Path) -> str:
    """The file's suffix without `.gz`, lower case: one of those this module reads."""
    check_name(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in (*DELIMITED, *JSON_LINES, *PARQUET):
        known = ", ".join((*DELIMITED, *JSON_LINES, *PARQUET))
        raise DataError(f"Cannot tell the format of {str(path)!r} from its name; expected one of {known} (.gz too)")
    return suffix


def column_names(path: Path) -> list[str]:
    """The columns a table file names: its header, its schema, or the keys of its first 100 JSON lines."""
    kind = kind_of(path)
    if kind in JSON_LINES:
        return json_lines.keys_of(path)
    with reading(path):
        if kind in PARQUET:
            with _silent_panics():
                return list(scan(path).collect_schema())
        with opened(path) as file:
            start = file.read(LONGEST_HEADER)
        return delimited.header_of(plain_text(start, path), path)


def scan(path: Path) -> pl.LazyFrame:
    """A Parquet file by its very name, in which brackets and stars are no pattern."""
    return pl.scan_parquet(path, glob=False)


def read_columns(
    path: Path, columns: Sequence[str], ids: Sequence[str] = (), ragged: Ragged | None = None
) -> pl.DataFrame:
    """The named columns. Text files give strings exactly as they are spelled; Parquet keeps its types.

    A column that the file lacks is a DataError; check with `require` first to say which setting names it.

    ids: columns of ids, which JSON lines must hold as text or whole numbers. ragged: see `read_delimited`.
    """
    kind = kind_of(path)
    with reading(path):
        if kind in JSON_LINES:
            return json_lines.read_fields(path, columns, ids)
        if kind in PARQUET:
            with _silent_panics():
                _check_parquet(path, len(columns))
                return pl.read_parquet(path, columns=list(columns), glob=False)
        return delimited.read_delimited(read_bytes(path), path, columns=columns, ragged=ragged).select(columns)


def read_table(path: Path, ids: Iterable[str], ragged: Ragged | None = None) -> pl.DataFrame:
    """The whole table with the source's types where it has any. The columns `ids` are read as strings from text."""
    kind = kind_of(path)
    with reading(path):
        if kind in PARQUET:
            with _silent_panics():
                _check_parquet(path, len(scan(path).collect_schema()))
                return pl.read_parquet(path, glob=False)
        if kind in DELIMITED:
            return delimited.read_delimited(read_bytes(path), path, ragged=ragged)
        return json_lines.read_objects(path, list(ids))


def read_delimited(
    content: bytes, path: Path, sep: str | None = None, quotes: bool = True, ragged: Ragged | None = None
) -> pl.DataFrame:
    """`delimited.read_delimited`, every failure with the file's name."""
    with reading(path):
        return delimited.read_delimited(content, path, sep, quotes=quotes, ragged=ragged)


def require(path: Path, columns: Sequence[str], wanted: str, key: str) -> None:
    """Complain when `columns` lack the column that the recipe key `key` names."""
    if wanted not in columns:
        raise DataError(
            f"{str(path)!r} has no column {brief(wanted)!r} (data.{key}){did_you_mean(wanted, columns)}; "
            f"its columns are {listed(columns)}"
        )


def parquet_shape(path: Path, columns: Sequence[str]) -> tuple[Mapping[str, Any], int]:
    """The types of the columns of a Parquet file that has these, and its number of rows.

    Raises:
        DataError: it is damaged, or has no such column.
    """
    with reading(path):
        schema = scan(path).collect_schema()
        check_pages(path)
        rows = int(scan(path).select(pl.len()).collect().item())
    for name in columns:
        if name not in schema:
            hint = did_you_mean(name, list(schema))
            raise DataError(f"{str(path)!r} has no column {name!r}{hint}; it holds {listed(list(schema))}")
    return schema, rows


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Failures of the block as one message with the file's name."""
    try:
        yield
    except DataError:
        raise
    except NoDataError:
        raise DataError(f"{str(path)!r} is empty; expected a table") from None
    except FileNotFoundError:
        raise DataError(f"No file {str(path)!r}{neighbours(path)}") from None
    except IsADirectoryError:
        raise DataError(f"{str(path)!r} is a folder, expected a file") from None
    except MemoryError:
        raise DataError(f"{str(path)!r} needs more memory than there is; is it damaged?") from None
    except (PolarsError, PanicException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"Cannot read {str(path)!r} as {_format_name(path)}: {brief(error, 160)}") from None


@contextmanager
def _silent_panics() -> Iterator[None]:
    """Polars' threads write a panic's backtrace to the process's standard error before it becomes an exception; what
    they write meanwhile is lost.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_parquet(path: Path, columns: int) -> None:
    """Refuse damaged pages, and a small file of very many rows: Parquet holds repeated values once."""
    if path.is_dir():
        raise IsADirectoryError
    check_pages(path)
    rows = int(scan(path).select(pl.len()).collect().item())
    check_size(path, rows * max(columns, 1) * CELL_BYTES, max(path.stat().st_size, 1))


def _format_name(path: Path) -> str:
    """What a person calls the format."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    return {**dict.fromkeys(JSON_LINES, "JSON lines"), **dict.fromkeys(PARQUET, "Parquet")}.get(
        suffix, "delimited text"
    )

"""Bytes and tables out of files, with every failure told as a `DataError` that names the file."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl
from polars.exceptions import NoDataError, PolarsError, SchemaError

from sidestep.errors import DataError, did_you_mean

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 26
DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unzipped when they are gzip. The block may read only.

    Raises:
        DataError: the file is absent or unreadable, or its gzip stream is cut off or damaged.
    """
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if is_gzip else raw
    except FileNotFoundError:
        raise DataError(f"No file {str(path)!r}{_neighbours(path)}") from None
    except IsADirectoryError:
        raise DataError(f"{str(path)!r} is a folder, expected a file") from None
    except EOFError:
        raise DataError(
            f"{str(path)!r} is truncated: its gzip stream ends before the end mark; copy or download it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error, OSError) as error:
        raise DataError(f"Cannot read {str(path)!r}: {error}; copy or download it again") from None


def read_bytes(path: Path) -> bytes:
    """The whole file, unzipped."""
    with opened(path) as file:
        return file.read()


def read_text(path: Path, encodings: Sequence[str] = ("utf-8",)) -> str:
    """The whole file as text in the first of the encodings that fits."""
    content = read_bytes(path)
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{str(path)!r} is no {' or '.join(encodings)} text; convert it to UTF-8")


def kind_of(path: Path) -> str:
    """The file's suffix without `.gz`, lower case: one of those this module reads."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in (*DELIMITED, *JSON_LINES, *PARQUET):
        known = ", ".join((*DELIMITED, *JSON_LINES, *PARQUET))
        raise DataError(f"Cannot tell the format of {str(path)!r} from its name; expected one of {known} (.gz too)")
    return suffix


def column_names(path: Path) -> list[str]:
    """The columns a table file names: its header, its schema, or the keys of its first 100 JSON lines."""
    kind = kind_of(path)
    if kind in PARQUET:
        with _reading(path):
            return list(pl.read_parquet_schema(path))
    with opened(path) as file:
        lines = [file.readline() for _ in range(1 if kind in DELIMITED else 100)]
    if kind in JSON_LINES:
        return list(dict.fromkeys(key for line in lines if line.strip() for key in parse_json(line, path)))
    with _reading(path):
        return pl.read_csv(lines[0], separator=separator(lines[0]), infer_schema=False).columns


def parse_json(line: bytes, path: Path) -> dict[str, object]:
    """One JSON line, which must hold an object."""
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{str(path)!r} has a line that is no JSON ({error}): {_start(line)}") from None
    if not isinstance(value, dict):
        raise DataError(f"{str(path)!r} has a line that is no JSON object: {_start(line)}; expected one object a line")
    return value


def read_columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """The named columns. Text files give strings exactly as they are spelled; Parquet keeps its types.

    A column that the file lacks is a DataError; check with `require` first to say which setting named it.
    """
    kind = kind_of(path)
    if kind in JSON_LINES:
        schema = dict.fromkeys(columns, pl.String())
        with _reading(path):
            return pl.concat(
                [pl.read_ndjson(chunk, schema=schema) for chunk in _line_chunks(path)] or [pl.DataFrame(schema=schema)]
            )
    with _reading(path):
        if kind in PARQUET:
            return pl.read_parquet(path, columns=list(columns))
        return read_delimited(read_bytes(path), path, columns=columns).select(columns)


def read_table(path: Path, ids: Iterable[str]) -> pl.DataFrame:
    """The whole table with the source's types where it has any. The columns `ids` are read as strings from text."""
    kind = kind_of(path)
    with _reading(path):
        if kind in PARQUET:
            return pl.read_parquet(path)
        content = read_bytes(path)
        if kind in DELIMITED:
            return read_delimited(content, path)
        overrides = dict.fromkeys(ids, pl.String())
        try:
            return pl.read_ndjson(content, schema_overrides=overrides, infer_schema_length=None)
        except SchemaError:  # rows disagree about a nested value: keep its JSON as text
            return pl.read_ndjson(content, schema=dict.fromkeys(column_names(path), pl.String()))


def read_delimited(
    content: bytes, path: Path, sep: str | None = None, columns: Sequence[str] | None = None, quotes: bool = True
) -> pl.DataFrame:
    """CSV or TSV bytes as strings; the header's own delimiter is used unless `sep` names one. Blank lines at the end
    are no rows.
    """
    if content.endswith((b"\n\n", b"\n\r\n")):
        content = content.rstrip(b"\r\n") + b"\n"
    header = content[: content.find(b"\n") + 1] or content
    with _reading(path):
        return pl.read_csv(
            content,
            separator=sep or separator(header),
            columns=columns,
            quote_char='"' if quotes else None,
            infer_schema=False,
        )


def separator(header: bytes) -> str:
    """The delimiter that occurs most often in the header line."""
    return max(",\t;|", key=lambda mark: header.count(mark.encode()))


def require(path: Path, columns: Sequence[str], wanted: str, key: str) -> None:
    """Complain when `columns` lack the column that the recipe key `key` names."""
    if wanted not in columns:
        raise DataError(
            f"{str(path)!r} has no column {wanted!r} (data.{key}){did_you_mean(wanted, columns)}; "
            f"its columns are {', '.join(columns)}"
        )


def _line_chunks(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines, so that a long log never stands in memory as text."""
    with opened(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            chunk += file.readline()
            if chunk.strip():
                yield chunk


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except NoDataError:
        raise DataError(f"{str(path)!r} is empty; expected a table") from None
    except FileNotFoundError:
        raise DataError(f"No file {str(path)!r}{_neighbours(path)}") from None
    except (PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"Cannot read {str(path)!r} as {_format_name(path)}: {reason}") from None


def _format_name(path: Path) -> str:
    """What a person calls the format."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    return {**dict.fromkeys(JSON_LINES, "JSON lines"), **dict.fromkeys(PARQUET, "Parquet")}.get(
        suffix, "delimited text"
    )


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; the folder {str(path.parent)!r} does not exist either"
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{did_you_mean(path.name, names)}; {str(path.parent)!r} holds {shown or 'nothing'}"


def _start(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace").strip())

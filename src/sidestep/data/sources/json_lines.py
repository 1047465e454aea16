"""JSON lines: one object a line, checked line by line where polars would guess."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from sidestep.data.sources.content import opened, plain_text, without_marks
from sidestep.errors import DataError, brief, listed

CHUNK_BYTES = 1 << 26
SAMPLE = 100
MOST_NESTED_KEYS = 64
"""An object with more different keys over all lines has free keys: it stays JSON text, one column a key it is not."""
MOST_KEYS = 1_000
LONGEST_LINE = 1 << 24
ONE_A_LINE = "; write one object a line, as with jq -c '.[]'"


def keys_of(path: Path) -> list[str]:
    """The keys of the first 100 lines, in order.

    Raises:
        DataError: too many, a line that is no object, or one object for all rows.
    """
    keys: dict[str, None] = {}
    objects: list[dict[str, Any]] = []
    with opened(path) as file:
        for number, line in _first_lines(file.readline, path):
            objects = [*objects[:1], parse(line, path, number)]
            keys.update(dict.fromkeys(objects[-1]))
            _check_number(keys, path)
    if len(objects) == 1 and keys and all(isinstance(value, list | dict) for value in objects[0].values()):
        raise DataError(f"{str(path)!r} holds one object with {listed(keys)} for all rows; write one object a line")
    return list(keys)


def _check_number(keys: Collection[str], path: Path) -> None:
    if len(keys) > MOST_KEYS:
        raise DataError(
            f"{str(path)!r} has more than {MOST_KEYS:,} different fields ({listed(keys)}); expected one object a line, "
            "with the same few fields in each"
        )


def _first_lines(readline: Any, path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    for place in range(SAMPLE):
        line = readline(LONGEST_LINE)
        if not line:
            return
        line = plain_text(line, path) if place == 0 else without_marks(line)
        for part in line.removesuffix(b"\n").split(b"\n"):
            number += 1
            if part.strip():
                yield number, part


class _Once:
    """Makes an object of its pairs; `twice` is a repeated key of the last one made, which is the outermost."""

    def __init__(self) -> None:
        self.twice: str | None = None

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        counts = Counter(key for key, _ in pairs) if len(held) < len(pairs) else {}
        self.twice = next((key for key, count in counts.items() if count > 1), None)
        return held


def parse(line: bytes, path: Path, number: int | None = None) -> dict[str, Any]:
    """One line, which must hold an object. number: the line's, for the message.

    Raises:
        DataError: no JSON, no object, nested too deeply, or a number of thousands of digits.
    """
    where = "a line" if number is None else f"line {number}"
    object_of = _Once()
    try:
        value = json.loads(line, object_pairs_hook=object_of)
    except RecursionError:
        raise DataError(f"{str(path)!r} has {where} whose JSON is nested too deeply: {_start(line)}") from None
    except ValueError as error:
        way = ONE_A_LINE if line.strip() in (b"[", b"[{", b"{") else "; expected one object a line"
        raise DataError(f"{str(path)!r} has {where} that is no JSON ({brief(error)}): {_start(line)}{way}") from None
    if object_of.twice is not None and isinstance(value, dict):
        raise DataError(f"{str(path)!r} has {where} with the key {brief(object_of.twice)!r} twice: {_start(line)}")
    if not isinstance(value, dict):
        rows = isinstance(value, list) and value and isinstance(value[0], dict)
        way = ONE_A_LINE if rows else "; expected one object a line"
        raise DataError(f"{str(path)!r} has {where} that is no JSON object: {_start(line)}{way}")
    return value


def read_fields(path: Path, columns: Sequence[str], ids: Sequence[str] = ()) -> pl.DataFrame:
    """The named fields of every line as strings, null where a line lacks one.

    ids: fields that must be text or whole numbers.

    Raises:
        DataError: a bad line, or an id that is a fraction, a truth value, a list or an object.
    """
    parts, lines = [], 0
    for chunk in _chunks(path):
        parts.append(_fields(chunk, path, columns, ids, lines))
        lines += chunk.count(b"\n")
    return pl.concat(parts) if parts else pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))


def _fields(chunk: bytes, path: Path, columns: Sequence[str], ids: Sequence[str], before: int) -> pl.DataFrame:
    """A piece of the file by polars, or line by line where polars would alter an id or cannot read it."""
    plain_ids = rb'"|-?\d{1,18}\s*[,}]|null'
    altered = b"|".join(b'"%b"\\s*+:\\s*+(?!%b)' % (re.escape(name).encode(), plain_ids) for name in ids)
    doubtful = (altered and re.search(altered, chunk)) or re.search(rb"\\u[dD][89a-fA-F]", chunk)
    lines = chunk.count(b"\n") + 1
    if not doubtful and all(chunk.count(b'"%b"' % name.encode()) <= lines for name in columns):
        try:
            return pl.read_ndjson(chunk, schema=dict.fromkeys(columns, pl.String()))
        except (PolarsError, PanicException, OSError):
            pass
    rows = []
    for number, line in _numbered(chunk):
        rows.append(parse(line, path, before + number))
        _check_ids(rows[-1], path, ids, before + number)
    values = {name: [_spelled(row.get(name)) for row in rows] for name in columns}
    return pl.DataFrame(values, schema=dict.fromkeys(columns, pl.String()))


def read_objects(path: Path, ids: Sequence[str]) -> pl.DataFrame:
    """Every field of every line, with the types polars infers; the fields `ids` as strings.

    An object with free keys (over all lines more than 64 different ones) stays the JSON text that it is.

    Raises:
        DataError: see `read_fields`; also lines with over 1,000 different fields.
    """
    content = b"".join(_chunks(path))
    if not content.strip():
        return pl.DataFrame(schema=dict.fromkeys(ids, pl.String()))
    nested: dict[str, set[str]] = {}
    rows: list[dict[str, Any]] = []
    for number, line in _numbered(content):
        row = parse(line, path, number)
        _check_ids(row, path, ids, number)
        for key, value in row.items():
            nested.setdefault(key, set())
            if isinstance(value, (dict, list)):
                nested[key].update(_keys(value))
        _check_number(nested, path)
        rows.append(row)
    free = [key for key, keys in nested.items() if len(keys) > MOST_NESTED_KEYS]
    if free:
        for row in rows:
            row.update({key: json.dumps(row[key], ensure_ascii=False) for key in free if row.get(key) is not None})
        content = "\n".join(json.dumps(row) for row in rows).encode()
    overrides = dict.fromkeys((*ids, *free), pl.String())
    try:
        return pl.read_ndjson(content, schema_overrides=overrides, infer_schema_length=None)
    except (PolarsError, PanicException):  # rows disagree about a nested value: keep its JSON as text
        return pl.read_ndjson(content, schema=dict.fromkeys(nested, pl.String()))


def _keys(value: Any) -> Iterator[str]:
    """Every key at any depth."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield from here
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)


def _check_ids(row: dict[str, Any], path: Path, ids: Sequence[str], number: int) -> None:
    for name in ids:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, (str, int, type(None))):
            raise DataError(
                f"{str(path)!r}: line {number} has {brief(json.dumps(value))} as {name!r}, which cannot be an id; "
                "expected text or a whole number, the same in every line"
            )
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= mark <= "\udfff" for mark in value):
            raise DataError(f"{str(path)!r}: line {number} has {brief(value)!a} as {name!r}, which is no text")


def _spelled(value: Any) -> str | None:
    text = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
    return None if text is None else text.encode("utf-8", "replace").decode()


def _numbered(content: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip())


def _chunks(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines, so that a long log never stands in memory as text."""
    first = True
    with opened(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            chunk += file.readline()
            chunk = plain_text(chunk, path) if first or b"\0" in chunk else without_marks(chunk)
            first = False
            if chunk.strip():
                yield chunk


def _start(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace").strip())

"""CSV and TSV: every line is a row, or is counted as a broken one; none is joined with its neighbour unseen.

Most files go through polars. A count of the separators of every line comes first, since polars fills up short rows in
silence, and a file whose quotes do not obey RFC 4180 is split here, since a stray quote makes polars join lines.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sidestep.data.sources.content import from_header, plain_text
from sidestep.errors import DataError, brief

CHUNK_BYTES = 1 << 25
SEPARATORS = ",\t;|"
QUOTE = b'"'
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass
class Ragged:
    """Rows with more or fewer fields than the header.

    rows: their numbers, from 0 and without the header; wanted: the header's fields; example: fields of the first one.
    """

    rows: list[int] = field(default_factory=list)
    wanted: int = 0
    example: int = 0

    def mask(self, length: int) -> pl.Series:
        marked = np.zeros(length, dtype=bool)
        marked[self.rows] = True
        return pl.Series(marked)

    @property
    def what(self) -> str:
        return f"have more or fewer fields than the header's {self.wanted} (the first has {self.example})"


@dataclass(frozen=True)
class _Line:
    """A line that is no row of the header's width: where it lies, how many rows are before it, its fields."""

    start: int
    end: int
    row: int
    fields: int


def header_of(content: bytes, path: Path, sep: str | None = None) -> list[str]:
    """The names in the first line.

    Raises:
        DataError: a name twice, several columns without one, or JSON.
    """
    line = from_header(content).partition(b"\n")[0]
    if line.startswith((b"{", b"[")) and line.rstrip(b"\r,").endswith((b"}", b"]", b"[")):
        raise DataError(f"{str(path)!r} holds JSON, not delimited text; let its name end with .jsonl")
    mark = sep or separator(line)
    names = _unquoted(line, path, mark)
    if names.count("") > 1:
        raise DataError(
            f"{str(path)!r} has {names.count('')} columns without a name in its header; name or remove them"
        )
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"{str(path)!r} has the column {brief(twice)!r} twice in its header; rename one of the two")
    return names


def separator(header: bytes) -> str:
    """The delimiter that occurs most often in the header line."""
    return max(SEPARATORS, key=lambda mark: header.count(mark.encode()))


def read_delimited(
    content: bytes, path: Path, sep: str | None = None, columns: Sequence[str] | None = None, quotes: bool = True,
    ragged: Ragged | None = None,
) -> pl.DataFrame:  # fmt: skip
    """CSV or TSV bytes as strings, null where a field is empty; blank lines are no rows.

    In comma-separated files quotes are RFC 4180's, and a quote within a field is a character. In tab-separated files
    a quote is a character unless the field ends with one, too, and a line is a row whatever it holds.

    sep: the delimiter; None takes the header's own. quotes: False takes every quote for a character.
    ragged: is told the rows with more or fewer fields than the header, which are null in every column.

    Raises:
        DataError: no UTF-8 text, a column twice, a quoted field that runs over lines which are rows themselves, or
            ragged rows where nothing is told of them.
    """
    content = plain_text(content, path)
    _check_utf8(content, path)
    content = from_header(content)
    head, _, body = content.partition(b"\n")
    mark = sep or separator(head)
    names = header_of(content, path, mark) if quotes else head.decode("utf-8", "replace").rstrip("\r").split(mark)
    by_line = mark == "\t" or not quotes
    lone_return = body.count(b"\r") > body.count(b"\r\n") + body.endswith(b"\r")
    if by_line and lone_return:
        raise DataError(
            f"{str(path)!r} has a carriage return within line {_line_of_return(body):,}, which some readers take for "
            "the end of a line; remove it"
        )
    stray = QUOTE in body and not (_obeys_rfc(body, mark) and _no_line_in_quotes(body))
    if not by_line and (stray or lone_return):
        return _split_here(body, path, mark, names, columns, ragged)
    odd, num_rows = _odd_lines(body, mark, len(names), quotes=not by_line)
    broken = [line for line in odd if not _blank(body, line)]
    kept = _without(body, odd) if odd else body
    table = _parsed(kept, path, mark, names, columns, by_line)
    if by_line and quotes:
        table = table.with_columns(_bare(name) for name in table.columns)
    blanks, rows = 0, []
    for line in odd:
        if _blank(body, line):
            blanks += 1
        else:
            rows.append(line.row - blanks)
    return _with_holes(table, rows, num_rows - blanks, [line.fields for line in broken], len(names), path, ragged)


def _line_of_return(body: bytes) -> int:
    """The file's line that holds the first carriage return which ends no line; the header is line 1."""
    found = re.search(rb"\r(?!\n)", body)
    return 2 + body.count(b"\n", 0, found.start() if found else 0)


def _check_utf8(content: bytes, path: Path) -> None:
    """Refuse bytes that are no UTF-8 in any column, wanted or not; the text is decoded piece by piece."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(content), CHUNK_BYTES):
        piece = content[at : at + CHUNK_BYTES]
        try:
            decoder.decode(piece, final=at + CHUNK_BYTES >= len(content))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, at + error.start) + 1
            raise DataError(
                f"Cannot read {str(path)!r} as delimited text: line {line:,} is no utf-8; convert the file to UTF-8"
            ) from None


def _parsed(
    body: bytes, path: Path, sep: str, names: list[str], columns: Sequence[str] | None, by_line: bool
) -> pl.DataFrame:
    schema = dict.fromkeys(names, pl.String())
    if not body.strip(b"\r\n"):
        return pl.DataFrame(schema={name: pl.String() for name in columns or names})
    table = pl.read_csv(
        body,
        has_header=False,
        separator=sep,
        quote_char=None if by_line else '"',
        schema=schema,
    )
    return table.select(columns) if columns is not None else table


def _with_holes(
    table: pl.DataFrame, rows: list[int], total: int, fields: list[int], wanted: int, path: Path, ragged: Ragged | None
) -> pl.DataFrame:
    """The table with a row of nulls for every ragged row, so that row numbers are those of the file."""
    if len(table) + len(rows) != total:
        raise DataError(
            f"{str(path)!r} has {total:,} lines and {len(table) + len(rows):,} rows: some line ends or quotes are "
            "damaged; write the file anew, with every text in double quotes"
        )
    if not rows:
        return table
    example = Ragged(rows, wanted, fields[0])
    if ragged is None:
        raise DataError(
            f"{str(path)!r}: {len(rows)} rows {example.what}, the first is data row {rows[0] + 1}; mend or remove them"
        )
    ragged.rows, ragged.wanted, ragged.example = rows, wanted, fields[0]
    places = np.full(total, -1, dtype=np.int64)
    places[np.setdiff1d(np.arange(total), rows)] = np.arange(len(table))
    index = pl.Series(places)
    return table.select(pl.all().gather(pl.lit(index.replace(-1, None))))


def _bare(name: str) -> pl.Expr:
    """A field without the quotes at both of its ends, and with one quote for two within."""
    text = pl.col(name)
    enclosed = text.str.contains(r'^".*"$') & (text.str.len_bytes() >= 2)
    return (
        pl.when(enclosed).then(text.str.slice(1, text.str.len_chars() - 2).str.replace_all('""', '"')).otherwise(text)
    )


def _odd_lines(body: bytes, sep: str, wanted: int, quotes: bool) -> tuple[list[_Line], int]:
    """The lines that are blank or have other than the `wanted` fields, and the number of all lines."""
    odd: list[_Line] = []
    row, start, open_fields, inside = 0, 0, 0, 0
    for at in range(0, len(body), CHUNK_BYTES):
        buffer = np.frombuffer(body, np.uint8, min(CHUNK_BYTES, len(body) - at), at)
        is_sep, is_end = buffer == ord(sep), buffer == ord("\n")
        if quotes and QUOTE in body:
            within = (np.cumsum(buffer == ord(QUOTE)) + inside) & 1
            inside = int(within[-1])
            is_sep &= within == 0
            is_end &= within == 0
        ends, marks = np.flatnonzero(is_end), np.flatnonzero(is_sep)
        before = np.concatenate([[-open_fields], np.searchsorted(marks, ends)])
        fields = np.diff(before) + 1
        starts = np.concatenate([[start], ends[:-1] + at + 1]) if len(ends) else ends
        short = (ends + at - starts) <= 1  # a line of one column may be blank with the right number of fields
        for place in np.flatnonzero((fields != wanted) | short).tolist():
            line = _Line(int(starts[place]), int(ends[place]) + at, row + place, int(fields[place]))
            if line.fields != wanted or _blank(body, line):
                odd.append(line)
        row += len(ends)
        if len(ends):
            start, open_fields = int(ends[-1]) + at + 1, int(len(marks) - before[-1])
        else:
            open_fields += len(marks)
    if start < len(body):
        last = _Line(start, len(body), row, open_fields + 1)
        row += 1
        if last.fields != wanted or _blank(body, last):
            odd.append(last)
    return odd, row


def _blank(body: bytes, line: _Line) -> bool:
    return line.fields == 1 and not body[line.start : line.end].strip()


def _without(body: bytes, lines: list[_Line]) -> bytes:
    parts, at = [], 0
    for line in lines:
        parts.append(body[at : line.start])
        at = line.end + 1
    return b"".join([*parts, body[at:]])


def _obeys_rfc(body: bytes, sep: str) -> bool:
    """Whether every quote opens a field, closes one, or is one of two within a quoted field."""
    buffer = np.frombuffer(body, np.uint8)
    places = np.flatnonzero(buffer == ord(QUOTE))
    if len(places) % 2:
        return False
    opening, closing = places[::2], places[1::2]
    before = np.where(opening > 0, buffer[np.maximum(opening - 1, 0)], ord("\n"))
    after = np.where(closing + 1 < len(buffer), buffer[np.minimum(closing + 1, len(buffer) - 1)], ord("\n"))
    twin_before = np.concatenate([[False], opening[1:] == closing[:-1] + 1])
    twin_after = np.concatenate([closing[:-1] + 1 == opening[1:], [False]])
    starts = np.isin(before, [ord(sep), ord("\n")]) | twin_before
    ends = np.isin(after, [ord(sep), ord("\n"), ord("\r")]) | twin_after
    return bool(starts.all() and ends.all())


def _no_line_in_quotes(body: bytes) -> bool:
    buffer = np.frombuffer(body, np.uint8)
    quotes, ends = np.flatnonzero(buffer == ord(QUOTE)), np.flatnonzero(buffer == ord("\n"))
    return not bool((np.searchsorted(quotes, ends) & 1).any())


def _split_here(
    body: bytes, path: Path, sep: str, names: list[str], columns: Sequence[str] | None, ragged: Ragged | None
) -> pl.DataFrame:
    """What polars cannot split safely: stray quotes, and quoted fields that run over several lines."""
    text = body.decode("utf-8")
    rows: list[list[str | None]] = []
    broken: list[int] = []
    fields: list[int] = []
    for number, row in enumerate(_rows(text, path, sep, len(names))):
        if len(row) != len(names):
            broken.append(number)
            fields.append(len(row))
        else:
            rows.append(row)
    chosen = names if columns is None else list(columns)
    values = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    table = pl.DataFrame(
        {name: values[names.index(name)] for name in chosen}, schema=dict.fromkeys(chosen, pl.String())
    )
    return _with_holes(table, broken, len(rows) + len(broken), fields, len(names), path, ragged)


def _rows(text: str, path: Path, sep: str, wanted: int) -> Iterator[list[str | None]]:
    """Rows of fields. A quote opens a field only where another closes it before a delimiter or the end of a line."""
    quoted = re.compile(rf'"((?:[^"]|"")*+)"(?={re.escape(sep)}|\r?\n|\r?\Z)')
    plain = re.compile(rf"[^{re.escape(sep)}\n]*")
    at, number = 0, 1
    while at < len(text):
        row: list[str | None] = []
        while True:
            found = quoted.match(text, at)
            if found is not None:
                value = found.group(1).replace('""', '"')
                if "\n" in value:
                    _refuse_swallowed(found.group(1), path, sep, len(row), wanted, number)
                row.append(value)
            else:
                found = plain.match(text, at)
                assert found is not None
                ends = found.end() == len(text) or text[found.end()] == "\n"
                row.append((found.group().removesuffix("\r") if ends else found.group()) or None)
            at = found.end()
            if text.startswith("\r\n", at):
                at += 1
            if text.startswith(sep, at):
                at += 1
                continue
            at += 1
            break
        if row == [None] or (len(row) == 1 and not str(row[0]).strip()):
            continue
        if len(row) != wanted and any("\n" in str(value) for value in row):
            raise _swallowed(path, number, "and the row has another number of fields than the header")
        yield row
        number += 1


def _refuse_swallowed(value: str, path: Path, sep: str, column: int, wanted: int, number: int) -> None:
    """Refuse a quoted field whose lines look like rows of the table: its quotes are stray."""
    first, *inner, last = value.split("\n")
    widths = (first.count(sep), {line.count(sep) for line in inner}, last.count(sep))
    if widths[0] != wanted - 1 - column or widths[1] - {wanted - 1} or widths[2] != column:
        return
    starts = [line.split(sep)[0].strip() for line in (*inner, last)]
    if wanted > 1 and all(start and not re.search(r"\s", start) for start in starts):
        raise _swallowed(path, number, f"which look like {len(starts)} rows of their own")


def _swallowed(path: Path, number: int, why: str) -> DataError:
    return DataError(
        f"{str(path)!r}: data row {number} has a quoted field that runs over several lines, {why}; close the quote on "
        "its line, or write two for one that is part of the text"
    )


def _unquoted(line: bytes, path: Path, sep: str) -> list[str]:
    """The fields of the header."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"Cannot read {str(path)!r} as delimited text: its header is no utf-8; convert it") from None
    return [value or "" for value in next(_rows(text.strip("\r"), path, sep, text.count(sep) + 1), [])]

"""The pages of a Parquet file, by their headers: a damaged count makes polars ask for more memory than there is, which
ends the process without a word, so counts and sizes are compared before it reads.
"""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sidestep.errors import DataError

MAGIC = b"PAR1"
HEADER_BYTES = 1 << 16
"""No page's header is longer, but for values of thousands of characters in its statistics."""
Struct = dict[int, Any]

# The fields of Parquet's Thrift structs (format/parquet.thrift).
ROW_GROUPS, COLUMNS, META = 4, 1, 3
NUM_VALUES, SIZE_UNPACKED, SIZE, DATA_AT, DICTIONARY_AT = 5, 6, 7, 9, 11
PAGE_UNPACKED, PAGE_SIZE, PAGE_KINDS = 2, 3, (5, 8)


def check_pages(path: Path) -> None:
    """Refuse a file whose pages hold other counts or sizes than its footer says.

    A header that cannot be read here is left to the reader, which says so.

    Raises:
        DataError: a page's count or size is damaged.
    """
    try:
        with path.open("rb") as file:
            wrong = next(_wrong_pages(file), None)
    except (struct.error, AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError, OverflowError):
        return
    if wrong is not None:
        raise DataError(f"Cannot read {str(path)!r} as Parquet: {wrong}; it is damaged, copy or download it again")


def _wrong_pages(file: BinaryIO) -> Iterator[str]:
    size = file.seek(0, io.SEEK_END)
    file.seek(size - 8)
    length, magic = struct.unpack("<I4s", file.read(8))
    if magic != MAGIC or length + 8 > size:
        return
    file.seek(size - 8 - length)
    for group in Compact(file.read(length)).struct()[ROW_GROUPS]:
        for column in group[COLUMNS]:
            yield from _wrong_in_chunk(file, column[META], size)


def _wrong_in_chunk(file: BinaryIO, meta: Struct, size: int) -> Iterator[str]:
    values, unpacked, at = meta[NUM_VALUES], meta[SIZE_UNPACKED], meta[DATA_AT]
    if 0 < meta.get(DICTIONARY_AT, 0) < at:
        at = meta[DICTIONARY_AT]
    end, found = at + meta[SIZE], 0
    if not 0 <= at <= end <= size:
        yield f"a column from byte {at:,} to {end:,} lies outside its {size:,} bytes"
        return
    while at < end:
        file.seek(at)
        reader = Compact(file.read(min(HEADER_BYTES, end - at)))
        page = reader.struct()
        held = sum(page[kind][1] for kind in PAGE_KINDS if kind in page)
        if not 0 <= page[PAGE_SIZE] <= end - at or not 0 <= page[PAGE_UNPACKED] <= unpacked or not 0 <= held <= values:
            yield f"the page at byte {at:,} holds other counts or sizes than its column of {values:,} values"
            return
        found += held
        at += reader.at + page[PAGE_SIZE]
    if found != values:
        yield f"the pages of a column hold {found:,} values, and {values:,} are expected"


class Compact:
    """Thrift's compact protocol: structs as dicts of field numbers. Bytes that are no such struct end in an IndexError
    or a ValueError.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def struct(self) -> Struct:
        found: Struct = {}
        field = 0
        while (head := self._byte()) != 0:
            field = field + (head >> 4) if head >> 4 else self._signed()
            found[field] = self._value(head & 15, alone=True)
        return found

    def _value(self, kind: int, alone: bool = False) -> Any:
        if kind in (1, 2):
            return kind == 1 if alone else self._byte() == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._number())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._number()
            if count > len(self._content):
                raise ValueError(count)
            return [self._value(head & 15) for _ in range(count)]
        if kind == 12:
            return self.struct()
        raise ValueError(kind)

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self._content):
            raise IndexError(self.at)
        return self._content[self.at - count : self.at]

    def _number(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 128:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift

    def _signed(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)

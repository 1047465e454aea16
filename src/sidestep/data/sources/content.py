"""The bytes and the text of a file that somebody brings: unzipped within a limit, and UTF-8 or refused."""

import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from sidestep.errors import DataError, brief, did_you_mean, listed

GZIP_MAGIC = b"\x1f\x8b"
OTHER_ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "a 7z archive",
}
OTHER_KINDS = {
    b"PAR1": "Parquet; let its name end with .parquet",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"\x93NUMPY": "a NumPy array; write it as CSV",
    b"SQLite format 3": "an SQLite database; write its table as CSV",
    b"\xd0\xcf\x11\xe0": "a file of old Excel; save its sheet as CSV",
    b"\x89HDF": "HDF5; write its table as Parquet",
    b"%PDF-": "a PDF; write its table as CSV",
    GZIP_MAGIC: "gzip within gzip; unpack it once",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch that with git lfs pull",
    b"<!doctype html": "a web page; download the file itself",
    b"<html": "a web page; download the file itself",
}
"""How files begin that are no tables of text, in letters of any case, and what to do."""
TAR_MARK, TAR_PLACE = b"ustar", 257
WIDE_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BEFORE_HEADER = re.compile(rb"(?:[ \t]*\r?\n)*(?:\"?sep=[,;|\t]\"?\r?\n)?")
LIMIT_VARIABLE = "SIDESTEP_MAX_BYTES"
DEFAULT_LIMIT = 4 << 30
UNSUSPICIOUS_BYTES = 64 << 20
LARGEST_RATIO = 200
"""A log shrinks by a factor of 3 to 30 when it is compressed; beyond this one a file is taken for a bomb."""


def size_limit() -> int:
    """How many bytes a compressed file may become: 4 GiB, or what the environment's SIDESTEP_MAX_BYTES sets."""
    wanted = os.environ.get(LIMIT_VARIABLE, "")
    return int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 19 else DEFAULT_LIMIT


def check_size(path: Path, unpacked: int, packed: int) -> None:
    """Refuse content that grows beyond any honest measure when it is unpacked.

    Raises:
        DataError: more bytes than the limit, or over 200 times those of the file.
    """
    limit = size_limit()
    if unpacked > limit:
        raise DataError(
            f"{str(path)!r} of {packed:,} bytes unpacks to more than {limit:,} bytes; if that is right, set the "
            f"environment variable {LIMIT_VARIABLE} to a larger number, or unpack the file first"
        )
    if unpacked > max(UNSUSPICIOUS_BYTES, LARGEST_RATIO * packed):
        raise DataError(
            f"{str(path)!r} of {packed:,} bytes unpacks to more than {LARGEST_RATIO} times as many, which logs and "
            "catalogues never do; if the file is right, unpack it first"
        )


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than `check_size` permits."""

    def __init__(self, stream: gzip.GzipFile, path: Path, packed: int) -> None:
        self._stream, self._path, self._packed, self._given = stream, path, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        self._given += len(content)
        check_size(self._path, self._given, self._packed)
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unzipped when they are gzip. The block may read only.

    Raises:
        DataError: the file is absent, unreadable, another kind of archive or no regular file, or its gzip stream is cut
            off, damaged or a bomb.
    """
    check_name(path)
    try:
        with path.open("rb") as raw:
            if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
                raise DataError(f"{str(path)!r} is no regular file; copy its content to one first")
            start = raw.read(6)
            raw.seek(0)
            for magic, name in OTHER_ARCHIVES.items():
                if start.startswith(magic):
                    raise DataError(f"{str(path)!r} is {name}; expected plain text, gzip or Parquet: unpack it first")
            if not start.startswith(GZIP_MAGIC):
                yield cast(BinaryIO, raw)
                return
            packed = os.fstat(raw.fileno()).st_size
            bounded = _Bounded(gzip.GzipFile(fileobj=raw), path, packed)
            yield cast(BinaryIO, io.BufferedReader(bounded, 1 << 20))
    except FileNotFoundError:
        raise DataError(f"No file {str(path)!r}{neighbours(path)}") from None
    except IsADirectoryError:
        raise DataError(f"{str(path)!r} is a folder, expected a file") from None
    except EOFError:
        raise DataError(
            f"{str(path)!r} is truncated: its gzip stream ends before the end mark; copy or download it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error, OSError) as error:
        raise DataError(f"Cannot read {str(path)!r}: {brief(error)}; copy or download it again") from None


def read_bytes(path: Path) -> bytes:
    """The whole file, unzipped."""
    with opened(path) as file:
        return file.read()


def read_text(path: Path, encodings: Sequence[str] = ("utf-8",)) -> str:
    """The whole file as text in the first of the encodings that fits."""
    content = plain_text(read_bytes(path), path)
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{str(path)!r} is no {' or '.join(encodings)} text; convert it to UTF-8")


def plain_text(content: bytes, path: Path) -> bytes:
    """Bytes of text without byte-order marks at the beginnings of lines, where files that were put one after another
    have them, and with "\\n" or "\\r\\n" at the ends of lines.

    Raises:
        DataError: another kind of file; the text is UTF-16 or UTF-32, or holds the byte 0, which no text does.
    """
    _refuse_other_kinds(content, path)
    for mark, name in WIDE_MARKS.items():
        if content.startswith(mark):
            raise DataError(f"{str(path)!r} is {name}; convert it to UTF-8, as with iconv -f {name} -t UTF-8")
    zero = content.find(b"\0")
    if zero >= 0:
        wide = content[:4096].count(b"\0") * 3 > len(content[:4096])
        raise DataError(
            f"{str(path)!r} " + ("is UTF-16 or UTF-32" if wide else f"holds the byte 0 at offset {zero:,}")
            + "; convert it to UTF-8 text"
        )  # fmt: skip
    if b"\r" in content and b"\n" not in content:  # lines as the first Macintosh ended them
        content = content.replace(b"\r", b"\n")
    return without_marks(content)


def without_marks(content: bytes) -> bytes:
    """Text without byte-order marks at the beginnings of its lines."""
    if BYTE_ORDER_MARK not in content:
        return content
    return re.sub(rb"(^|\n)(?:%b)+" % BYTE_ORDER_MARK, rb"\1", content)


def from_header(content: bytes) -> bytes:
    """A table of text without blank lines before its header, and without the `sep=;` that spreadsheets know."""
    found = BEFORE_HEADER.match(content)
    return content[found.end() :] if found is not None and found.end() else content


def _refuse_other_kinds(content: bytes, path: Path) -> None:
    kind = next((name for start, name in OTHER_KINDS.items() if content[:32].lower().startswith(start.lower())), None)
    if content.startswith(TAR_MARK, TAR_PLACE):
        kind = "a tar archive; unpack it first"
    if kind is not None:
        raise DataError(f"{str(path)!r} is {kind}")


def check_name(path: Path) -> None:
    """Refuse a path that no text can spell: it could be neither printed nor written to a recipe.

    Raises:
        DataError: its bytes are no UTF-8, or it holds a byte 0.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"The path {str(path)!a} is no UTF-8 text; rename the file or its folder") from None
    if "\0" in str(path):
        raise DataError(f"The path {str(path)!r} holds the byte 0, which no file name does")


def neighbours(path: Path) -> str:
    """What lies in the folder of a file that is not there, for an error message."""
    try:
        if not path.parent.is_dir():
            return f"; the folder {str(path.parent)!r} does not exist either"
        names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    except OSError:
        return ""
    return f"{did_you_mean(path.name, names)}; {str(path.parent)!r} holds {listed(names) or 'nothing'}"

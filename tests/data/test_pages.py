"""Pages of Parquet files with damaged counts, at which polars ends the process, are refused before it reads."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sidestep.data.sources.files import read_table
from sidestep.data.sources.pages import Compact, check_pages
from sidestep.errors import DataError

TABLES = {
    "plain": pl.DataFrame({"user_id": [f"u{n % 5}" for n in range(99)], "time": range(99)}),
    "nested": pl.DataFrame(
        {"a": [["x", None][: n % 3] for n in range(99)], "b": [{"c": n, "d": None} for n in range(99)]}
    ),
    "empty": pl.DataFrame({"a": pl.Series([], dtype=pl.String)}),
    "long values": pl.DataFrame({"a": ["x" * 90_000, None, "y" * 70_000]}),
}


@pytest.mark.parametrize("compression", ["zstd", "snappy", "uncompressed"])
@pytest.mark.parametrize("table", TABLES)
def test_whole_files_pass(tmp_path: Path, table: str, compression: str) -> None:
    for rows in (None, 7):
        TABLES[table].write_parquet(tmp_path / "t.parquet", compression=compression, row_group_size=rows)  # type: ignore[arg-type]
        check_pages(tmp_path / "t.parquet")


def damaged(path: Path, field: int) -> Path:
    """The first page of a file of one column of nulls and texts with another number in a field of its header."""
    file = io.BytesIO()
    pl.DataFrame({"a": [None, "x", "y"]}).write_parquet(file, compression="uncompressed", statistics=False)
    content = bytearray(file.getvalue())
    at = 4
    while 5 not in (page := _header(content, at)):
        at += page["end"] + page[3]
    place = at + page["places"][field]
    content[place] ^= 0x40
    path.write_bytes(content)
    return path


def _header(content: bytes, at: int) -> dict:  # type: ignore[type-arg]
    """A page's header, where it ends, and where its counts stand: of values (0), and its size (3)."""
    reader = Compact(bytes(content[at : at + 200]))
    places = {}
    plain = reader._signed

    def signed() -> int:
        places[len(places)] = reader.at
        return plain()

    reader._signed = signed  # type: ignore[method-assign]
    page = reader.struct()
    return {**page, "end": reader.at, "places": {3: places[2], 0: places[3]}}


@pytest.mark.parametrize("field", [0, 3])
def test_a_damaged_count_or_size_of_a_page_is_refused(tmp_path: Path, field: int) -> None:
    path = damaged(tmp_path / "t.parquet", field)
    with pytest.raises(
        DataError, match=r"the page at byte \d+ holds other counts or sizes than its column of 3 values"
    ):
        read_table(path, [])


def test_a_footer_of_other_kinds_than_parquets_is_left_to_the_reader(tmp_path: Path) -> None:
    """A flipped bit can make bytes of the struct that a column's place and sizes stand in."""
    footer = b"\x49\x1c" + b"\x19\x1c" + b"\x38\x10" + b"abcdefghijklmnop" + b"\x00" + b"\x00" + b"\x00"
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert Compact(footer).struct() == {4: [{1: [{3: b"abcdefghijklmnop"}]}]}
    check_pages(path)
    with pytest.raises(DataError, match="Parquet"):
        read_table(path, [])


FLIPS = """
import io, sys
import polars as pl
from pathlib import Path
from sidestep.data.sources.files import read_table
from sidestep.errors import DataError
rows = range(40)
users, tags = [f"u{n % 5}" if n % 9 else None for n in rows], [["a", "b"][:n % 3] for n in rows]
table = pl.DataFrame({"user": users, "time": rows, "tags": tags})
file = io.BytesIO()
table.write_parquet(file)
whole, path = file.getvalue(), Path(sys.argv[1])
for place in range(0, len(whole)):
    content = bytearray(whole)
    content[place] ^= 1 << (place * 5 + int(sys.argv[2])) % 8
    path.write_bytes(content)
    try:
        read_table(path, [])
    except DataError:
        pass
print("done")
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shift", range(2))
def test_no_flipped_bit_ends_the_process(tmp_path: Path, shift: int) -> None:
    words = [sys.executable, "-c", FLIPS, str(tmp_path / "t.parquet"), str(shift)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "POLARS_MAX_THREADS": "1"})
    assert done.returncode != -signal.SIGABRT
    assert done.stdout == "done\n", done.stderr[-300:]

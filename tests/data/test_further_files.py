"""Files that are not what their names say, ids that look alike, and values that stand for none."""

import codecs
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from command import refuse
from sidestep.data.inspect import Findings, inspect
from sidestep.data.sources import read
from sidestep.errors import DataError

ROWS = [
    (f"u{user}", f"i{(user + step) % 6}", 1_600_000_000 + 86_400 * step + user)
    for user in range(6)
    for step in range(5)
]
HEADER = "user_id,item_id,timestamp"
TEXT = "\n".join((HEADER, *(f"{user},{item},{time}" for user, item, time in ROWS), ""))


def looked_at(path: Path, content: bytes | str, items: Path | None = None) -> Findings:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return inspect(path, items)


def histories(found: Findings) -> dict[str, list[str]]:
    dataset = read(found.config, seed=0)
    ids = dataset.catalog.item_ids
    pairs = zip(dataset.interactions.user_ids, dataset.interactions.histories(), strict=True)
    return {user: [ids[item] for item in history] for user, history in pairs}


def with_ids(start: str) -> str:
    """The log with another beginning of its items' ids."""
    return "\n".join((HEADER, *(f"{user},{start}{item[1:]},{time}" for user, item, time in ROWS)))


RIGHT = {f"u{user}": [f"i{(user + step) % 6}" for step in range(5)] for user in range(6)}
HALF = TEXT.index("u3")


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\n" + TEXT.replace(",", ";"),
        "\n  \r\n\n" + TEXT,
        codecs.BOM_UTF8 * 2 + TEXT.encode(),
        TEXT[:HALF].encode() + codecs.BOM_UTF8 + TEXT[HALF:].encode(),
        (TEXT[:HALF].encode() + codecs.BOM_UTF8 + TEXT[HALF:].encode()).replace(b"\n", b"\r"),
    ],
)
def test_what_spreadsheets_and_cat_leave_in_a_file_is_no_part_of_it(tmp_path: Path, content: bytes | str) -> None:
    assert histories(looked_at(tmp_path / "log.csv", content)) == RIGHT


def test_marks_between_json_lines_are_skipped(tmp_path: Path) -> None:
    lines = [json.dumps(dict(zip(HEADER.split(","), row, strict=True))).encode() + b"\n" for row in ROWS]
    content = b"".join([*lines[:9], codecs.BOM_UTF8, *lines[9:]])
    assert histories(looked_at(tmp_path / "log.jsonl", content)) == RIGHT


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("log.csv")
        info.size = len(TEXT)
        archive.addfile(info, io.BytesIO(TEXT.encode()))
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame(ROWS, schema=HEADER.split(","), orient="row").write_parquet(file)
    return file.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "is Parquet; let its name end with .parquet": parquet,
    "is a tar archive; unpack it first": tarred,
    "is gzip within gzip; unpack it once": lambda: gzip.compress(gzip.compress(TEXT.encode())),
    "is an SQLite database": lambda: b"SQLite format 3\0" + bytes(200),
    "is a file of old Excel": lambda: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(200),
    "is a web page": lambda: b"<!DOCTYPE html><title>404, not found</title>\n",
    "is a pointer of Git LFS": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "is a PDF": lambda: b"%PDF-1.4\n",
    "holds JSON, not delimited text": lambda: json.dumps({"user_id": 1, "item_id": 2}).encode() + b"\n",
}


@pytest.mark.parametrize("said", KINDS)
def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path, said: str) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(KINDS[said]())
    assert said in refuse("init", "--interactions", log, "--out", tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TEXT.partition("\n")[2], "begins with u0, i0, 1600000000, which are values"),
        ("u,i,2020-01-31 10:00\n" * 3, "which are values"),
        (TEXT.replace("\n", ",,\n"), "has 2 columns without a name in its header"),
    ],
)
def test_a_header_that_names_nothing_is_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        looked_at(tmp_path / "log.csv", content)


def test_one_json_object_for_all_rows_is_refused(tmp_path: Path) -> None:
    table = dict(zip(HEADER.split(","), map(list, zip(*ROWS, strict=True)), strict=True))
    for content in (table, {"data": [{"user_id": 1}]}):
        with pytest.raises(DataError, match=r"holds one object with .* for all rows; write one object a line"):
            looked_at(tmp_path / "log.json", json.dumps(content))


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt64, pl.Int128])
def test_ids_of_any_whole_type_are_ids(tmp_path: Path, kind: type[pl.DataType]) -> None:
    table = pl.DataFrame(ROWS, schema=HEADER.split(","), orient="row")
    numbers = table["item_id"].str.slice(1).cast(pl.Int8).cast(kind)
    largest = {pl.Int8: 100, pl.UInt64: 2**63, pl.Int128: 10**25}[kind]
    big = pl.Series("item_id", [int(number) + largest for number in numbers], dtype=kind)
    table.with_columns(big).write_parquet(tmp_path / "log.parquet")
    wanted = {user: [str(int(item[1:]) + largest) for item in items] for user, items in RIGHT.items()}
    assert histories(inspect(tmp_path / "log.parquet")) == wanted


@pytest.mark.parametrize("start", ["400638133393", "160000000"])
@pytest.mark.parametrize("name", ["item_id", "EAN"])
def test_bar_codes_are_ids_though_they_could_be_moments(tmp_path: Path, start: str, name: str) -> None:
    found = looked_at(tmp_path / "log.csv", with_ids(start).replace("item_id", name))
    assert found.config.time == "timestamp"
    assert histories(found) == {user: [start + item[1:] for item in items] for user, items in RIGHT.items()}


TWINS = {
    "\u200b": "invisible characters",
    "\u200f": "invisible characters",
    "\u00ad": "invisible characters",
    "wide": "the width of letters",
    "007": "only as 007 and 7",
    "7.0": "or 7.0 and 7, do",
}


@pytest.mark.parametrize("twin", TWINS)
def test_ids_that_look_alike_are_counted(tmp_path: Path, twin: str) -> None:
    def other(text: str) -> str:
        spelled = {"wide": text.replace("1", "\uff11"), "007": f"00{text}", "7.0": f"{text}.0"}
        return spelled.get(twin, text + twin)

    plain = twin in ("007", "7.0")
    rows = [(user[1:] if plain else user, item, time) for user, item, time in ROWS]
    content = [
        f"{other(user) if user[-1] == '1' and number % 2 else user},{item},{time}"
        for number, (user, item, time) in enumerate(rows)
    ]
    problems = looked_at(tmp_path / "log.csv", "\n".join((HEADER, *content))).problems
    assert any(line.startswith("1 values of user_id differ from another") and TWINS[twin] in line for line in problems)
    assert not any("differ from another" in line for line in looked_at(tmp_path / "log.csv", TEXT).problems)


def test_numbers_that_a_spreadsheet_shortened_are_named(tmp_path: Path) -> None:
    problems = looked_at(tmp_path / "log.csv", with_ids("4.0063")).problems
    assert not any("shortened" in line for line in problems)
    log = "\n".join((HEADER, *(f"{user},4.0063{item[1:]}E+12,{time}" for user, item, time in ROWS)))
    problems = looked_at(tmp_path / "log.csv", log).problems
    assert any("6 values of item_key are shortened numbers such as '4.00630E+12'" in line for line in problems)


@pytest.mark.parametrize(
    "word", ["[null]", "#VALUE!", "n.a.", "Not Available", "missing", "—", "\u200b", "无", "(not set)"]
)
def test_further_words_for_nothing_are_missing_values(tmp_path: Path, word: str) -> None:
    found = looked_at(tmp_path / "log.csv", TEXT + "".join(f"{word},i{n},{1_600_000_000 + n}\n" for n in range(6)))
    assert (found.users, found.interactions) == (6, 30)
    assert any("6 rows have no 'user_id'" in line for line in found.problems)


@pytest.mark.parametrize("word", ["unknown", "Guest", "0", "-1"])
def test_a_user_who_may_stand_for_nobody_is_named(tmp_path: Path, word: str) -> None:
    rows = "".join(f"{word},i{n},{1_600_000_000 + n}\n" for n in range(6))
    problems = looked_at(tmp_path / "log.csv", TEXT + rows).problems
    assert any(f"user '{word}' has 6 interactions, more than any other" in line for line in problems)
    short = "".join(f"{word},i{n},{1_600_000_000 + n}\n" for n in range(5))
    assert not any("stands for no user" in line for line in looked_at(tmp_path / "log.csv", TEXT + short).problems)


@pytest.mark.parametrize("ratings", [["A", "B"], ["★", "★★"], ["100%", "50%"], ["True", "False"], ["4/5", "5/5"]])
def test_ratings_that_are_no_numbers_are_noted(tmp_path: Path, ratings: list[str]) -> None:
    lines = TEXT.split()
    rows = [f"{line},{ratings[number % 2]}" for number, line in enumerate(lines[1:])]
    found = looked_at(tmp_path / "log.csv", "\n".join((HEADER + ",rating", *rows)))
    assert any("'rating' looks like a rating (2 different" in line for line in found.problems)


def test_kinds_of_events_may_be_numbers(tmp_path: Path) -> None:
    rows = [f"{line},{number % 4 + 1}" for number, line in enumerate(TEXT.split()[1:])]
    found = looked_at(tmp_path / "log.csv", "\n".join((HEADER + ",event_type", *rows)))
    assert found.config.event == "event_type"


@pytest.mark.parametrize("zero", [0x660, 0xFF10])
def test_positions_in_other_digits_order_a_log(tmp_path: Path, zero: int) -> None:
    rows = sorted(f"{user},{item},{chr(zero + (time // 86_400 - 18_518))}" for user, item, time in ROWS)
    found = looked_at(tmp_path / "log.csv", "\n".join(("user_id,item_id,position", *rows)))
    assert found.config.order == "position"
    assert histories(found) == RIGHT


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("item_id,title\n", "holds no items"),
        ("item_id,title\n" + "".join(f"I{n},Thing {n}\n" for n in range(6)), r"\(the log has 'i0', the column 'I0'\)"),
    ],
)
def test_why_an_items_file_joins_with_nothing_is_said(tmp_path: Path, items: str, said: str) -> None:
    (tmp_path / "items.csv").write_text(items)
    with pytest.raises(DataError, match=said):
        looked_at(tmp_path / "log.csv", TEXT, tmp_path / "items.csv")


def test_an_items_file_of_floating_point_ids_or_another_unicode_form_is_named(tmp_path: Path) -> None:
    table = pl.DataFrame({"item_id": [float(n) for n in range(6)], "title": [f"Thing {n}" for n in range(6)]})
    table.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match="'item_id' holds Float64, which cannot hold ids"):
        looked_at(tmp_path / "log.csv", TEXT, tmp_path / "items.parquet")
    table.with_columns(item_id=pl.Series([f"\u00e9{n}" for n in range(6)])).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"another Unicode form \(NFC, NFD\)"):
        looked_at(tmp_path / "log.csv", with_ids("e\u0301"), tmp_path / "items.parquet")

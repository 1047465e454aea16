"""What can be wrong with somebody's files: each time one message that names the file, the value and the way out."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from sidestep.config import build
from sidestep.data.sources import DataConfig, read
from sidestep.errors import DataError

LOG = "user_id,item_id,time\nu,1,5\nu,2,6\n"


def refuse(path: Path, message: str, **settings: object) -> None:
    with pytest.raises(DataError, match=message):
        read(build(DataConfig, {"path": str(path), **settings}), seed=0)


def test_a_missing_file_is_named_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text(LOG)
    refuse(
        tmp_path,
        r"No file '.*interaction.csv'; did you mean 'interactions.csv'\?; '.*' holds interactions.csv",
        interactions="interaction.csv",
    )
    refuse(tmp_path, r"No file '.*items.csv'", interactions="interactions.csv", items="items.csv")
    refuse(tmp_path / "nowhere", r"No file or folder '.*nowhere' \(data.path\)")
    refuse(tmp_path / "nowhere", r"the folder '.*nowhere' does not exist either", interactions="a.csv")


@pytest.mark.parametrize("name", ["log[1].parquet", "log*.parquet"])
def test_brackets_and_stars_in_a_name_are_no_pattern(tmp_path: Path, name: str) -> None:
    pl.DataFrame({"user_id": ["u", "u"], "item_id": ["1", "2"], "time": [5, 6]}).write_parquet(tmp_path / name)
    pl.DataFrame({"user_id": ["v"], "item_id": ["3"], "time": [5]}).write_parquet(tmp_path / "log2.parquet")
    log = read(build(DataConfig, {"path": str(tmp_path), "interactions": name}), seed=0).interactions
    assert list(log.user_ids) == ["u"]


def test_a_missing_parquet_file_is_named_like_any_other(tmp_path: Path) -> None:
    refuse(tmp_path, r"No file '.*log.parquet'", interactions="log.parquet")


@pytest.mark.parametrize("key", ["user", "item", "order", "time"])
def test_a_missing_column_is_named_with_its_setting_and_the_nearest_one(tmp_path: Path, key: str) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    refuse(
        tmp_path,
        rf"no column 'timee' \(data.{key}\); did you mean 'time'\?; its columns are user_id, item_id, time",
        **{key: "timee"},
    )


def test_missing_columns_of_the_items_name_their_settings(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.jsonl").write_text('{"key": 1, "asin": "B"}\n')
    refuse(tmp_path, r"no column 'item_id' \(data.item_key\).*its columns are key, asin", items="items.jsonl")
    refuse(
        tmp_path, r"no column 'asn' \(data.item_id\); did you mean", items="items.jsonl", item_key="key", item_id="asn"
    )
    refuse(
        tmp_path,
        r"no column 'title' \(data.text_fields\)",
        items="items.jsonl",
        item_key="key",
        text_fields=["title"],
        unknown_items="drop",
    )


@pytest.mark.parametrize("name", ["log.csv.gz", "log.jsonl.gz"])
def test_a_truncated_gzip_is_named_and_nothing_of_it_is_used(tmp_path: Path, name: str) -> None:
    rows = [{"user_id": f"user {n * n}", "item_id": str(n)} for n in range(5000)]
    text = pl.DataFrame(rows).write_csv() if "csv" in name else "".join(json.dumps(row) + "\n" for row in rows)
    whole = gzip.compress(text.encode())
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    refuse(tmp_path, rf"{name}' is truncated: its gzip stream ends before the end mark")
    (tmp_path / name).write_bytes(whole[:-4])
    refuse(tmp_path, "is truncated")
    (tmp_path / name).write_bytes(whole[:1000] + b"\0" * 100 + whole[1100:])
    refuse(tmp_path, rf"Cannot read '.*{name}'")


@pytest.mark.parametrize("source", ["amazon", "movielens", "recbole"])
def test_truncated_files_are_named_in_every_layout(tmp_path: Path, source: str) -> None:
    name = {"amazon": "reviews_X_5.json.gz", "movielens": "u.data", "recbole": "x.inter"}[source]
    rows = ({"reviewerID": f"u{n * n}", "asin": str(n), "unixReviewTime": n} for n in range(3000))
    text = map(json.dumps, rows) if source == "amazon" else (f"{n * n}\t{n}\t5\t{n}" for n in range(3000))
    lines = "\n".join(text).encode()
    (tmp_path / name).write_bytes(gzip.compress(lines)[:2000])
    refuse(tmp_path, rf"{name}' is truncated", source=source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty|no column 'user_id'"),
        ("user_id,item_id\n", "The log holds no interactions"),
        ("user_id,item_id\nu,\n", r"1 rows have no 'item_id' \(data.item\), the first is data row 1"),
        ("user_id,item_id\nu,1\n,2\n", r"no 'user_id' \(data.user\), the first is data row 2"),
        ("user_id,item_id\nu,1\nu,2,3\n", r"1 rows have more or fewer fields than the header's 2 \(the first has 3\)"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "log.csv").write_text(content)
    refuse(tmp_path, message)


def test_text_that_is_no_utf8_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes("user_id,item_id\nJosé,1\n".encode("latin-1"))
    refuse(tmp_path, r"Cannot read '.*log.csv' as delimited text: .*utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"user_id": "u", "item_id": 1}\n{"user_id": "u", "item', r"Cannot read '.*log.jsonl'|no JSON"),
        ("[1, 2]\n", r"line 1 that is no JSON object: '\[1, 2\]'"),
        ('{"user_id": "u"}\n', r"no column 'item_id' \(data.item\); its columns are user_id"),
        ('{"user_id": "u", "item_id": 1}\n{"user_id": "u"}\n', r"no 'item_id'.*data row 2"),
        ('{"user_id": "u", "item_id": null}\n', r"no 'item_id'.*data row 1"),
    ],
)
def test_bad_json_lines_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "log.jsonl").write_text(content)
    refuse(tmp_path, message)


def test_bad_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(b"PAR1 not really")
    refuse(tmp_path, r"Cannot read '.*log.parquet' as Parquet")
    pl.DataFrame({"user_id": [1.5], "item_id": [["x"]]}).write_parquet(tmp_path / "log.parquet")
    refuse(tmp_path, r"'user_id' \(data.user\) holds Float64, which cannot hold ids")
    refuse(tmp_path, r"'item_id' \(data.user\) holds List\(String\)", user="item_id")


def test_a_wrong_type_names_value_and_row(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id,time\nu,1,5\nu,2,six\nu,3,7\n")
    refuse(tmp_path, r"data row 2 has 'six' in column 'time' \(data.time\)", time="time")
    refuse(tmp_path, r"data row 2 has 'six' in column 'time' \(data.order\)", order="time")


def test_which_file_is_meant_must_be_clear(tmp_path: Path) -> None:
    refuse(tmp_path, "no tables there; set data.interactions")
    (tmp_path / "a.csv").write_text(LOG)
    (tmp_path / "b.csv").write_text(LOG)
    refuse(tmp_path, r"which file of '.*' holds the interactions: a.csv, b.csv; set data.interactions")
    (tmp_path / "a.xlsx").write_text("x")
    refuse(tmp_path, r"Cannot tell the format of '.*a.xlsx' from its name; expected one of .csv", interactions="a.xlsx")
    (tmp_path / "c.csv").mkdir()
    refuse(tmp_path, r"c.csv' is a folder, expected a file", interactions="c.csv")


def test_an_empty_items_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text("item_id,title\n")
    refuse(tmp_path, "The items file holds no items", interactions="log.csv", items="items.csv")

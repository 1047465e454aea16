"""One shop written in every format reads as the same catalogue and the same log."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sidestep.config import build
from sidestep.data.sources import DataConfig, Dataset, read

ROWS = [("007", "Ä,1", 3), ("7", "b", 1), ("007", "b", 1), ("7", "Ä,1", 2), ("007", "b", 2)]
EXPECTED = {"007": ["b", "b", "Ä,1"], "7": ["b", "Ä,1"]}


def table() -> pl.DataFrame:
    return pl.DataFrame(ROWS, schema=["who", "what", "when"], orient="row")


def config(path: Path, **settings: object) -> DataConfig:
    return build(DataConfig, {"path": str(path), "user": "who", "item": "what", "time": "when", **settings})


def histories(data: Dataset) -> dict[str, list[str]]:
    ids = data.catalog.item_ids
    pairs = zip(data.interactions.user_ids, data.interactions.histories(), strict=True)
    return {user: [ids[item] for item in history] for user, history in pairs}


def as_json(frame: pl.DataFrame) -> str:
    return "".join(json.dumps(row) + "\n" for row in frame.to_dicts())


WRITERS: dict[str, Callable[[Path], object]] = {
    "log.csv": lambda path: path.write_text(table().write_csv(), encoding="utf-8"),
    "log.csv.gz": lambda path: path.write_bytes(gzip.compress(table().write_csv().encode())),
    "log.tsv": lambda path: path.write_text(table().write_csv(separator="\t"), encoding="utf-8"),
    "semicolons.csv": lambda path: path.write_text(table().write_csv(separator=";"), encoding="utf-8"),
    "bom.csv": lambda path: path.write_text("\ufeff" + table().write_csv(), encoding="utf-8"),
    "windows.csv": lambda path: path.write_bytes(table().write_csv().replace("\n", "\r\n").encode()),
    "blank_end.csv": lambda path: path.write_bytes(table().write_csv().replace("\n", "\r\n").encode() + b"\r\n\n"),
    "log.jsonl": lambda path: path.write_text(as_json(table()), encoding="utf-8"),
    "log.jsonl.gz": lambda path: path.write_bytes(gzip.compress(as_json(table()).encode())),
    "log.parquet": lambda path: table().write_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_histories(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        data = read(config(path), seed=0)
        assert histories(data) == EXPECTED
        assert data.catalog.item_ids == ["Ä,1", "b"]  # by first appearance
        assert data.interactions.times is not None
        assert data.interactions.times.tolist() == [1000, 2000, 3000, 1000, 2000]


def test_whole_numbers_in_json_are_their_decimal_spelling(tmp_path: Path) -> None:
    lines = ['{"who": 12345678901234567890, "what": 5}', '{"what": "05", "who": "x", "extra": {"deep": [1]}}', ""]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    data = read(config(tmp_path, time=None), seed=0)
    assert histories(data) == {"12345678901234567890": ["5"], "x": ["05"]}


def test_a_key_that_only_later_lines_hold_is_found(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"who": "a", "what": "b", "pos": 1}\n{"who": "a", "what": "c", "pos": 0, "when": 5}\n'
    )
    data = read(config(tmp_path, order="pos"), seed=0)
    assert histories(data) == {"a": ["c", "b"]}


def write_shop(folder: Path) -> None:
    (folder / "interactions.csv").write_text("who,what\nu,2\nu,1\nu,2\nv,1\n")
    items = [
        {"key": 1, "asin": "B1", "title": "Nail &amp; file", "categories": ["Beauty", "Nails"], "item_id": "own"},
        {"key": 2, "asin": "B2", "title": "Soap", "categories": None},
        {"key": 3, "asin": "B3", "title": "Dust"},
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))


def test_people_say_the_public_id_while_tables_join_on_the_key(tmp_path: Path) -> None:
    write_shop(tmp_path)
    data = read(config(tmp_path, time=None, items="items.jsonl", item_key="key", item_id="asin"), seed=0)
    assert data.catalog.item_ids == ["B1", "B2"]
    assert histories(data) == {"u": ["B2", "B1", "B2"], "v": ["B1"]}
    assert data.catalog.table["item_key"].to_list() == ["1", "2"]
    assert data.catalog.table["source_item_id"].to_list() == ["own", None]
    assert data.catalog.texts == ["Nail & file. Beauty > Nails", "Soap"]
    assert data.catalog.title(0) == "Nail & file"
    assert any("1 of 3 items have no interactions" in note for note in data.notes)


def test_untouched_items_stay_when_asked_and_numbers_follow_the_items_file(tmp_path: Path) -> None:
    write_shop(tmp_path)
    keep = {"items_without_interactions": "keep"}
    data = read(config(tmp_path, time=None, items="items.jsonl", item_key="key", item_id="asin", **keep), seed=0)
    assert data.catalog.item_ids == ["B1", "B2", "B3"]
    assert data.interactions.items.tolist() == [1, 0, 1, 0]


def test_interactions_alone_are_enough(tmp_path: Path) -> None:
    write_shop(tmp_path)
    data = read(config(tmp_path / "interactions.csv", time=None), seed=0)
    assert data.catalog.table.columns == ["item_id"]
    assert data.catalog.texts is None
    assert data.interactions.times is None
    assert not data.interactions.absolute_times


def test_items_whose_rows_disagree_about_a_nested_value_are_still_read(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("who,what\nu,1\nu,2\n")
    lines = [
        '{"what": "1", "title": "Alien", "rank": {"Beauty": 3}}',
        '{"what": "2", "title": "Heat", "rank": ["x", {"y": 1}]}',
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    data = read(config(tmp_path, time=None, items="items.jsonl"), seed=0)
    assert data.catalog.texts == ["Alien", "Heat"]


def test_the_reading_says_which_unit_it_took(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,what,when\nu,1,1406109600123\n")
    assert any("'when' were read as milliseconds" in note for note in read(config(tmp_path), seed=0).notes)
    assert read(config(tmp_path, time_unit="ms"), seed=0).notes == []

"""Further items: read as the run's items file was, in the columns the catalogue has."""

import json
from pathlib import Path

import polars as pl
import pytest

from sidestep.data.catalog import Catalog
from sidestep.data.sources import DataConfig
from sidestep.data.sources.further import extended, read_further
from sidestep.errors import DataError

OLD = pl.DataFrame(
    {
        "item_id": ["a"],
        "title": ["Red lipstick"],
        "categories": [["Beauty", "Lips"]],
        "source_row": [4],
        "text": ["Red lipstick. Beauty > Lips"],
    }
)


def quiet(line: str) -> None:
    pass


def read(path: Path, catalog: pl.DataFrame = OLD, say: object = quiet, **config: object) -> Catalog:
    return read_further(path, DataConfig.model_validate(config), Catalog(catalog), "error", say)  # type: ignore[arg-type]


def lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_texts_are_made_of_the_fields_that_made_the_catalogues(tmp_path: Path) -> None:
    heard: list[str] = []
    path = lines(
        tmp_path / "new.jsonl",
        {"item_id": "b", "title": "Steel &amp; drill", "categories": ["Tools", "Drills"], "color": "grey"},
        {"item_id": "c", "title": "Hose", "categories": None, "color": "green"},
    )
    found = read(path, say=heard.append)
    assert found.texts == ["Steel & drill. Tools > Drills", "Hose"]
    assert found.table.columns == ["item_id", "title", "categories", "text", "source_row"]
    assert heard == ["columns that the catalogue lacks are left out: color"]
    both = extended(Catalog(OLD), found)
    assert both.item_ids == ["a", "b", "c"]
    assert both.table["source_row"].to_list() == [4, None, None]  # rows of another file are no rows of the items file


def test_a_column_that_the_file_lacks_is_empty(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("item_id,title\nb,Drill\n")
    found = read(tmp_path / "new.csv", text_fields=["title", "categories"])
    assert found.table["categories"].to_list() == [None]
    assert found.texts == ["Drill"]


def test_a_catalogue_of_bare_ids_takes_bare_ids(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("sku,title\nb,Drill\n")
    found = read(tmp_path / "new.csv", OLD.select("item_id"), item="sku")
    assert found.item_ids == ["b"]
    assert found.texts is None


def test_amazon_and_recbole_are_read_as_their_items_files_are(tmp_path: Path) -> None:
    meta = lines(tmp_path / "meta_new.json", {"asin": "b", "title": "Drill", "categories": [["Tools", "Drills"]]})
    nested = OLD.with_columns(categories=pl.Series([[["Beauty", "Lips"]]]))
    assert read(meta, nested, source="amazon").texts == ["Drill. Tools > Drills"]
    later = lines(tmp_path / "meta_later.jsonl", {"parent_asin": "c", "title": "Hose"})
    assert read(later, nested, source="amazon").item_ids == ["c"]
    (tmp_path / "new.item").write_text("item_id:token\ttitle:token_seq\nb\tDrill\n")
    assert read(tmp_path / "new.item", source="recbole").texts == ["Drill"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"item_id": "a"}], "1 items that the catalogue holds already, the first is 'a'"),
        ([{"item_id": "b"}, {"item_id": "b"}], "'b' 2 times"),
        ([{"item_id": "b", "categories": "Tools"}], "in column 'categories', the catalogue has List"),
    ],
)
def test_what_does_not_fit_is_named(rows: list[dict[str, object]], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(lines(tmp_path / "new.jsonl", *rows))

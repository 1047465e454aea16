from pathlib import Path

import polars as pl
import pytest

from sidestep.data.catalog import Catalog
from sidestep.errors import DataError, UnknownItemError

IDS = ["007", "a,b", "Žluťoučký kůň", "🎧", " padded "]


def catalog(ids: list[str] = IDS, **columns: list[object]) -> Catalog:
    return Catalog(pl.DataFrame({"item_id": ids, **columns}))


def test_numbers_and_outside_ids_are_inverse() -> None:
    shop = catalog()
    assert shop.items(IDS).tolist() == [0, 1, 2, 3, 4]
    assert [shop.item_ids[item] for item in shop.items(["🎧", "007"])] == ["🎧", "007"]


def test_asking_for_no_items_gives_no_numbers() -> None:
    assert catalog().items([]).shape == (0,)


def test_an_unknown_id_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownItemError, match=r"Unknown item 'a;b'.*5 items.*did you mean 'a,b'\?"):
        catalog().items(["007", "a;b"])


def test_a_repeated_id_is_refused_and_counted() -> None:
    with pytest.raises(DataError, match=r"Item 'x' stands 3 times.*duplicate_items"):
        catalog(["x", "y", "x", "y", "x"])


def test_saving_and_loading_keeps_every_id_and_column(tmp_path: Path) -> None:
    before = catalog(title=["a", None, "c", "", "e"], tags=[["x"], [], ["y", "z"], None, ["w"]])
    before.save(tmp_path / "catalog")
    after = Catalog.load(tmp_path / "catalog")
    assert after.item_ids == IDS
    assert after.table.equals(before.table)


def test_a_person_reads_the_title_or_else_the_id() -> None:
    shop = catalog(title=["Bond", None, "", "Headphones", "x"])
    assert [shop.title(item) for item in range(4)] == ["Bond", "a,b", "Žluťoučký kůň", "Headphones"]
    assert catalog().title(0) == "007"
    assert catalog(name=["n"] * 5).title(0) == "n"


def test_texts_are_none_without_the_column_and_empty_where_missing() -> None:
    assert catalog().texts is None
    assert catalog(text=["a", None, "c", "", "e"]).texts == ["a", "", "c", "", "e"]

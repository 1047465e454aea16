"""Columns of the catalogue as filters."""

from typing import Any

import polars as pl
import pytest

from sidestep.data.fields import LISTED, columns_of, meeting, typed
from sidestep.errors import DataError

TABLE = pl.DataFrame(
    {
        "price": ["5", "7.5", "", "20", None],
        "size": [1, 2, 3, None, 5],
        "in_stock": ["true", "No", "TRUE", "", "yes"],
        "brand": ["a", "b", "a", None, "c"],
        "postcode": ["0123", "1234", "1235", "1236", "1237"],
        "weight": [1.0, float("nan"), None, 2.0, float("nan")],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"price": {"min": 5, "max": 7.5}}, [0, 1]),
        ({"price": {"min": 7.5}}, [1, 3]),
        ({"price": {"max": "10", "min": None}}, [0, 1]),
        ({"price": 20}, [3]),
        ({"size": [1, "5"]}, [0, 4]),
        ({"in_stock": True}, [0, 2, 4]),
        ({"in_stock": "false"}, [1]),
        ({"brand": "a"}, [0, 2]),
        ({"brand": ["b", "c"], "price": {"max": 10}}, [1]),
        ({"postcode": "0123"}, [0]),
        ({"brand": []}, []),
        ({"weight": {"min": 0}}, [0, 3]),
        ({"weight": 2}, [3]),
    ],
)
def test_rows_meet_all_conditions_and_none_without_a_value(where: dict[str, Any], rows: list[int]) -> None:
    assert meeting(TABLE, where).nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"prize": 5}, r"no column 'prize'; did you mean 'price'\?$"),
        ({"colour": 5}, "no column 'colour'; it has price, size, in_stock"),
        ({"price": "cheap"}, "Cannot compare 'price' with 'cheap'; it holds numbers, such as 5.0"),
        ({"price": True}, "Cannot compare 'price' with True"),
        ({"price": {"below": 3}}, "expected min, max or both"),
        ({"price": {}}, "expected min, max or both"),
        ({"price": {"max": float("nan")}}, "Cannot compare 'price' with nan"),
        ({"brand": {"min": 3}}, "Cannot take a range of 'brand', which holds text"),
        ({"in_stock": 7}, "it holds true and false, such as True"),
        ({"brand": 7}, "it holds text, such as 'a'"),
    ],
)
def test_a_condition_that_does_not_fit_is_one_sentence(where: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        meeting(TABLE, where)


def test_text_becomes_what_all_of_it_is() -> None:
    kinds = {name: typed(TABLE[name]).dtype for name in TABLE.columns if TABLE[name].dtype == pl.String}
    assert kinds == {
        "price": pl.Float64, "in_stock": pl.Boolean, "brand": pl.String, "postcode": pl.String,
    }  # fmt: skip
    assert typed(pl.Series(["12", " 3 ", None])).to_list() == [12, 3, None]
    for words in (["1", "x"], ["nan", "1"], ["", None], ["1e999"]):
        assert typed(pl.Series(words, dtype=pl.String)).dtype == pl.String


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["blue", "red"])])
def test_categories_are_text(kind: Any) -> None:
    table = pl.DataFrame({"colour": pl.Series(["red", "blue", "red", None], dtype=kind)})
    assert meeting(table, {"colour": "red"}).tolist() == [True, False, True, False]
    assert columns_of(table.head(3).vstack(table.head(3)))[0].values == (("red", 4), ("blue", 2))


def test_decimals_are_numbers() -> None:
    table = pl.DataFrame({"price": pl.Series(["0.90", "1.10", None]).cast(pl.Decimal(10, 2))})
    assert meeting(table, {"price": {"min": 1.1}}).tolist() == [False, True, False]
    assert meeting(table, {"price": {"max": 1e40}}).tolist() == [True, True, False]
    assert meeting(table, {"price": 0.9}).tolist() == [True, False, False]


def test_a_range_of_a_column_holds_every_item_with_a_value_and_every_listed_value_its_items() -> None:
    table = pl.concat([TABLE, TABLE]).with_columns(empty=pl.lit(None, pl.String), kind=pl.lit("x"))
    columns = {column.name: column for column in columns_of(table)}
    assert list(columns) == [name for name in table.columns if name != "empty"]
    for name, column in columns.items():
        if column.kind == "number":
            assert meeting(table, {name: {"min": column.min, "max": column.max}}).sum() == column.num_items
            assert not meeting(table, {name: {"max": column.min - 1}}).any()
        if column.kind == "truth":
            assert meeting(table, {name: [True, False]}).sum() == column.num_items
        for value, num_items in column.values:
            assert meeting(table, {name: value}).sum() == num_items
    assert columns["brand"].values == (("a", 4), ("b", 2), ("c", 2))
    assert {columns[name].kind for name in ("price", "size", "weight")} == {"number"}


def test_values_are_listed_where_text_repeats_up_to_a_limit() -> None:
    texts = [str(number) + "x" for number in range(2 * LISTED)]
    (titles,) = columns_of(pl.DataFrame({"title": texts}))
    assert (titles.kind, titles.values) == ("text", ())
    (brands,) = columns_of(pl.DataFrame({"brand": [*texts, *texts, "7x"]}))
    assert brands.values[0] == ("7x", 3)
    assert len(brands.values) == LISTED

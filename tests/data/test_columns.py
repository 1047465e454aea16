"""Ids are kept as they are spelled; moments become milliseconds whatever their spelling."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from sidestep.data.sources import columns
from sidestep.data.sources.config import TimeUnit
from sidestep.errors import DataError

FILE = Path("log.csv")
MOMENT = 1_406_109_600_123  # 2014-07-23T10:00:00.123Z


@pytest.mark.parametrize("kept", [["007", "7"], ["a,b", " c "], ["Ä", "🎧"], ["Nan0", "nah"]])
def test_ids_survive_letter_by_letter(kept: list[str]) -> None:
    assert columns.ids(pl.Series("u", kept), FILE, "user").to_list() == kept


def test_whole_numbers_and_categories_become_their_spelling() -> None:
    big = 2**63 + 11
    assert columns.ids(pl.Series("u", [big, 7], dtype=pl.UInt64), FILE, "user").to_list() == [str(big), "7"]
    assert columns.ids(pl.Series("u", ["b", "a"], dtype=pl.Categorical), FILE, "user").to_list() == ["b", "a"]


@pytest.mark.parametrize("values", [["a", None, "b"], ["a", "", "b"]])
def test_an_empty_id_is_refused_with_its_row(values: list[str | None]) -> None:
    with pytest.raises(DataError, match=r"1 rows have no 'u' \(data.user\), the first is data row 2"):
        columns.ids(pl.Series("u", values), FILE, "user")


def test_floating_point_ids_are_refused_because_they_may_have_lost_digits() -> None:
    with pytest.raises(DataError, match=r"'u' \(data.user\) holds Float64, which cannot hold ids"):
        columns.ids(pl.Series("u", [1.0, 2.0]), FILE, "user")


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (MOMENT, "ms"),
        (str(MOMENT), "ms"),
        (float(MOMENT), "ms"),
        (MOMENT / 1000, "s"),
        (f"{MOMENT / 1000:.3f}", "s"),
        (MOMENT * 1000, "us"),
        (MOMENT * 1_000_000, "ns"),
        ("2014-07-23T10:00:00.123Z", "iso"),
        ("2014-07-23 10:00:00.123", "iso"),
        ("2014-07-23T12:00:00.123+02:00", "iso"),
        (datetime(2014, 7, 23, 10, 0, 0, 123_000, tzinfo=UTC), "iso"),
    ],
)
def test_one_moment_is_the_same_in_every_spelling(value: object, unit: TimeUnit) -> None:
    column = pl.Series("t", [value, None])
    for asked in ("auto", unit):
        found, said = columns.times(column, asked, FILE)
        assert found.to_list() == [MOMENT, None]
        assert found.dtype == pl.Int64
        assert said == unit


def test_days_are_midnights() -> None:
    midnight = 1_406_073_600_000
    assert columns.times(pl.Series("t", ["2014-07-23"]), "auto", FILE)[0].to_list() == [midnight]
    assert columns.times(pl.Series("t", [date(2014, 7, 23)]), "auto", FILE)[0].to_list() == [midnight]


def test_nan_and_blank_times_are_unknown_times() -> None:
    assert columns.times(pl.Series("t", [1.5, float("nan"), None]), "s", FILE)[0].to_list() == [1500, None, None]
    assert columns.times(pl.Series("t", ["2", "NaN", " ", None]), "s", FILE)[0].to_list() == [2000, None, None, None]
    assert columns.times(pl.Series("t", [None, None]), "auto", FILE)[0].to_list() == [None, None]


def test_negative_relative_times_are_permitted() -> None:
    assert columns.times(pl.Series("t", [-5, 0, 5]), "s", FILE)[0].to_list() == [-5000, 0, 5000]


@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        (["1", "yesterday", "3"], "auto", r"data row 2 has 'yesterday' in column 't' \(data.time\)"),
        (["1", "yesterday"], "s", r"data row 2 has 'yesterday'.*a number of seconds; 1 rows"),
        (["2014-01-01", "yesterday"], "auto", r"data row 2 has 'yesterday'.*a number or an ISO date"),
        (["2014-01-01", "01/02/2014"], "iso", r"data row 2 has '01/02/2014'.*data.time_unit = \"d/m/y\""),
        ([1.0, float("inf")], "s", r"data row 2 has inf"),
        ([1, 2**62], "s", rf"data row 2 has {2**62}.*a moment in seconds"),
    ],
)
def test_what_is_no_moment_is_named_with_its_row(values: list[object], unit: TimeUnit, message: str) -> None:
    with pytest.raises(DataError, match=message):
        columns.times(pl.Series("t", values), unit, FILE)


def test_positions_are_numbers_and_keep_their_order() -> None:
    assert columns.order(pl.Series("p", ["10", " 9 ", "-1"]), FILE).to_list() == [10, 9, -1]
    assert columns.order(pl.Series("p", ["1.5", "1"]), FILE).to_list() == [1.5, 1.0]
    assert columns.order(pl.Series("p", [3, 2], dtype=pl.UInt8), FILE).to_list() == [3, 2]


@pytest.mark.parametrize("bad", ["first", "", "nan", None])
def test_a_position_that_is_no_number_is_named_with_its_row(bad: str | None) -> None:
    with pytest.raises(DataError, match=rf"data row 2 has {bad!r} in column 'p' \(data.order\), expected a number"):
        columns.order(pl.Series("p", ["1", bad]), FILE)

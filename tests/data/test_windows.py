"""Windows from a table: what is read, and what is refused, in one line each."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import NO_TIME
from sidestep.data.sources.windows import read_windows
from sidestep.data.windows import Windows, slices_at
from sidestep.errors import DataError

CATALOG = Catalog(pl.DataFrame({"item_id": ["a", "b", "c"]}))
NOON = 1_700_000_000_000


def written(folder: Path, **columns: object) -> Path:
    path = folder / "windows.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def test_rows_in_any_order_become_slices(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        item_id=["c", "a", "b"],
        start=[NOON + 5, NOON, NOON + 5],
        vector=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    )
    windows = read_windows(path, CATALOG)
    assert windows.starts.tolist() == [NOON, NOON + 5]
    assert windows.offsets.tolist() == [0, 1, 3]
    assert windows.items.tolist() == [0, 1, 2]
    assert windows.values.tolist() == [[3, 4], [5, 6], [1, 2]]
    assert windows.before(NOON + 4).items.tolist() == [0]
    windows.save(tmp_path / "kept")
    assert Windows.load(tmp_path / "kept").values.tobytes() == windows.values.tobytes()


def test_columns_of_numbers_dates_and_a_single_start(tmp_path: Path) -> None:
    path = written(tmp_path, item_id=["a", "b"], start=["2026-11-28T20:15", "2026-11-28"], x=[1, 2], y=[3, 4])
    windows = read_windows(path, CATALOG)
    assert [str(np.datetime64(int(start), "ms")) for start in windows.starts] == [
        "2026-11-28T00:00:00.000",
        "2026-11-28T20:15:00.000",
    ]
    assert windows.values.tolist() == [[2, 4], [1, 3]]
    alone = read_windows(written(tmp_path, item_id=["b"], x=[1.5]), CATALOG, start=NOON)
    assert (alone.starts.tolist(), alone.items.tolist()) == ([NOON], [1])


def test_a_time_is_of_the_last_slice_that_has_begun_and_an_unknown_one_of_now() -> None:
    starts = np.array([NO_TIME, 10, 20])
    assert slices_at(starts, np.array([-5, 9, 10, 19, 20, 99, NO_TIME])).tolist() == [0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item": ["a"], "start": [NOON], "x": [1.0]}, "has no column 'item_id'; did you mean 'item'?"),
        ({"item_id": ["a"], "stort": [NOON], "x": [1.0]}, "has no column 'start'; did you mean 'stort'?.*--start"),
        ({"item_id": ["a", "z"], "start": [NOON] * 2, "x": [1.0, 2.0]}, "1 unknown items, the first is 'z'"),
        (
            {"item_id": ["a", "a"], "start": [NOON] * 2, "x": [1.0, 2.0]},
            "repeats 1 windows of an item in one slice, the first of item 'a'",
        ),
        ({"item_id": ["a", "b"], "start": [NOON, None], "x": [1.0, 2.0]}, "1 windows without a 'start'"),
        ({"item_id": ["a"], "start": [1_700_000_000], "x": [1.0]}, "for seconds, send 1700000000000"),
        ({"item_id": ["a"], "start": ["soon"], "x": [1.0]}, "Cannot read 'start' of .* = 'soon' as a time"),
        ({"item_id": ["a"], "start": [NOON], "x": ["red"]}, "neither a column of lists nor columns of numbers"),
        ({"item_id": ["a"], "start": [NOON], "x": [float("nan")]}, "1 of 1 windows hold NaN"),
        ({"item_id": ["a", "b"], "start": [NOON] * 2, "v": [[1.0], [1.0, 2.0]]}, "have from 1 to 2 numbers"),
        ({"item_id": ["a"], "start": [NOON], "v": [[1.0]], "w": [[1.0]]}, "2 columns of lists"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(columns: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_windows(written(tmp_path, **columns), CATALOG)
    assert "\n" not in str(caught.value)


def test_a_start_twice_or_never_and_an_empty_table_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, item_id=["a"], start=[NOON], x=[1.0])
    with pytest.raises(DataError, match="leave --start out"):
        read_windows(path, CATALOG, start=NOON)
    empty = pl.DataFrame({"item_id": [], "start": [], "x": []}, schema={"item_id": str, "start": int, "x": float})
    empty.write_parquet(path)
    with pytest.raises(DataError, match="holds no windows"):
        read_windows(path, CATALOG)
    with pytest.raises(DataError):
        read_windows(tmp_path / "nowhere.parquet", CATALOG)

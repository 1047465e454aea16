"""Impressions stand where time puts them in a user's history."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sidestep.data.catalog import Catalog
from sidestep.data.impressions import ImpressionsFile, read_impressions
from sidestep.data.interactions import NO_TIME, Interactions
from sidestep.errors import DataError

CATALOG = Catalog(pl.DataFrame({"item_id": ["x", "y", "z"]}))
LOG = Interactions(
    ["a", "b"], np.array([0, 4, 6]), np.array([0, 1, 2, 0, 2, 1]),
    np.array([NO_TIME, 10, 30, 20, NO_TIME, NO_TIME]), True,
)  # fmt: skip
"""User a: x before all, y at 10, z at 30, and x at 20, which stands behind z."""


def write(path: Path, rows: list[tuple[str, str, str, int, str]]) -> ImpressionsFile:
    pl.DataFrame(rows, schema=["user_id", "item_id", "split", "time_ms", "taken"], orient="row").write_csv(path)
    return ImpressionsFile(path, ["taken"])


def test_what_is_before_an_impression_is_strictly_earlier(tmp_path: Path) -> None:
    rows = [("a", "z", "p", 10, "1"), ("a", "y", "p", 11, "0"), ("a", "y", "p", 25, "0"), ("a", "x", "p", 31, "1"),
            ("b", "x", "p", 5, "0"), ("c", "x", "p", 5, "1"), ("a", "w", "p", 5, "1")]  # fmt: skip
    shown = read_impressions(write(tmp_path / "shown.csv", rows), "p", LOG, CATALOG)
    assert shown.users.tolist() == [0, 0, 0, 0, 1]  # strangers are left out
    assert shown.items.tolist() == [2, 1, 1, 0, 0]
    assert shown.labels[:, 0].tolist() == [True, False, False, True, False]
    assert shown.before.tolist() == [1, 2, 2, 4, 2]
    histories = shown.histories(np.arange(5), 3)
    assert histories.tolist() == [[-1, -1, 0], [-1, 0, 1], [-1, 0, 1], [1, 2, 0], [-1, 2, 1]]


@pytest.mark.parametrize(
    ("rows", "part", "message"),
    [
        ([("a", "x", "p", 1, "1")], "q", "no part 'q'"),
        ([("a", "x", "p", 1, "2")], "p", "expected 0 or 1"),
        ([("c", "x", "p", 1, "1")], "p", "no user and item of the log"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    rows: list[tuple[str, str, str, int, str]], part: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read_impressions(write(tmp_path / "shown.csv", rows), part, LOG, CATALOG)
    with pytest.raises(DataError):
        read_impressions(ImpressionsFile(tmp_path / "gone.csv", ["taken"]), part, LOG, CATALOG)

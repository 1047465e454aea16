"""The study of rankers on a small log with impressions: its rows, its files, and what stops it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from command import MODEL, contents, refuse, succeed

SETTINGS = (*MODEL, "embed.width=8", "tokenizer.codebook_size=4", "split.valid_from=1000", "split.test_from=2000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users of two kinds take items of their kind; what they are shown is of either."""
    place, rng = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    log, shown = [], []
    for user in range(40):
        own = rng.permutation(np.arange(user % 2, 24, 2))
        log += [(user, int(item), n, "" if n < 5 else str(1000 * (n - 4))) for n, item in enumerate(own[:7])]
        for part, begin in (("val", 1000), ("test", 2000)):
            for n in range(6):
                item = int(rng.integers(24))
                shown.append((user, item, part, begin + n, int(item % 2 == user % 2)))
    names = ["user_id", "item_id", "position", "time_ms"]
    pl.DataFrame(log, schema=names, orient="row").write_csv(place / "interactions_longview.csv")
    shown_names = ["user_id", "item_id", "split", "time_ms", "is_click"]
    pl.DataFrame(shown, schema=shown_names, orient="row").write_csv(place / "exposures.csv.gz", compression="gzip")
    pl.DataFrame({"video_id": range(24), "tag": [str(n % 2) for n in range(24)]}).write_csv(place / "videos.csv")
    return place


def words(folder: Path, out: Path) -> tuple[object, ...]:
    files = ("data.interactions=interactions_longview.csv", "data.items=videos.csv")
    return ("sids", "ranking", "ranking-kuairand", f"data.path={folder}", *files, *SETTINGS, "--out", out)


@pytest.mark.slow  # 24 rankers
def test_every_search_with_every_input_and_a_second_run_reads_what_is_there(folder: Path, tmp_path: Path) -> None:
    rows = json.loads(succeed(*words(folder, tmp_path), "--seeds", "0,1", "--json").out)
    assert [row["row"] for row in rows][:3] == ["recent, ids", "recent, ids + codes", "recent, codes"]
    assert len(rows) == 12
    for row in rows:
        assert row["seeds"] == [0, 1]
        assert all(0 <= row["mean"][name] <= 1 for name in ("AUC", "GAUC", "UAUC"))
    by_name = {row["row"]: row for row in rows}
    gain = by_name["code, ids + codes"]["mean"]["GAUC"] - by_name["code, ids"]["mean"]["GAUC"]
    assert by_name["code, ids + codes"]["less_ids"] == pytest.approx(gain)
    before = contents(tmp_path / "ids-0")
    shown = succeed(*words(folder, tmp_path), "--seeds", "0,1").out
    assert contents(tmp_path / "ids-0") == before
    assert "nearest, ids + codes" in shown
    assert (tmp_path / "study.md").read_text().count("\n") == 14
    succeed(*words(folder, tmp_path / "here"), "--seeds", "0,1", "--cores", "1")
    assert contents(tmp_path / "here")["study.json"] == contents(tmp_path)["study.json"]


def test_without_impressions_the_study_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "no column 'is_loved'" in refuse(*words(folder, tmp_path), "--label", "is_loved", "--seeds", "0")

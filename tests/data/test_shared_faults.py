"""Small inputs that once went wrong, from the folder `faults` beside the data; skipped where it is absent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command import refuse, succeed
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions

Counts = tuple[int, int, int]


@pytest.fixture(scope="module")
def faults() -> Path:
    data = Path(os.environ.get("SIDESTEP_DATA", Path(__file__).parents[2] / "../shared/data"))
    folder = data.parent / "faults"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


def prepared(tmp_path: Path, *words: object) -> tuple[Catalog, Interactions, dict[str, list[str]]]:
    """What `init` and then `prepare` read."""
    recipe, run = tmp_path / "r.toml", tmp_path / "run"
    succeed("init", *words, "--out", recipe)
    succeed("prepare", recipe, "--out", run)
    catalog, log = Catalog.load(run / "catalog"), Interactions.load(run / "interactions")
    ids = catalog.item_ids
    return catalog, log, {
        user: [ids[item] for item in history] for user, history in zip(log.user_ids, log.histories(), strict=True)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("log", "items", "counts"),
    [
        ("open-quotes/log.tsv", None, (3, 7, 12)),
        ("join-by-rank/log.csv", "items.csv", (4, 6, 20)),
        ("movielens-named-file/ratings.dat", None, (1, 5, 5)),
        ("free-keys/log.csv", "items.jsonl", (40, 200, 200)),
        ("date-by-other-name/log.csv", "articles.csv", (5, 7, 25)),
        ("encodings/cr-only.csv", None, (3, 4, 12)),
        ("rank-on-page/log.csv", None, (5, 7, 25)),
        ("null-words/log.csv", None, (5, 7, 20)),
        ("rating-by-other-name/log.csv", None, (5, 7, 25)),
        ("bom/log.jsonl", None, (3, 4, 12)),
    ],
)
def test_what_can_be_read_is_read_to_the_right_counts(
    faults: Path, tmp_path: Path, log: str, items: str | None, counts: Counts
) -> None:
    path = faults / log
    words = ["--interactions", path] + ([] if items is None else ["--items", path.parent / items])
    catalog, interactions, _ = prepared(tmp_path, *words)
    assert (interactions.num_users, len(catalog), len(interactions)) == counts


@pytest.mark.parametrize(
    ("log", "parts"),
    [
        ("mixed-time-units/one-ms.csv", ["mixes units", "data row 1", "seconds", "data row 6", "milliseconds"]),
        ("mixed-time-units/half-ms.csv", ["mixes units", "data row 3", "data row 1"]),
        ("encodings/utf16.csv", ["is UTF-16; convert it to UTF-8"]),
        ("encodings/utf16-no-last-newline.csv", ["is UTF-16; convert it to UTF-8"]),
        ("one-line-json/inter.json", ["0, 1, 2", "more than 1,000 different fields"]),
    ],
)
def test_what_cannot_is_refused_in_one_bounded_line(faults: Path, tmp_path: Path, log: str, parts: list[str]) -> None:
    line = refuse("init", "--interactions", faults / log, "--out", tmp_path / "r.toml")
    assert all(part in line for part in parts), line
    assert len(line) < 1000


def test_titles_are_joined_by_the_name_of_the_key(faults: Path, tmp_path: Path) -> None:
    folder = faults / "join-by-rank"
    catalog, *_ = prepared(tmp_path, "--interactions", folder / "log.csv", "--items", folder / "items.csv")
    assert all(catalog.title(item) == f"Film {item_id}" for item, item_id in enumerate(catalog.item_ids))


@pytest.mark.parametrize("folder", ["date-by-other-name", "rank-on-page"])
def test_histories_follow_the_time(faults: Path, tmp_path: Path, folder: str) -> None:
    _, log, histories = prepared(tmp_path, "--interactions", faults / folder / "log.csv")
    first = ["i4", "i3", "i2", "i1", "i0"] if folder == "date-by-other-name" else ["i0", "i1", "i2", "i3", "i4"]
    assert histories["u0"] == first
    assert log.times is not None


@pytest.mark.parametrize("folder", ["vectors-without-items", "recbole-vectors"])
def test_vectors_belong_to_the_ids_they_are_rows_of(
    faults: Path, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from sidestep.vectors.item_vectors import ItemVectors

    monkeypatch.chdir(faults / folder)
    done = succeed("embed", "recipe.toml", "--out", tmp_path / "run")
    rows = np.load("v.npy")
    ids = Catalog.load(tmp_path / "run" / "catalog").item_ids
    np.testing.assert_array_equal(ItemVectors.load(tmp_path / "run" / "vectors").values, rows[[int(i) for i in ids]])
    assert ("row i is taken for the item with id i" in done.err) == (folder == "vectors-without-items")


def test_the_named_file_of_ratings_is_read(faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(faults / "movielens-named-file")
    succeed("prepare", "recipe.toml", "--out", tmp_path / "run")
    assert len(Interactions.load(tmp_path / "run" / "interactions")) == 5


def test_zeros_of_a_rating_are_counted_aloud(faults: Path, tmp_path: Path) -> None:
    path = faults / "rating-by-other-name" / "log.csv"
    done = succeed("init", "--interactions", path, "--out", tmp_path / "r.toml")
    assert "'Book-Rating' looks like a rating (10 of 25 rows have 0 in it)" in done.out


def test_offset_codes_are_judged_as_plain_ones(faults: Path) -> None:
    plain, offset = (
        json.loads(succeed("sids", "report", faults / "sid-tables" / f"{name}.npy", "--json").out)["tables"][0]
        for name in ("plain", "offset")
    )
    assert [level["size"] for level in offset["levels"]] == [8, 8, 8]
    assert {**offset, "name": ""} == {**plain, "name": ""}


def test_the_mark_is_no_part_of_the_first_id(faults: Path) -> None:
    from sidestep.cli.parsing import read_ids_or_file, read_question

    assert read_ids_or_file(str(faults / "bom" / "allow.txt"), "--allow") == ["P0003", "P0017"]
    assert read_question(None, None, faults / "bom" / "histories.jsonl", False).histories == [["P0001", "P0002"]]


def test_null_words_are_counted_and_named(faults: Path, tmp_path: Path) -> None:
    done = succeed("init", "--interactions", faults / "null-words" / "log.csv", "--out", tmp_path / "r.toml")
    assert "dropped 5 of 25 rows" in done.out
    assert "'NULL' 5 times" in done.out


def test_objects_with_free_keys_stay_one_column(faults: Path, tmp_path: Path) -> None:
    folder, items = faults / "free-keys", tmp_path / "x.jsonl"
    made = subprocess.run([sys.executable, folder / "make.py", "4000"], capture_output=True, check=True)
    items.write_bytes(made.stdout)
    catalog, *_ = prepared(tmp_path, "--interactions", folder / "log.csv", "--items", items)
    number = catalog.item_ids[0].removeprefix("i")
    assert catalog.table["details"][0] == f'{{"k{number}": "v"}}'
    assert len(catalog.table.columns) < 10


def test_every_small_input_is_tried_here(faults: Path) -> None:
    tried = Path(__file__).read_text(encoding="utf-8")
    folders = [path.name for path in faults.iterdir() if path.is_dir()]
    assert len(folders) >= 15
    assert [name for name in folders if name not in tried] == []

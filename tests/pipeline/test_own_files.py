"""Somebody's own files, good and bad: `init`, then `run`; and what is said of every kind of damage."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from command import MODEL, refuse, snapshot, succeed
from own_shop import ITEMS, LENGTH, USERS, write_shop
from sidestep import artifact
from sidestep.cli.parsing import read_ids_or_file

RECIPE = 'method = "s2gr"\n[data]\npath = "{path}"\nuser = "customer"\nitem = "sku"\ntime = "when"\n'


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    write_shop(folder)
    return folder


@pytest.fixture
def recipe(shop: Path) -> Path:
    path = shop.parent / "mine.toml"
    path.write_text(RECIPE.format(path=shop) + 'interactions = "log.csv"\nitems = "items.csv"\n')
    return path


def refused(recipe: Path, *overrides: str, last: str = "prepare") -> str:
    """The message; nothing is left behind."""
    out = recipe.parent / "run"
    message = refuse(last, recipe, *MODEL, *overrides, "--out", out)
    assert not out.exists()
    return message


def test_init_says_what_it_found_and_writes_a_recipe_that_runs(shop: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "found.toml"
    done = succeed("init", "--interactions", shop / "log.csv", "--items", shop / "items.csv", "--out", recipe)
    assert f"{USERS} users, {ITEMS} items, {USERS * LENGTH} interactions" in done.out
    assert f"Next: sidestep run {recipe}" in done.out
    run = tmp_path / "run"
    succeed("run", recipe, *MODEL, "--out", run)
    answer = json.loads(succeed("recommend", run, "--history", "0003,0007", "--k", 2, "--json").out)[0]
    assert all(entry["item_id"].startswith("00") for entry in answer["recommendations"])
    assert all(entry["title"].startswith("<b>") for entry in answer["recommendations"])


def test_init_overwrites_nothing_unless_told_to(shop: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "found.toml"
    recipe.write_text("mine")
    words = ("init", "--interactions", shop / "log.csv", "--out", recipe)
    assert "exists; choose another --out" in refuse(*words)
    assert recipe.read_text() == "mine"
    succeed(*words, "--force")
    assert "[data]" in recipe.read_text()


def test_init_names_what_it_cannot_read(tmp_path: Path) -> None:
    assert "No file" in refuse("init", "--interactions", tmp_path / "log.csv", "--out", tmp_path / "r.toml")
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    refuse("init", "--interactions", tmp_path / "log.csv", "--out", tmp_path / "r.toml")
    assert not (tmp_path / "r.toml").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.interactions=logg.csv"], "did you mean 'log.csv'?"),
        (["data.path=/nowhere"], "'/nowhere"),
        (["data.user=costumer"], "no column 'costumer' (data.user); did you mean 'customer'?"),
        (["data.item_id=asin"], "no column 'asin' (data.item_id)"),
        (["data.text_fields=['titel']"], "no column 'titel' (data.text_fields); did you mean 'title'?"),
        (["data.order=sku", "data.time=customer", "data.time_unit=iso"], "'000'"),
        (["data.min_length=50"], "the longest history has 6; lower them"),
        (["embed.kind=file"], "kind = 'file' needs embed.path"),
    ],
)
def test_settings_that_do_not_fit_the_files_are_named(recipe: Path, overrides: list[str], message: str) -> None:
    assert message in refused(recipe, *overrides)


def damage_empty(shop: Path) -> None:
    (shop / "log.csv").write_text("customer,sku,when\n")


def damage_short(shop: Path) -> None:
    (shop / "log.csv").write_text("customer,sku,when\na,0001,5\na,0002,6\nb,0001,7\n")


def damage_unknown_item(shop: Path) -> None:
    with (shop / "log.csv").open("a") as file:
        file.write("000,9999,1800000000\n")


def damage_duplicate(shop: Path) -> None:
    with (shop / "items.csv").open("a") as file:
        file.write("0003,again\n")


def damage_type(shop: Path) -> None:
    with (shop / "log.csv").open("a") as file:
        file.write("000,0001,yesterday\n")


def damage_missing_items(shop: Path) -> None:
    (shop / "items.csv").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_empty, "holds no interactions; expected at least one"),
        (damage_short, "the longest history has 2 interactions; 3 hold a user out"),
        (damage_unknown_item, "Unknown item '9999'.*data.unknown_items = \"drop\""),
        (damage_duplicate, "Item '0003' stands 2 times.*data.duplicate_items = \"first\""),
        (damage_type, "'yesterday'"),
        (damage_missing_items, "No file .*items.csv"),
    ],
)
def test_bad_files_are_refused_and_leave_no_run_folder(
    recipe: Path, shop: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(shop)
    assert re.search(message, refused(recipe, last="run"))


def test_the_ways_out_that_are_named_lead_out(recipe: Path, shop: Path, tmp_path: Path) -> None:
    damage_unknown_item(shop)
    damage_duplicate(shop)
    ways = ("data.unknown_items=drop", "data.duplicate_items=first")
    done = succeed("prepare", recipe, *MODEL, *ways, "--out", tmp_path / "run")
    assert "dropped 1 interactions with 1 unknown items" in done.err


def test_users_who_are_too_short_are_counted_aloud_and_kept(recipe: Path, shop: Path, tmp_path: Path) -> None:
    with (shop / "log.csv").open("a") as file:
        file.write("short,0001,1700000000\n")
    done = succeed("prepare", recipe, *MODEL, "--out", tmp_path / "run")
    assert "1 users have nothing held out (too short, or not in its time); training keeps them" in done.err
    assert f"{USERS + 1} users" in done.err


def test_a_truncated_gzip_is_refused(recipe: Path, shop: Path) -> None:
    packed = gzip.compress((shop / "log.csv").read_bytes())
    (shop / "log.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert "is truncated" in refused(recipe, "data.interactions=log.csv.gz")


@pytest.mark.parametrize(
    ("rows", "message"),
    [(ITEMS - 1, "vectors.npy"), (ITEMS, "NaN or infinity, the first is row 4")],
    ids=["wrong length", "NaN"],
)
def test_bad_vectors_are_refused_and_whole_stages_alone_remain(
    recipe: Path, shop: Path, tmp_path: Path, rows: int, message: str
) -> None:
    vectors = np.random.default_rng(0).standard_normal((rows, 8)).astype(np.float32)
    vectors[4] = np.nan if rows == ITEMS else 0
    np.save(shop / "vectors.npy", vectors)
    out = tmp_path / "run"
    assert message in refuse("run", recipe, *MODEL, "embed.path=vectors.npy", "--out", out)
    assert {path.name for path in out.iterdir()} == {"recipe.json", "catalog", "interactions"}
    for name in ("catalog", "interactions"):
        artifact.verify(out / name)
    before = snapshot(out)
    vectors = np.random.default_rng(0).standard_normal((ITEMS, 8)).astype(np.float32)
    np.save(shop / "vectors.npy", vectors)
    succeed("embed", recipe, *MODEL, "embed.path=vectors.npy", "--out", out)
    assert before.items() <= snapshot(out).items()


def test_a_mended_recipe_goes_on_in_the_folder_of_the_one_that_was_refused(
    recipe: Path, shop: Path, tmp_path: Path
) -> None:
    vectors = np.random.default_rng(0).standard_normal((ITEMS, 8)).astype(np.float32)
    np.save(shop / "good.npy", vectors)
    np.save(shop / "bad.npy", vectors[1:])
    out = tmp_path / "run"
    refuse("embed", recipe, *MODEL, "embed.path=bad.npy", "--out", out)
    succeed("embed", recipe, *MODEL, "embed.path=good.npy", "--out", out)
    before = snapshot(out)
    refuse("embed", recipe, *MODEL, "embed.path=bad.npy", "--out", out)
    assert snapshot(out) == before
    refuse(
        "embed", recipe, *MODEL, "embed.path=bad.npy", "--out", out, "--force"
    )  # the recipe is theirs now, no vector is
    succeed("embed", recipe, *MODEL, "embed.path=good.npy", "--out", out)
    assert snapshot(out).items() >= {name: file for name, file in before.items() if name != "recipe.json"}.items()


def test_interactions_alone_are_enough(shop: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "bare.toml"
    recipe.write_text(RECIPE.format(path=shop) + 'interactions = "log.csv"\n')
    done = succeed("run", recipe, *MODEL, "--out", tmp_path / "run", "--json")
    assert {row["method"] for row in json.loads(done.out)["rows"]} == {
        "popularity",
        "item-knn",
        "item-knn-recent",
        "s2gr",
    }


def test_files_that_changed_since_they_were_read_are_noticed(recipe: Path, shop: Path, tmp_path: Path) -> None:
    words = ("prepare", recipe, *MODEL, "--out", tmp_path / "run")
    succeed(*words)
    before = snapshot(tmp_path / "run")
    with (shop / "log.csv").open("a") as file:
        file.write("000,0001,1800000000\n")
    assert "log.csv' was changed since" in refuse(*words)
    assert snapshot(tmp_path / "run") == before
    assert f"{USERS * LENGTH + 1} interactions" in succeed(*words, "--force").err


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a"])
def test_recommendations_are_written_as_the_name_says(finished: Path, tmp_path: Path, name: str) -> None:
    succeed("recommend", finished, "--user", "u01", "--k", 3, "--out", tmp_path / name)
    read: dict[str, Callable[[Path], pl.DataFrame]] = {
        "a.csv": pl.read_csv,
        "a.tsv": lambda path: pl.read_csv(path, separator="\t"),
        "a.jsonl": pl.read_ndjson,
    }
    table = read.get(name, pl.read_parquet)(tmp_path / name)
    answer = json.loads(succeed("recommend", finished, "--user", "u01", "--k", 3, "--json").out)[0]
    assert table["item_id"].to_list() == [entry["item_id"] for entry in answer["recommendations"]]


def test_a_format_that_nothing_writes_is_refused_before_any_work(finished: Path, tmp_path: Path) -> None:
    line = refuse("recommend", finished, "--user", "u01", "--out", tmp_path / "a.xlsx")
    assert "no table is written as '.xlsx'; expected one of .parquet, .pq, .csv" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["\ufeffP01\r\nP02\r\n", "P01\nP02", "\ufeffP01\rP02\r"])
def test_lists_of_ids_are_lines_whatever_marks_and_ends_they_have(tmp_path: Path, content: str) -> None:
    (tmp_path / "ids.txt").write_bytes(content.encode())
    assert read_ids_or_file(str(tmp_path / "ids.txt"), "--allow") == ["P01", "P02"]

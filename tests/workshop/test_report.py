"""Laws of `sidestep sids report`: tables from anywhere are judged alike, and what does not fit is refused in a line."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from command import contents, refuse, succeed
from sidestep.data.catalog import Catalog
from sidestep.errors import DataError
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.sids.semantic_ids import Ints
from sidestep.workshop.evidence import ReportOptions, labels_as_text
from sidestep.workshop.report import judge_run
from sidestep.workshop.tables import Table, read_file, same_items
from small_world import make_sids

NUM_ITEMS = 30


def report(*words: object) -> list[dict[str, Any]]:
    tables = json.loads(succeed("sids", "report", *words, "--json").out)["tables"]
    assert isinstance(tables, list)
    return tables


def told_by_codes(table: dict[str, Any]) -> dict[str, Any]:
    """What does not hang on the tokenizer, nor on the name."""
    hidden = ("name", "missing", "levels")
    levels = [
        {name: level[name] for name in ("used", "entropy", "prefixes", "together", "v_measure", "variance_left")}
        for level in table["levels"]
    ]
    return {**{name: value for name, value in table.items() if name not in hidden}, "by level": levels}


def beats_chance(share: dict[str, float]) -> bool:
    return share["value"] > 1.5 * share["chance"]


@pytest.fixture
def codes(finished: Path) -> Ints:
    return RunContents(Run.open(finished)).sids.codes


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.html"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Files from elsewhere: thirty items, ten shoppers, vectors, and a table of codes; two items nobody touched."""
    rng, touched = np.random.default_rng(0), np.delete(np.arange(NUM_ITEMS), [4, 17])
    folder = tmp_path / "shop"
    folder.mkdir()
    with (folder / "items.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "title", "category", "maker"])
        rows.writerows([f"i{n}", f"Thing {n}", f"kind {n % 3}" if n % 5 else "", f"m{n % 2}"] for n in range(NUM_ITEMS))
    with (folder / "log.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "position"])
        for user in range(10):
            rows.writerows(
                [f"u{user}", f"i{item}", at]
                for at, item in enumerate(touched[(user * 7 + np.arange(7)) * 3 % len(touched)])
            )
    np.save(folder / "vectors.npy", rng.standard_normal((NUM_ITEMS, 6)).astype(np.float32))
    codes = np.column_stack([np.arange(NUM_ITEMS) % 3, np.arange(NUM_ITEMS) // 6, np.arange(NUM_ITEMS) % 2])
    np.savez(folder / "tables.npz", by_kind=codes.astype(np.int16), other=codes[:, ::-1])
    return folder


def test_a_run_and_its_own_codes_from_a_file_are_judged_alike(
    finished: Path, codes: Ints, tmp_path: Path, page: Path
) -> None:
    np.save(tmp_path / "same.npy", np.vstack([codes, codes.max(axis=0)])[:-1])
    own, other = report(finished, tmp_path / "same.npy", "--out", page)
    sizes = [level["size"] for level in own["levels"]]
    if [level["size"] for level in other["levels"]] == sizes:
        assert own["cur"] == other["cur"]
    own.pop("cur"), other.pop("cur")
    assert told_by_codes(own) == told_by_codes(other)
    assert own["levels"][0]["reconstruction"] is not None
    assert other["levels"][0]["reconstruction"] is None
    assert {"category", "brand", "co-purchase"} <= set(own["purity"])


def test_judge_run_is_the_first_row_of_the_report(finished: Path, page: Path) -> None:
    (table,) = report(finished, "--out", page)
    quality = judge_run(Run.open(finished))
    assert table["icr"] == quality.icr
    assert table["purity"]["brand"]["value"] == quality.purity["brand"].value
    assert [level["decoded"] for level in table["levels"]] == [level.decoded for level in quality.levels]


def test_a_cut_table_is_the_table_of_its_first_levels(finished: Path, codes: Ints, tmp_path: Path, page: Path) -> None:
    np.savez(tmp_path / "tables.npz", whole=codes, short=codes[:, :2])
    whole, cut, short = report(tmp_path / "tables.npz", finished, "--cut", 2, "--out", page)[:3]
    assert cut["name"] == "whole [:2]"
    assert told_by_codes(cut) == told_by_codes(short)
    assert len(whole["levels"]) == 3


def test_the_page_and_the_terminal_show_what_was_asked(finished: Path, codes: Ints, tmp_path: Path, page: Path) -> None:
    np.save(tmp_path / "other.npy", codes[:, ::-1])
    alone = succeed("sids", "report", finished, "--out", page)
    assert "V-measure, category" in alone.out
    assert "latents left" in alone.out
    several = succeed("sids", "report", finished, tmp_path / "other.npy", "--out", page)
    assert several.out.index("finished") < several.out.index("other")
    assert max(len(line) for line in several.out.splitlines() if "Columns" not in line) <= 120
    assert page.read_text().startswith("<!doctype html>")


def test_without_a_name_the_page_stands_in_the_run(finished: Path, tmp_path: Path, shop: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = contents(run)
    assert str(run / "sids.html") in succeed("sids", "report", run).err
    assert contents(run).keys() - before.keys() == {"sids.html"}
    files = contents(shop)
    assert json.loads(succeed("sids", "report", shop / "tables.npz", "--json").out)["page"] is None
    assert contents(shop) == files


def test_files_alone_tell_what_they_can_and_say_what_they_cannot(shop: Path) -> None:
    bare, _ = report(shop / "tables.npz")
    assert bare["purity"] == {}
    assert bare["items"] == NUM_ITEMS
    assert all(
        any(option in reason for reason in bare["missing"]) for option in ("--catalog", "--interactions", "--vectors")
    )
    with_vectors, _ = report(shop / "tables.npz", "--vectors", shop / "vectors.npy")
    assert with_vectors["levels"][0]["variance_left"] is not None
    with_items, reverse = report(shop / "tables.npz", "--catalog", shop / "items.csv", "--brand", "maker")
    assert beats_chance(with_items["purity"]["category"])
    assert beats_chance(reverse["purity"]["brand"])
    everything, _ = report(
        *(shop / "tables.npz", "--catalog", shop / "items.csv", "--brand", "maker"),
        *("--interactions", shop / "log.csv", "--vectors", shop / "vectors.npy"),
    )
    assert everything["targets"] == 10
    assert everything["purity"].keys() == {"category", "brand", "co-purchase"}
    assert everything["purity"]["category"] == with_items["purity"]["category"]
    assert [reason for reason in everything["missing"] if "give" in reason] == []


@pytest.fixture
def shop_run(shop: Path, tmp_path: Path) -> Path:
    """A run on the shop's files, which drops the two items that nobody touched."""
    run = tmp_path / "run"
    settings = (f"data.path={shop}", "data.interactions=log.csv", "data.items=items.csv", "data.order=position")
    small = ("tokenizer.codebook_size=4", "tokenizer.hidden=[8]", "tokenizer.epochs=1", "embed.width=8")
    succeed("tokenize", "s2gr-planted", "data.source=table", *settings, *small, "--out", run)
    return run


def test_rows_of_a_file_follow_the_items_file_where_the_catalogue_is_smaller(shop: Path, shop_run: Path) -> None:
    own, table, _ = report(shop_run, shop / "tables.npz")
    assert table["items"] == own["items"] == NUM_ITEMS - 2
    assert beats_chance(table["purity"]["category"])


def test_a_later_version_of_a_run_is_judged_with_its_new_items(shop: Path, shop_run: Path) -> None:
    (shop / "new.csv").write_text("item_id,title,category,maker\ni100,Thing 7,kind 1,m1\ni101,Thing 8,kind 2,m0\n")
    succeed("sids", "append", shop_run, "--items", shop / "new.csv")
    (second,), (first,) = report(f"{shop_run}@2"), report(shop_run)
    assert (second["items"], first["items"]) == (NUM_ITEMS, NUM_ITEMS - 2)
    assert any("appended" in reason for reason in second["missing"])
    assert "expected the 28 of the first run" in refuse("sids", "report", shop_run, f"{shop_run}@2")


def test_a_run_in_another_order_of_items_is_put_into_the_first_ones(finished: Path) -> None:
    ids = [f"i{number}" for number in range(40)]
    sids, order = make_sids(40), np.random.default_rng(1).permutation(40)
    first = Catalog(pl.DataFrame({"item_id": ids}))
    other = Catalog(pl.DataFrame({"item_id": [ids[item] for item in order]}))
    table = Table("other", sids.codes[order], sids.codebook_sizes)
    assert (same_items(table, other, first).codes == sids.codes).all()
    with pytest.raises(DataError, match="has 39 items, and not 'i39'"):
        same_items(table, Catalog(pl.DataFrame({"item_id": ids[:39]})), first)


def test_the_items_behind_a_code_are_those_that_have_it_most_popular_first(finished: Path, codes: Ints) -> None:
    contents = RunContents(Run.open(finished))
    code = int(codes[0, 0])
    rows = json.loads(succeed("sids", "report", finished, "--code", code, "--json").out)
    assert {row["item_id"] for row in rows} == {
        contents.catalog.item_ids[i] for i in np.flatnonzero(codes[:, 0] == code)
    }
    assert [row["popularity"] for row in rows] == sorted((row["popularity"] for row in rows), reverse=True)
    assert all(row["title"] and row["category"] for row in rows)
    deeper = json.loads(succeed("sids", "report", finished, "--code", f"{code},{codes[0, 1]}", "--json").out)
    assert {row["item_id"] for row in deeper} <= {row["item_id"] for row in rows}
    assert all(row["sid"][:2] == [code, codes[0, 1]] for row in deeper)
    assert rows[0]["title"][:20] in succeed("sids", "report", finished, "--code", code).out
    assert not (finished / "sids.html").exists()


def test_a_table_without_a_catalogue_lists_items_by_number(shop: Path) -> None:
    rows = json.loads(succeed("sids", "report", shop / "tables.npz", "--code", "0,0", "--json").out)
    assert [row["item_id"] for row in rows] == ["0", "3"]
    assert "0,0,1" in succeed("sids", "report", shop / "tables.npz", "--code", "0,0").out


def test_a_code_that_no_item_has_says_so(shop: Path) -> None:
    np.save(shop / "gap.npy", np.array([[0], [2]]))
    assert succeed("sids", "report", shop / "gap.npy", "--code", "1").out.startswith("No item")
    assert json.loads(succeed("sids", "report", shop / "gap.npy", "--code", "1", "--json").out) == []


def bad_tables(folder: Path) -> Iterator[tuple[str, str]]:
    """File names and a word of the complaint."""
    good = np.zeros((NUM_ITEMS, 2), dtype=np.int64)
    for name, array, complaint in (
        ("negative.npy", good - 1, "code -1 in row 0 at level 1"),
        ("floats.npy", good + 0.5, "float64"),
        ("flat.npy", good[:, 0], "shape [30]"),
        ("empty.npy", good[:0], "shape [0, 2]"),
        ("huge.npy", good + 2**40, "1099511627776"),
        ("short.npy", good[:-1], "29 rows, expected 30"),
        ("objects.npy", np.array([["a", {}]], dtype=object), "Cannot read"),
    ):
        np.save(folder / name, array)
        yield name, complaint
    np.savez(folder / "none.npz")
    yield "none.npz", "no arrays"
    (folder / "text.npz").write_text("not an archive")
    yield "text.npz", "Cannot read"
    (folder / "nothing").mkdir()
    yield "nothing", "no run folder"
    yield "absent.npz", "No file or folder"


def test_tables_that_are_none_are_refused_in_a_line(shop: Path, page: Path) -> None:
    for name, complaint in bad_tables(shop):
        line = refuse("sids", "report", shop / name, "--catalog", shop / "items.csv", "--out", page)
        assert complaint in line, line
        assert name in line
    assert not page.exists()


def test_options_that_do_not_fit_are_refused_in_a_line(finished: Path, shop: Path, tmp_path: Path) -> None:
    tables, items = shop / "tables.npz", shop / "items.csv"
    np.save(shop / "one.npy", np.zeros((NUM_ITEMS + 1, 2), dtype=np.int64))
    empty = tmp_path / "begun"
    empty.mkdir()
    shutil.copy(finished / "recipe.json", empty)
    for words, complaint in (
        ((tables, "--cut", 0), "--cut is 0"),
        ((tables, "--code", "3"), "code from 0 to 2"),
        ((tables, "--code", "-1"), "code from 0 to 2"),
        ((tables, "--code", "0,0,0,0"), "expected 1 to 3"),
        ((tables, "--code", "a"), "'a'"),
        ((tables, "--catalog", items, "--category", "categry"), "did you mean 'category'"),
        ((tables, "--brand", "maker"), "--catalog"),
        ((tables, "--interactions", shop / "log.csv"), "needs --catalog"),
        ((tables, shop / "one.npy"), "31"),
        ((finished, "--catalog", items), "leave out one of the two"),
        ((tables, "--catalog", shop / "absent.csv"), "No file"),
        ((tables, "--out", shop), "is a folder"),
        ((empty,), "sidestep tokenize"),
        ((finished, tables), "30 rows, expected 48"),
    ):
        line = refuse("sids", "report", *words)
        assert complaint in line, line


@pytest.mark.slow
def test_beauty_and_the_published_tables_have_a_row_each(beauty: Path, tmp_path: Path) -> None:
    items = ("--catalog", beauty / "items.jsonl.gz", "--interactions", beauty / "interactions.csv.gz")
    tables = report(beauty / "published_sids.npz", *items, "--cut", 3)
    assert len(tables) == 38
    quasid = next(table for table in tables if table["name"] == "collisiongenrec_quasid_native [:3]")
    assert quasid["icr"] == pytest.approx(0.981, abs=5e-4)  # the best three-level table there
    assert quasid["targets"] == 22_363


def test_a_table_has_no_rows_of_appended_items(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.zeros((3, 2), dtype=np.int64))
    grown = Catalog(pl.DataFrame({"item_id": ["a", "b", "c"], "source_row": [0, 1, None]}))
    with pytest.raises(DataError, match="1 appended items have no row there; report on version 1"):
        read_file(tmp_path / "ids.npy", grown)


def test_a_number_that_is_none_is_no_label() -> None:
    catalog = Catalog(pl.DataFrame({"item_id": ["a", "b", "c"], "brand": [7.0, float("nan"), None]}))
    assert labels_as_text(catalog, "brand", ReportOptions()) == ["7.0", "", ""]

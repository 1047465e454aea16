"""`init` says what is there, and the recipe it writes reads exactly that."""

import gzip
import json
import tomllib
from pathlib import Path

import polars as pl
import pytest

import sidestep
from command import refuse, succeed
from sidestep.config import build
from sidestep.data.inspect import Findings, inspect
from sidestep.data.sources import DataConfig, read
from sidestep.errors import DataError
from sidestep.methods.starting import recipe


def reread(findings: Findings) -> None:
    """The law of the recipe: its [data], read anew, gives the counts that were printed."""
    written = tomllib.loads(recipe(findings))
    assert written["method"] == "s2gr"
    data = read(build(DataConfig, written["data"]), seed=0)
    assert data.interactions.num_users == findings.users
    assert len(data.catalog) == findings.items
    assert len(data.interactions) == findings.interactions
    assert data.interactions.absolute_times == (findings.span is not None and findings.config.absolute_times)


def csv(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


SHOP = ("u,1,2014-01-01,5", "u,2,2014-01-02,1", "u,1,2014-01-02,4", "v,2,2014-01-01,5", "w,1,2014-03-01,3")


def test_columns_are_guessed_counted_and_measured(tmp_path: Path) -> None:
    found = inspect(csv(tmp_path / "log.csv", "Customer ID,sku,Date,rating", *SHOP))
    assert (found.config.user, found.config.item, found.config.time) == ("Customer ID", "sku", "Date")
    assert found.config.time_unit == "iso"
    assert (found.users, found.items, found.interactions) == (3, 2, 5)
    assert found.lengths == (1, 1.0, 3)
    assert found.density == pytest.approx(5 / 6)
    assert found.repeats == pytest.approx(1 / 5)
    assert found.ties == pytest.approx(1 / 2)
    assert found.long_enough == pytest.approx((1 / 3, 0))
    assert found.text == 0
    said = "\n".join(found.lines())
    for part in ("3 users, 2 items, 5 interactions", "2014-01-01 to 2014-03-01", "'rating' looks like a rating"):
        assert part in said
    reread(found)


def test_the_files_of_the_example_are_read_without_a_question(tmp_path: Path) -> None:
    succeed("example", tmp_path)
    found = inspect(tmp_path / "log.csv", tmp_path / "items.csv")
    assert found.problems == []
    assert (found.users, found.items, found.interactions) == (400, 144, 4_699)
    assert found.config.text_fields == ["title", "brand", "category"]  # in_stock says yes and no, which is no text
    roles = {taken.column: taken.role for taken in found.columns}
    assert {name: roles[name] for name in ("price", "in_stock")} == dict.fromkeys(("price", "in_stock"), "metadata")
    reread(found)
    log, items = sidestep.example()
    assert log.equals(pl.read_csv(tmp_path / "log.csv"))
    assert items.equals(pl.read_csv(tmp_path / "items.csv"))
    assert "exists; choose another folder" in refuse("example", tmp_path)
    succeed("example", tmp_path, "--force")


def test_the_join_column_and_the_public_id_are_found_by_their_values(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", "user,item,position", "u,2,0", "u,1,1", "v,2,0")
    (tmp_path / "other").mkdir()
    items = tmp_path / "other" / "catalogue.jsonl.gz"
    rows = [{"number": n, "asin": f"B{n}", "title": f"Soap {n}", "year": 1990} for n in (3, 1, 2)]
    items.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    found = inspect(log, items)
    assert (found.config.item_key, found.config.item_id) == ("number", "asin")
    assert found.config.text_fields == ["title"]
    assert found.text == 1
    assert (found.config.order, found.config.time) == ("position", None)
    assert any("1 of 3 items have no interactions" in problem for problem in found.problems)
    reread(found)


def test_doors_that_the_files_need_are_opened_and_told(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", "user_id,item_id", "u,1", "u,9", "u,2", "v,1")
    items = csv(tmp_path / "items.csv", "item_id,title", "1,Soap", "2,Comb", "1,Soap again")
    found = inspect(log, items)
    assert (found.config.unknown_items, found.config.duplicate_items) == ("drop", "first")
    said = "\n".join(found.lines())
    assert "1 interactions name unknown items" in said
    assert "the items file repeats items" in said
    assert "no column of times or positions" in said
    reread(found)


@pytest.mark.parametrize(
    ("header", "rows", "problem"),
    [
        ("user_id,item_id,time", ("u,1,7", "u,2,7", "v,1,7"), "every row has the same 'time'"),
        ("user_id,item_id", ("u,1", " u,2", "v,1"), "1 values of user_id begin or end with blanks"),
        ("user_id,item_id", ("u,b", "u,B", "v,c"), "1 values of item_key differ from another only in case"),
        ("user_id,item_id", ("u,1", "u,2", "v,1"), "no user has 3 interactions"),
        ("user_id,item_id", ("u,1", "u,2", "u,3", "v,1"), "no user has 4 interactions"),
        ("user_id,item_id,date", ("u,1,soon", "u,2,later"), "looks like a time but cannot be read"),
        (
            "user_id,item_id,time",
            [f"u,{n},{4_090_000_000 + n}" for n in range(19)] + ["u,19,4105000000"],
            "after the year 2100",
        ),
        ("user_id,item_id", ("u,1", "u,2", "u,3", "u,4", "v,1", "w,1"), "most users have fewer than 5"),
        ("user_id,item_id,time,overall", ("u,1,5,1", "u,2,6,5"), "column 'overall' looks like a rating"),
        ("user_id,item_id,time,click", ("u,1,5,1", "u,2,6,0", "u,3,7,0"), "column 'click' holds 0 (2 rows) and 1 (1)"),
        ("user_id,item_id,time", ("u,1,5", "u,1,5", "u,2,6"), "1 repeated rows"),
        ("user_id,item_id", [f"u{n},{max(n - 30, 0)}" for n in range(60)], "item '0' takes 52% of all"),
    ],
)
def test_what_looks_wrong_is_said_and_the_recipe_still_runs(
    tmp_path: Path, header: str, rows: tuple[str, ...], problem: str
) -> None:
    found = inspect(csv(tmp_path / "log.csv", header, *rows))
    assert any(problem in line for line in found.problems), found.problems
    assert any(f"look at this: {line}" in found.lines() for line in found.problems)
    reread(found)


def test_a_rating_is_noted_beside_one_of_the_items(tmp_path: Path) -> None:
    log = csv(tmp_path / "log.csv", "user_id,item_id,rating", "u,1,4", "u,2,5", "v,1,3")
    items = csv(tmp_path / "items.csv", "item_id,rating,title", "1,4.5,Blue bowl", "2,3.9,Red bowl")
    assert any("'rating' looks like a rating" in line for line in inspect(log, items).problems)


def test_one_label_in_two_spellings_is_not_two(tmp_path: Path) -> None:
    found = inspect(csv(tmp_path / "log.csv", "user_id,item_id,click", "u,1,1", "u,2, 1", "v,1,1"))
    assert not any("'click'" in line for line in found.problems)


def test_times_that_count_from_some_start_are_not_absolute(tmp_path: Path) -> None:
    found = inspect(csv(tmp_path / "log.csv", "user_id,item_id,rel_seconds", "u,1,0", "u,2,86400", "v,1,0"))
    assert not found.config.absolute_times
    assert "times: relative, over 1.0 days" in "\n".join(found.lines())
    reread(found)


def test_odd_names_survive_the_recipe(tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted" \\ folder, ключ'
    folder.mkdir()
    found = inspect(csv(folder / "lög.csv", "User Id,item_id", "u,1", "u,2"))
    reread(found)


def test_published_layouts_are_recognised(tmp_path: Path) -> None:
    lines = [json.dumps({"reviewerID": "A", "asin": f"B{n}", "unixReviewTime": 1_400_000_000 + n}) for n in range(3)]
    (tmp_path / "reviews_X_5.json").write_text("\n".join(lines))
    (tmp_path / "meta_X.json").write_text("\n".join(repr({"asin": f"B{n}", "title": "It's"}) for n in range(3)))
    found = inspect(tmp_path / "reviews_X_5.json", tmp_path / "meta_X.json")
    assert found.config.source == "amazon"
    assert found.text == 1
    reread(found)
    (tmp_path / "toy.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ta\t5\n")
    assert inspect(tmp_path / "toy.inter").config.source == "recbole"
    (tmp_path / "u.data").write_text("1\t2\t3\t4\n")
    found = inspect(tmp_path / "u.data")
    assert found.config.source == "movielens"
    reread(found)


def test_a_log_whose_columns_say_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"which column of .* holds the users: a, b; name it with --user COLUMN.*data.user"
    ):
        inspect(csv(tmp_path / "log.csv", "a,b", "u,1"))
    with pytest.raises(DataError, match="No file"):
        inspect(tmp_path / "absent.csv")

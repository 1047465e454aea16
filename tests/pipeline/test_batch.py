"""What a run does by the shard is what it does at once."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from command import contents, refuse, succeed
from sidestep import load
from sidestep.pipeline.batch import Assign, Embed, Recommend
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run


def items_of(run: Path, folder: Path, count: int = 40) -> Path:
    """New items with the words of known ones, in two files; the last has no words."""
    table = RunContents(Run.open(run)).catalog.table.drop("text")
    new = table.head(count).with_columns(pl.Series("item_id", [f"new-{row}" for row in range(count)]))
    new = new.with_columns(title=pl.col("title") + " of 1932", categories=pl.col("categories").shuffle(seed=0))
    new[-1, "title"] = new[-1, "brand"] = None
    folder.mkdir()
    new[:25].write_parquet(folder / "a.parquet")
    new[25:].write_parquet(folder / "b.parquet")
    return folder


def rows(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("part-*.parquet"))])


def test_vectors_and_ids_by_the_shard_are_those_of_items_that_are_appended_at_once(
    finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    items = items_of(run, tmp_path / "items")
    succeed("batch", "embed", run, items, "--out", tmp_path / "vectors", "--rows", 8)
    succeed("batch", "assign", run, tmp_path / "vectors", "--out", tmp_path / "ids", "--rows", 12)
    codes = rows(tmp_path / "ids")
    together = pl.read_parquet(items / "*.parquet")
    together.write_parquet(tmp_path / "together.parquet")
    succeed("sids", "append", run, "--items", tmp_path / "together.parquet")
    appended = RunContents(Run.open(run), 2)
    assert codes["item_id"].to_list() == together["item_id"].to_list() == appended.catalog.item_ids[48:]
    assert np.array_equal(np.array(codes["codes"].to_list()), appended.sids.codes[48:])
    assert len(set(map(tuple, codes["codes"].to_list()))) > 10


def test_lists_by_the_shard_are_those_of_the_command_that_answers_at_once(finished: Path, tmp_path: Path) -> None:
    model = load(finished)
    users = model.interactions.user_ids[:20]
    (tmp_path / "histories").mkdir()
    table = pl.DataFrame({"user_id": users, "history": model.histories_of(users)})
    table[:13].write_parquet(tmp_path / "histories" / "0.parquet")
    table[13:].write_parquet(tmp_path / "histories" / "1.parquet")
    out = tmp_path / "lists"
    done = succeed(
        "batch", "recommend", finished, tmp_path / "histories", "--out", out, "--k", 3, "--rows", 6, "--json"
    )
    assert json.loads(done.out)["shards"] == 5
    asked = [word for user in users for word in ("--user", user)]
    succeed("recommend", finished, *asked, "--k", 3, "--out", tmp_path / "lists.parquet")
    own, theirs = rows(out), pl.read_parquet(tmp_path / "lists.parquet")
    assert own.drop("score").equals(theirs.drop("score"))
    np.testing.assert_allclose(own["score"], theirs["score"], rtol=0, atol=1e-5)  # other histories searched together


def test_a_bundle_gives_the_lists_of_its_run_and_an_unknown_item_is_refused_or_skipped(
    finished: Path, tmp_path: Path
) -> None:
    known = load(finished).catalog.item_ids[:2]
    table = pl.DataFrame({"user_id": [7, 8, 9], "history": [known, [*known, "no such item"], []]})
    table.write_parquet(tmp_path / "histories.parquet")
    words = (tmp_path / "histories.parquet", "--k", 2, "--out")
    succeed("export", finished, "--to", tmp_path / "bundle")
    line = refuse("batch", "recommend", finished, *words, tmp_path / "refused")
    assert "rows 0 to 2: Unknown item 'no such item'" in line
    for name, model in (("by run", finished), ("by bundle", tmp_path / "bundle")):
        succeed("batch", "recommend", model, *words, tmp_path / name, "--unknown", "skip")
    own = rows(tmp_path / "by run")
    assert own.equals(rows(tmp_path / "by bundle"))
    assert own["asked"].to_list() == ["7", "7", "8", "8", "9", "9"]
    assert own["by"].to_list() == ["model"] * 4 + ["popularity"] * 2


def test_what_a_shard_cannot_tell_is_refused_before_anything_is_written(finished: Path, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.parquet"
    pl.DataFrame({"item_id": ["a"], "vector": [[1.0, 2.0]]}).write_parquet(vectors)
    out = tmp_path / "out"
    assert "vectors have 2 dimensions, those of the run's encoder 16" in refuse(
        "batch", "assign", finished, vectors, "--out", out
    )
    shutil.rmtree(out)
    extra = Path(shutil.copytree(finished, tmp_path / "extra"))
    recipe = Run.open(extra).recipe
    policy = recipe.tokenizer.model_copy(update={"collisions": "extra"})
    Run.open(extra, recipe.model_copy(update={"tokenizer": policy}), force=True).keep_recipe()
    line = refuse("batch", "assign", extra, vectors, "--out", out)
    assert "tokenizer.collisions = 'extra', which depends on all items at once" in line
    assert "No run in" in refuse("batch", "embed", tmp_path, vectors, "--out", out)
    assert "--k is 0" in refuse("batch", "recommend", finished, vectors, "--k", 0, "--out", out)
    assert "no column 'user_id'" in refuse("batch", "recommend", finished, vectors, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user_id": ["a"], "history": ["P01"]}, "Column 'history' holds String, expected lists of item ids"),
        ({"user_id": ["a"], "history": [[0.5]]}, "lists of Float64, expected lists of item ids"),
        ({"user_id": [None, "a"], "history": [["P01"], []]}, "Column 'user_id' lacks 1 ids"),
        ({"user_id": [1.5], "history": [["P01"]]}, "Column 'user_id' holds Float64"),
        ({"user_id": ["a"], "history": [["P01", None]]}, "The history of 'a' holds a missing item id"),
    ],
)
def test_bad_histories_are_one_line_with_the_file_and_the_rows(
    finished: Path, tmp_path: Path, columns: dict[str, list[object]], words: str
) -> None:
    pl.DataFrame(columns, strict=False).write_parquet(tmp_path / "histories.parquet")
    line = refuse("batch", "recommend", finished, tmp_path / "histories.parquet", "--out", tmp_path / "out")
    assert words in line
    assert "histories.parquet', rows 0 to" in line


def test_a_job_holds_nothing_but_its_settings(finished: Path, tmp_path: Path) -> None:
    """It is sent to every worker."""
    for job in (Embed(finished), Assign(finished), Recommend(finished, 3)):
        job.identity()
        assert len(pickle.dumps(job)) < 1_000


def test_the_same_command_again_changes_nothing(finished: Path, tmp_path: Path) -> None:
    items = items_of(finished, tmp_path / "items", 5)
    words = ("batch", "embed", finished, items / "a.parquet", "--out", tmp_path / "vectors")
    succeed(*words)
    before = contents(tmp_path / "vectors")
    assert "1 of them there before" in succeed(*words).out
    assert contents(tmp_path / "vectors") == before

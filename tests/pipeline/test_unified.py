"""End-to-end IDs in a run: learnt, judged, appended to, exported, and refused where labels are not there."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from command import WORLD, refuse, succeed
from sidestep import load
from sidestep.data.catalog import Catalog
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import TOKENIZE
from sidestep.sids.collisions import num_shared
from sidestep.sids.unified import Unified
from sidestep.vectors.item_vectors import ItemVectors

SPOKEN = (
    *("tokenizer.kind=unisid", "tokenizer.unified.width=8", "tokenizer.unified.encoder=mlp"),
    *("graph.enabled=false", "behaviour.source=none"),
)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A trained run, and what it said."""
    folder = tmp_path_factory.mktemp("spoken") / "run"
    words = ("run", "s2gr-planted", *WORLD, *SPOKEN, "method=tiger", "train.epochs=1", "--out", folder)
    return folder, succeed(*words).err


def test_a_run_says_what_teaches_its_levels_and_what_the_collision_policy_did(spoken: tuple[Path, str]) -> None:
    folder, said = spoken
    assert "levels are taught by: categories:2 (4), categories (8), item (48)" in said
    assert "before the collision policy: ICR" in said
    assert "after the collision policy: ICR 100.00%, at most 1 items per ID; V-measure by first levels" in said
    contents = RunContents(Run.open(folder))
    assert isinstance(contents.tokenizer, Unified)
    assert num_shared(contents.sids.codes) == 0
    assert set(TOKENIZE.reads(contents.recipe)) == {"catalog", "interactions", "aligned"}


def test_its_report_has_every_figure_and_its_bundle_answers_as_it_does(
    spoken: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = spoken
    report = succeed("sids", "report", folder, "--out", tmp_path / "page.html").out
    for figure in ("ICR 100.00%", "V-measure, category", "latents left", "vectors left"):
        assert figure in report
    succeed("export", folder, "--to", tmp_path / "bundle")
    run, bundle = load(folder), load(tmp_path / "bundle")
    history = run.catalog.item_ids[:2]
    assert run.recommend(history, k=5).item_ids == bundle.recommend(history, k=5).item_ids


def test_a_copy_of_an_item_has_its_codes_and_a_path_of_its_own(spoken: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = spoken
    contents = RunContents(Run.open(folder))
    table = contents.catalog.table
    copy = table.filter(pl.col("item_id") == table["item_id"][7]).with_columns(item_id=pl.lit("copy"))
    copy.write_parquet(tmp_path / "copy.parquet")
    succeed("sids", "append", folder, "--items", tmp_path / "copy.parquet")
    codes = RunContents(Run.open(folder), 2).sids.codes
    assert num_shared(codes) == 0
    assert np.array_equal(codes[:-1], contents.sids.codes)
    row = contents.rows_of(ItemVectors(contents.aligned.values[7:8]), Catalog(copy))
    assign = contents.tokenizer.assign
    assert torch.equal(assign(torch.from_numpy(row.values))[0], assign(torch.from_numpy(contents.rows.values))[7])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('tokenizer.unified.levels=["categorys","brand","item"]', "no column 'categorys'; did you mean 'categories'"),
        ('tokenizer.unified.levels=["brand","item"]', "unified.levels names 2 levels, and 3 are learnt"),
        ('tokenizer.unified.levels=["item_id+brand","source","item"]', "no column 'source'"),
        ("tokenizer.unified.encoder=lm", "Input should be 'tokens' or 'mlp'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(setting: str, message: str, tmp_path: Path) -> None:
    words = ("tokenize", "s2gr-planted", *WORLD, *SPOKEN, setting, "--out", tmp_path / "run")
    assert message in refuse(*words)
    assert not (tmp_path / "run" / "sids").exists()


def test_the_one_hot_control_is_a_quantiser_that_is_told_the_category(tmp_path: Path) -> None:
    words = ("tokenizer.kind=rq-kmeans", "tokenizer.one_hot=0.5", "graph.enabled=false", "behaviour.source=none")
    succeed("tokenize", "s2gr-planted", *WORLD, *words, "--out", tmp_path / "run")
    contents = RunContents(Run.open(tmp_path / "run"))
    assert contents.rows.width == contents.aligned.width + 8
    assert "vectors left" in succeed("sids", "report", tmp_path / "run", "--out", tmp_path / "page.html").out

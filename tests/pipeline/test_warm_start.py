"""A training that begins with the weights of a finished run."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import sidestep
from command import WORLD, refuse, succeed
from sidestep import recipes
from sidestep.pipeline.run import Run
from sidestep.studies.identity import identity

GATED = ("thinking.residual=true", "thinking.gated=true", "thinking.remember=false")
STILL = ("train.lr=1e-12", "train.weight_decay=0", "train.epochs=1")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "plain"
    succeed("run", "s2gr-planted", "method=s2gr-plain", *WORLD, "--out", folder)
    return folder


def test_thoughts_behind_a_closed_gate_begin_as_the_run_without_them_and_outlive_it(
    plain: Path, tmp_path: Path
) -> None:
    """A training that moves nothing: the answers are those of the run that it began with."""
    before, out = tmp_path / "before", tmp_path / "run"
    shutil.copytree(plain, before)
    words = ("run", "s2gr-planted", *WORLD, *GATED, *STILL, f"train.start={before}", "--out", out)
    succeed(*words)
    ours, theirs = (sidestep.load(folder).recommend(["P01", "P07", "P30"], 20) for folder in (out, plain))
    assert ours.item_ids == theirs.item_ids
    found, expected = ([each.score for each in answer.recommendations] for answer in (ours, theirs))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    digest = Run.open(out).digest("model")
    shutil.rmtree(before)
    succeed(*words)
    assert Run.open(out).digest("model") == digest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("generator.inner=32",), "has other settings than this recipe (generator.inner: 16 there, 32 here)"),
        (("generator.item_part=false",), "has other settings than this recipe (generator.item_part"),
        (("tokenizer.epochs=1",), "has other semantic IDs"),
        (("data.planted.users=61",), "was trained on another log"),
        (("method=sasrec-ce", "baseline.width=16"), "holds a s2gr-plain of another shape than this sasrec-ce"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(plain: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    said = refuse("run", "s2gr-planted", *WORLD, *words, f"train.start={plain}", "--out", tmp_path / "run")
    assert message in said
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "No run in" in refuse(
        "run", "s2gr-planted", *WORLD, f"train.start={tmp_path / 'none'}", "--out", tmp_path / "a"
    )


def test_a_cell_is_known_by_what_it_begins_with_and_not_by_where_that_lies(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "moved")
    cells = [
        identity(recipes.read("s2gr-planted", [*WORLD, *start]))
        for start in ((), (f"train.start={plain}",), (f"train.start={tmp_path / 'moved'}",))
    ]
    assert cells[0] != cells[1] == cells[2]

"""An ensemble is its members, from the run to the bundle, and nothing else may be put in their place."""

import re
from pathlib import Path

import pytest

import sidestep
from command import WORLD, refuse, succeed
from sidestep import artifact


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted world, another tokenizer."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    succeed("run", "s2gr-planted", *WORLD, "tokenizer.epochs=1", "train.epochs=1", "--out", folder)
    return folder


def ensemble(*members: Path) -> tuple[str, ...]:
    names = ",".join(f'"{member}"' for member in members)
    return ("run", "s2gr-planted", "method=s2gr-ensemble", *WORLD, f"ensemble.members=[{names}]")


def test_the_members_answer_together_from_the_run_and_from_its_bundle(
    finished: Path, other: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    assert "s2gr-ensemble" in succeed(*ensemble(finished, other), "--out", out).out
    tensors = artifact.load(out / "model", "weights").tensors
    for number, folder in enumerate((finished, other)):
        for name, value in artifact.load(folder / "model", "weights").tensors.items():
            assert (tensors[f"members.{number}.{name}"] == value).all()
    assert (tensors["codes_1"] == sidestep.load(other).sids.codes).all()
    told = succeed("recommend", out, "--user", "u01", "--explain").out
    assert re.search(r": (?:thinks of|undecided) .*% of its probability in \d+ of \d+ clusters", told)
    succeed("export", out, "--to", tmp_path / "bundle")
    run, bundled = sidestep.load(out), sidestep.load(tmp_path / "bundle")
    history = [run.catalog.item_ids[item] for item in (3, 1, 4)]
    ours, theirs = run.recommend(history), bundled.recommend(history)
    assert ours.item_ids == theirs.item_ids
    members = [sidestep.load(folder).recommender for folder in (finished, other)]
    assert len(members) == len(run.module.members) == len(bundled.module.members)


@pytest.mark.parametrize(
    ("members", "words", "message"),
    [
        ("finished", (), "names 1 runs; expected 2 to 4"),
        ("finished finished", (), "names a run twice"),
        ("", (), "ensemble.members names none"),
        ("other finished", (), "other semantic IDs than this run's"),
        ("finished other", ("generator.inner=32",), "has other settings"),
        ("finished nowhere", (), "No run in"),
    ],
)
def test_members_that_do_not_fit_are_refused(
    finished: Path, other: Path, tmp_path: Path, members: str, words: tuple[str, ...], message: str
) -> None:
    folders = {"finished": finished, "other": other, "nowhere": tmp_path / "nowhere"}
    said = ensemble(*(folders[name] for name in members.split()))
    assert message in refuse(*said, *words, "--out", tmp_path / "both")
    assert not (tmp_path / "both" / "model").exists()

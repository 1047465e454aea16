"""A run folder goes on where it stopped, does nothing twice, and never mixes two configurations."""

import shutil
from pathlib import Path

import pytest

from command import WORLD, contents, refuse, sidestep, snapshot, succeed
from sidestep import artifact
from sidestep.pipeline.stages import STAGES
from sidestep.training import loop

ARTIFACTS = ("catalog", "interactions", "vectors", "aligned", "sids", "tokenizer", "model")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")


def digests(folder: Path) -> dict[str, str]:
    """By artifact; training logs hold seconds, which differ from run to run."""
    return {name: artifact.verify(folder / name).digest for name in ARTIFACTS}


def test_running_again_changes_no_byte_and_no_time(finished: Path) -> None:
    before = snapshot(finished)
    succeed("run", "s2gr-planted", *WORLD, "--out", finished)
    assert snapshot(finished) == before


def test_stages_one_by_one_equal_the_whole_run(finished: Path, tmp_path: Path) -> None:
    for stage in STAGES:
        succeed(stage, "s2gr-planted", *WORLD, "--out", tmp_path / "run")
    succeed("evaluate", tmp_path / "run")
    assert digests(tmp_path / "run") == digests(finished)
    assert contents(tmp_path / "run" / "evaluation") == contents(finished / "evaluation")


def test_a_stage_runs_those_before_it_and_none_after(tmp_path: Path) -> None:
    succeed("propagate", "s2gr-planted", *WORLD, "--out", tmp_path / "run")
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert made == {"recipe.json", "catalog", "interactions", "vectors", "aligned"}


class Interrupt:
    """Stops the training of a model at a step, as Ctrl-C would; the tokenizer's training counts too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.left, plain = step, loop._Run._step

        def counted(run: loop._Run, batch: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return plain(run, batch)

        monkeypatch.setattr(loop._Run, "_step", counted)


@pytest.mark.parametrize("step", [3, 9], ids=["in the tokenizer", "in the generator"])
def test_a_stopped_run_goes_on_to_the_very_same_weights(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    words = ("run", "s2gr-planted", *WORLD, "train.checkpoint_seconds=0", "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        Interrupt(patch, step)
        stopped = sidestep(*words)
    assert stopped.code == 130
    assert stopped.err.endswith("stopped; the same command goes on from the last checkpoint\n")
    assert not (tmp_path / "run" / "model").exists()
    succeed(*words)
    assert digests(tmp_path / "run") == digests(finished)


def test_another_recipe_into_the_same_folder_is_refused_and_changes_nothing(copy: Path) -> None:
    before = snapshot(copy)
    message = refuse("run", "s2gr-planted", *WORLD, "train.lr=0.002", "--out", copy)
    assert "another configuration (train.lr: 0.001 -> 0.002); choose another --out, or add --force" in message
    assert snapshot(copy) == before


def test_force_does_again_what_differs_and_keeps_what_does_not(copy: Path) -> None:
    before = snapshot(copy)
    succeed("run", "s2gr-planted", *WORLD, "train.lr=0.002", "--out", copy, "--force")
    after = snapshot(copy)
    changed = {name.split("/")[0] for name in after if after[name] != before.get(name)}
    assert changed == {"recipe.json", "train", "model", "evaluation"}
    unchanged = {
        name for name in before if name.split("/")[0] in ("catalog", "vectors", "aligned", "sids", "tokenizer")
    }
    assert all(after[name] == before[name] for name in unchanged)


@pytest.mark.parametrize("stage", ARTIFACTS)
def test_altered_bytes_are_refused_by_name(copy: Path, stage: str) -> None:
    file = next(path for path in sorted((copy / stage).iterdir()) if path.name != artifact.MANIFEST)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    before = snapshot(copy)
    message = refuse("run", copy)
    assert f"{str(file)!r} was changed after it was written" in message
    assert snapshot(copy) == before


def test_a_model_with_altered_bytes_recommends_nothing(copy: Path) -> None:
    weights = copy / "model" / artifact.TENSORS
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "was changed after it was written" in refuse("recommend", copy, "--user", "u01")


def test_force_mends_what_was_altered(copy: Path, finished: Path) -> None:
    (copy / "sids" / artifact.TENSORS).write_bytes(b"")
    succeed("run", copy, "--force")
    assert digests(copy) == digests(finished)


def test_a_model_is_not_asked_with_semantic_ids_that_it_was_not_trained_on(copy: Path) -> None:
    succeed("tokenize", "s2gr-planted", *WORLD, "tokenizer.epochs=3", "--out", copy, "--force")
    assert "was trained on other semantic IDs" in refuse("recommend", copy, "--user", "u01")


def test_a_stage_that_is_missing_is_named(copy: Path) -> None:
    shutil.rmtree(copy / "model")
    assert "run its stage first" in refuse("recommend", copy, "--user", "u01")


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "find_spec", lambda name: None)
    message = refuse("train", "s2gr-planted", *WORLD, 'train.log_with=["wandb"]', "--out", copy, "--force")
    assert 'pip install "sidestep[wandb]"' in message

"""The doctor names what is wrong, and the way out that it names helps."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from command import sidestep, snapshot, succeed
from sidestep.lock import held
from sidestep.pipeline.run import LOCK, checkpoint_problem


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30] + b"}\n")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "model/tensors.safetensors": (flip, "model/tensors.safetensors' was changed after it was written"),
    "sids/manifest.json": (flip, "sids/manifest.json'"),
    "evaluation/popularity-kept/ranks.parquet": (flip, "popularity-kept/ranks.parquet' was changed"),
    "train/log.jsonl": (tear, "Line 2 of "),
    "train/origin.json": (flip, "train/origin.json'"),
    "behaviour/tensors.safetensors": (flip, "behaviour/tensors.safetensors' was changed"),
    "behaviour-train/origin.json": (flip, "behaviour-train/origin.json'"),
    "behaviour-train/log.jsonl": (tear, "behaviour-train/log.jsonl'"),
    "tokenizer-train/checkpoint/tensors.safetensors": (flip, "tokenizer-train/checkpoint/tensors.safetensors' was "),
    "tokenizer/manifest.json": (Path.unlink, "tokenizer/manifest.json' is missing beside tensors.safetensors"),
    "catalog/manifest.json": (Path.unlink, "catalog/manifest.json' is missing beside "),
    "train/checkpoint/manifest.json": (Path.unlink, "checkpoint/manifest.json' is missing beside "),
    "evaluation/popularity-kept/manifest.json": (Path.unlink, "popularity-kept/manifest.json' is missing beside "),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_force_mends_it(finished: Path, tmp_path: Path, name: str) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    damage, message = DAMAGES[name]
    damage(run / name)
    done = sidestep("doctor", run)
    assert done.code == 1
    assert message in done.out
    succeed("run", run, "--force")
    assert sidestep("doctor", run).out == f"{run}: all is well\n"


def test_a_sound_run_and_its_bundle_are_well_and_stay_as_they_are(finished: Path, tmp_path: Path) -> None:
    before = snapshot(finished)
    assert succeed("doctor", finished).out == f"{finished}: all is well\n"
    assert json.loads(succeed("doctor", finished, "--json").out) == []
    assert snapshot(finished) == before
    succeed("export", finished, "--to", tmp_path / "bundle")
    assert "all is well" in succeed("doctor", tmp_path / "bundle").out
    flip(tmp_path / "bundle" / "trie.safetensors")
    assert "export it again" in sidestep("doctor", tmp_path / "bundle").out


def test_who_writes_what_was_left_and_what_is_missing_are_named(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    (run / ".sids.new").mkdir()
    shutil.rmtree(run / "model")
    done = sidestep("doctor", run)
    assert "1 unfinished files, such as " in done.out
    assert "not done yet: train; go on with `sidestep run" in done.out
    with held(run / LOCK, run):
        assert "is being written by process" in sidestep("doctor", run).out
    succeed("run", run)
    assert not (run / ".sids.new").exists()
    assert "all is well" in sidestep("doctor", run).out


def test_a_checkpoint_that_does_not_say_what_it_was_begun_with_is_damaged(finished: Path, tmp_path: Path) -> None:
    training = shutil.copytree(finished / "train", tmp_path / "train")
    assert checkpoint_problem(training) == ""
    (training / "origin.json").unlink()
    assert "origin.json' is missing, and with it what the checkpoints" in checkpoint_problem(training)


def test_damaged_checkpoints_of_a_finished_run_are_removed_by_force_and_the_model_stays(
    finished: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    flip(run / "train" / "origin.json")
    assert f"`sidestep run {run} --force` removes these checkpoints" in sidestep("doctor", run).out
    before = snapshot(run / "model")
    assert f"removed the damaged checkpoints in '{run / 'train'}'" in succeed("run", run, "--force").err
    assert snapshot(run / "model") == before
    assert "all is well" in sidestep("doctor", run).out


@pytest.mark.parametrize("damage", [flip, tear])
def test_a_damaged_checkpoint_below_a_folder_of_trainings_is_found(
    finished: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "cases-train"
    shutil.copytree(finished / "train", folder / "fold-1" / "train")
    shutil.move(folder / "fold-1" / "train" / "origin.json", folder)
    assert checkpoint_problem(folder) == ""
    damage(folder / "fold-1" / "train" / "checkpoint" / "manifest.json")
    assert "fold-1/train/checkpoint/manifest.json'" in checkpoint_problem(folder)

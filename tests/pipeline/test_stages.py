"""A run folder goes on where it stopped, does nothing twice, and never mixes two configurations."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from command import WORLD, contents, refuse, sidestep, snapshot, succeed
from sidestep import artifact
from sidestep.methods.table import new_recipe
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.course import Course
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import stages_of
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
    for stage in stages_of(new_recipe({"method": "s2gr"})):
        succeed(stage.name, "s2gr-planted", *WORLD, "--out", tmp_path / "run")
    succeed("evaluate", tmp_path / "run")
    assert digests(tmp_path / "run") == digests(finished)
    assert contents(tmp_path / "run" / "evaluation") == contents(finished / "evaluation")


def test_a_stage_runs_those_before_it_and_none_after(tmp_path: Path) -> None:
    succeed("propagate", "s2gr-planted", *WORLD, "--out", tmp_path / "run")
    made = {path.name for path in (tmp_path / "run").iterdir()}
    before = {"catalog", "interactions", "vectors", "behaviour", "behaviour-train"}
    assert made == {"recipe.json", *before, "aligned"}


class Interrupt:
    """Stops the training of a model at a step, as Ctrl-C would; the tokenizer's training counts too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.left, plain = step, loop.Training.step

        def counted(run: loop.Training, index: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return plain(run, index)

        monkeypatch.setattr(loop.Training, "step", counted)


@pytest.mark.parametrize("step", [3, 9], ids=["in the tokenizer", "in the generator"])
def test_a_stopped_run_goes_on_to_the_very_same_weights(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    words = ("run", "s2gr-planted", *WORLD, "train.checkpoint_seconds=0", "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        Interrupt(patch, step)
        stopped = sidestep(*words)
    assert stopped.code == 130
    assert stopped.err.endswith("stopped; the same command resumes from the last checkpoint\n")
    assert not (tmp_path / "run" / "model").exists()
    succeed(*words)
    assert digests(tmp_path / "run") == digests(finished)


def test_another_recipe_into_the_same_folder_is_refused_and_changes_nothing(copy: Path) -> None:
    before = snapshot(copy)
    message = refuse("run", "s2gr-planted", *WORLD, "train.lr=0.002", "--out", copy)
    assert "another configuration (train.lr: 0.001 -> 0.002); choose another --out, or add --force" in message
    assert snapshot(copy) == before


@pytest.mark.parametrize(
    "override",
    ["data.planted.users=61", "split.kind=global-time", "graph.window=3", "evaluate.valid_beams=11", "seed=1"],
)
def test_what_a_finished_stage_hangs_on_is_looked_at_before_any_work(copy: Path, override: str) -> None:
    before = snapshot(copy)
    message = refuse("run", "s2gr-planted", *WORLD, override, "--out", copy)
    assert "holds a run from another configuration (" in message
    assert override.partition("=")[2] in message
    assert snapshot(copy) == before


def test_keys_that_no_result_hangs_on_are_no_other_configuration(copy: Path) -> None:
    before = snapshot(copy)
    harmless = (
        "train.checkpoint_seconds=1",
        "train.log_with=tensorboard",
        "evaluate.at=[1,10]",
        "evaluate.batch_size=7",
    )
    done = succeed("run", "s2gr-planted", *WORLD, *harmless, "--out", copy)
    assert "HR@1 " in done.out
    after = snapshot(copy)
    assert {name for name in after if after[name] != before.get(name)} == {"recipe.json"}
    succeed("recommend", copy, "--user", "u01")
    succeed("run", "s2gr-planted", *WORLD, "--out", copy)
    assert contents(copy) == {name: digest for name, (_, digest) in before.items()}


def test_other_beams_or_longer_lists_rank_again_and_train_nothing(copy: Path) -> None:
    before = snapshot(copy)
    succeed("run", "s2gr-planted", *WORLD, "evaluate.k=30", "evaluate.at=30", "--out", copy)
    after = snapshot(copy)
    assert {name.split("/")[0] for name in after if after[name] != before.get(name)} == {"recipe.json", "evaluation"}


def test_a_tokenizer_alone_does_not_care_how_the_generator_will_be_trained(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    succeed("tokenize", "s2gr-planted", *WORLD, "--out", folder)
    before = snapshot(folder)
    succeed("tokenize", "s2gr-planted", *WORLD, "train.lr=0.002", "generator.width=32", "--out", folder)
    after = snapshot(folder)
    assert {name for name in after if after[name] != before.get(name)} == {"recipe.json"}


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


def test_validation_of_all_users_is_that_of_a_sample_of_as_many(finished: Path) -> None:
    run = Run.open(finished)
    model = cast(Any, RunContents(run).trained()).model
    scores = []
    for users in ("all", 60, 10_000, 7):
        evaluate = run.recipe.evaluate.model_copy(update={"valid_users": users})
        other = replace(run, recipe=run.recipe.model_copy(update={"evaluate": evaluate}))
        scores.append(Course.of(RunContents(other)).validate(model))
    assert scores[0] == scores[1] == scores[2]
    assert new_recipe({"evaluate": {"valid_users": "all"}}).evaluate.valid_users == "all"


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
    message = refuse(
        "train", "s2gr-planted", *WORLD, "train.log_with=wandb", "train.lr=0.002", "--out", copy, "--force"
    )
    assert 'pip install "sidestep[wandb]"' in message

"""More epochs for a finished run."""

from pathlib import Path

import pytest

from command import WORLD, contents, refuse, sidestep, succeed

RECIPE = ("s2gr-planted", *WORLD, "method=sasrec-ce", "train.warmup_steps=2")
OPEN = (*RECIPE, "train.schedule=inverse-sqrt")


def test_a_prolonged_run_is_the_longer_one_bit_for_bit(tmp_path: Path) -> None:
    short, whole = tmp_path / "short", tmp_path / "whole"
    succeed("run", *OPEN, "train.epochs=1", "--out", short)
    done = sidestep("run", *OPEN, "train.epochs=3", "--out", short)
    assert done.code == 0
    assert (
        "prolonging from epoch 1 to 3: the result is that of 3 epochs at once, since the schedule 'inverse-sqrt'"
        in done.err
    )
    succeed("train", *OPEN, "train.epochs=3", "--out", whole)
    assert contents(short / "model") == contents(whole / "model")
    succeed("evaluate", short)  # by the new model
    assert "prolonging" not in sidestep("train", *OPEN, "train.epochs=3", "--out", short).err  # it is done
    assert "train.epochs: 3 -> 2" in refuse("train", *OPEN, "train.epochs=2", "--out", short)
    assert "train.lr" in refuse("train", *OPEN, "train.epochs=4", "train.lr=0.5", "--out", short)


def test_a_schedule_that_depends_on_the_number_of_epochs_is_not_prolonged_and_says_why(tmp_path: Path) -> None:
    succeed("train", *RECIPE, "train.epochs=1", "--out", tmp_path)
    said = refuse("train", *RECIPE, "train.epochs=2", "--out", tmp_path)
    assert "train.epochs: 1 -> 2, and the rates of a cosine schedule depend on the number of epochs" in said
    assert "with train.schedule constant or inverse-sqrt" in said
    assert "--force" in said


@pytest.mark.slow
def test_a_training_that_has_lost_its_patience_has_nothing_to_prolong(tmp_path: Path) -> None:
    hopeless = (*OPEN, "train.lr=1e-30", "train.patience=1")
    succeed("train", *hopeless, "train.epochs=5", "--out", tmp_path)
    before = (tmp_path / "model" / "tensors.safetensors").read_bytes()
    done = sidestep("train", *hopeless, "train.epochs=9", "--out", tmp_path)
    assert "ended after 2 of 5 epochs, since train.patience = 1 validations in a row" in done.err
    assert (tmp_path / "model" / "tensors.safetensors").read_bytes() == before

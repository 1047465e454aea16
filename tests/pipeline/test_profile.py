"""`sidestep train --profile` shows where time goes, and leaves the run as it was."""

import json
import shutil
from pathlib import Path

import pytest

from command import WORLD, contents, refuse, succeed


@pytest.mark.slow
def test_a_profile_changes_nothing_of_a_finished_run_under_other_settings_too(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    before = contents(folder)
    for settings in ((), ("train.precision=bf16", "generator.width=32")):
        done = succeed("train", "s2gr-planted", *WORLD, *settings, "--out", folder, "--profile")
        assert "backward" in done.out
        after = contents(folder)
        assert after.pop("profile.txt")
        assert after == before
    assert (folder / "profile.txt").read_text() == done.out
    succeed("recommend", folder, "--user", "u01")


@pytest.mark.slow
def test_a_profile_makes_the_semantic_ids_first_where_there_are_none(tmp_path: Path) -> None:
    succeed("train", "s2gr-planted", *WORLD, "--out", tmp_path / "run", "--profile", "--trace")
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"sids", "profile.txt", "profile-trace.json"} <= made
    assert not made & {"train", "model"}
    assert json.loads((tmp_path / "run" / "profile-trace.json").read_text())["traceEvents"]


def test_semantic_ids_of_another_recipe_are_not_profiled(finished: Path) -> None:
    message = refuse("train", "s2gr-planted", *WORLD, "tokenizer.epochs=3", "--out", finished, "--profile")
    assert "was made from another configuration (tokenizer.epochs: 2 -> 3)" in message


def test_a_trace_is_part_of_a_profile(tmp_path: Path) -> None:
    assert "--trace needs --profile" in refuse("train", "s2gr-planted", *WORLD, "--out", tmp_path, "--trace")

"""`sidestep analyse`: the inside of a generator, and who has none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from command import WORLD, refuse, succeed
from sidestep.pipeline.analyse import analyse, as_numbers
from sidestep.pipeline.run import Run
from sidestep.pipeline.world import World
from sidestep.recommenders.generative import GenerativeRecommender


def test_every_level_of_a_thinking_generator_is_told(finished: Path) -> None:
    found = json.loads(succeed("analyse", finished, "--json").out)
    assert [level["level"] for level in found["levels"]] == [1, 2, 3]
    assert len(found["drift"]) == 2
    for level in found["levels"]:
        for name in ("code", "prefix", "cluster", "by_chance", "category"):
            assert 0 <= level[name] <= 1
    prefixes = [level["prefix"] for level in found["levels"]]
    assert prefixes == sorted(prefixes, reverse=True)
    told = succeed("analyse", finished).out
    assert "thought right" in told
    assert "Cosine of one thought with the next" in told


def test_the_last_prefix_is_the_hit_rate_at_the_level_of_ids(finished: Path) -> None:
    """Two roads: here by codes of the answers, in the evaluation by counting each ID once."""
    run = Run.open(finished)
    found = analyse(run, users=10_000)
    world = World(run)
    recommender = world.trained()
    assert isinstance(recommender, GenerativeRecommender)
    hit = json.loads(succeed("evaluate", finished, "--json").out)["rows"]
    row = next(r for r in hit if r["method"] == "s2gr" and r["seen"] == "masked" and r["users"] == "all")
    assert found.users == len(world.split.test)
    assert row["HR@10"] <= found.levels[-1].prefix <= row["sid_HR@10"] + 1e-9


def test_codes_are_right_as_often_as_the_model_says_them_first(finished: Path) -> None:
    run = Run.open(finished)
    world = World(run)
    recommender = world.trained()
    assert isinstance(recommender, GenerativeRecommender)
    cases, right = world.split.test, 0
    for case in range(len(cases)):
        from sidestep.data.sequences import question_of

        with torch.no_grad():
            batch = question_of(cases, np.array([case]), recommender.max_history)
            log_probs, _ = recommender.model.step(recommender.model.start(batch), None)  # type: ignore[operator]
        right += int(log_probs[0, 0].argmax()) == world.sids.codes[cases.targets[case], 0]
    assert analyse(run, users=10_000).levels[0].code == pytest.approx(right / len(cases))


def test_numbers_are_flat_and_leave_out_what_is_not_known(finished: Path, tmp_path: Path) -> None:
    assert {"code_1", "prefix_3", "cluster_2", "drift_2_own", "seconds_per_user"} <= set(
        as_numbers(analyse(Run.open(finished), 20))
    )
    succeed("run", "s2gr-planted", "method=tiger", *WORLD, "--out", tmp_path / "tiger")
    numbers = as_numbers(analyse(Run.open(tmp_path / "tiger"), 20))
    assert "code_1" in numbers
    assert not any(name.startswith(("cluster", "drift", "category")) for name in numbers)
    assert "does not think" in succeed("analyse", tmp_path / "tiger").out


def test_who_says_no_ids_has_no_inside(tmp_path: Path, finished: Path) -> None:
    succeed("run", "s2gr-planted", "method=sasrec-ce", *WORLD, "--out", tmp_path / "sasrec")
    assert "no generator of semantic IDs" in refuse("analyse", tmp_path / "sasrec")
    assert "--users 1" in refuse("analyse", finished, "--users", "1")

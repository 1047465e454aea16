"""`sidestep analyse`: the inside of a generator, and who has none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from command import WORLD, refuse, succeed
from sidestep.data.labels import labels
from sidestep.data.sequences import pad, question_of
from sidestep.pipeline.analyse import analyse, as_numbers
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.recommenders.step import named


def test_every_level_of_a_thinking_generator_is_told(finished: Path) -> None:
    found = json.loads(succeed("analyse", finished, "--json").out)
    assert [level["level"] for level in found["levels"]] == [1, 2, 3]
    assert [drift["level"] for drift in found["drift"]] == [1]
    for level in found["levels"]:
        figures = {name: value for name, value in level.items() if name not in ("level", "place") and value is not None}
        assert all(0 <= value <= 1 for value in figures.values())
        assert ("cluster" in figures) == ("answer" in figures) == (level["level"] < 3)  # no thought before the third
        assert level["place"] is None or 1 <= level["place"] <= 20
        assert level["code_in_trie"] >= level["code"]
    prefixes = [level["prefix"] for level in found["levels"]]
    assert prefixes == sorted(prefixes, reverse=True)
    told = succeed("analyse", finished).out
    assert "The cluster nearest to each thought" in told
    assert "Cosine of each thought with the next" in told
    assert "the thought is undecided and has no name" in told
    for level in found["levels"][:2]:
        for name in ("code", "thought", "nearest"):
            assert level[f"{name}_shown"] is not None
            assert (level[f"{name}_named"] is None) == (level[f"{name}_shown"] == 0)


def test_the_last_prefix_is_the_hit_rate_at_the_level_of_ids(finished: Path) -> None:
    """Two roads: here by codes of the answers, in the evaluation by counting each ID once."""
    run = Run.open(finished)
    found = analyse(run, users=10_000)
    contents = RunContents(run)
    recommender = contents.trained()
    assert isinstance(recommender, GenerativeRecommender)
    hit = json.loads(succeed("evaluate", finished, "--json").out)["rows"]
    row = next(r for r in hit if r["method"] == "s2gr" and r["seen"] == "masked" and r["users"] == "all")
    assert found.users == len(contents.split.test)
    assert row["HR@10"] <= found.levels[-1].prefix <= row["sid_HR@10"] + 1e-9


def test_codes_are_right_as_often_as_the_model_says_them_first(finished: Path) -> None:
    run = Run.open(finished)
    contents = RunContents(run)
    recommender = contents.trained()
    assert isinstance(recommender, GenerativeRecommender)
    cases, right = contents.split.test, 0
    for case in range(len(cases)):
        with torch.no_grad():
            batch = question_of(cases, np.array([case]), recommender.reads)
            log_probs, _ = recommender.model.step(recommender.model.start(batch), None)  # type: ignore[operator]
        right += int(log_probs[0, 0].argmax()) == contents.sids.codes[cases.targets[case], 0]
    assert analyse(run, users=10_000).levels[0].code == pytest.approx(right / len(cases))


def test_forced_along_an_answer_the_generator_thinks_what_led_there(finished: Path) -> None:
    """Two roads: here by teacher forcing on the answers, there by the explained paths of the search."""
    run = Run.open(finished)
    contents = RunContents(run)
    cases, sids = contents.split.test, contents.materials.ids
    texts = labels(contents.catalog, "category")
    assert texts is not None
    agree = np.zeros(2)
    asked = question_of(cases, np.arange(len(cases)), contents.trained().reads)
    seen = [np.setdiff1d(cases.history(case), cases.targets[case]) for case in range(len(cases))]
    found = contents.trained().rank(asked, run.recipe.evaluate.k, ItemFilter(pad(seen)), explain=True)
    assert found.paths is not None
    for row, paths in zip(found.items.tolist(), found.paths, strict=True):
        for item, path in zip(row[:10], paths[:10], strict=False):  # some rows have fewer than k answers
            for level, step in enumerate(path[:2]):  # no thought before the third code
                members = np.flatnonzero(sids.clusters[level][sids.codes[:, level]] == step.clusters[0].number)
                held = sorted(texts[member] for member in members)
                agree[level] += bool(held) and max(held, key=held.count) == texts[item]
    levels = analyse(run, users=10_000).levels
    assert [level.answer for level in levels[:2]] == pytest.approx(agree / int((found.items[:, :10] >= 0).sum()))


def test_names_are_judged_as_the_search_shows_them(finished: Path) -> None:
    """Two roads: here by teacher forcing on the answers, there by the named paths of what the library recommends."""
    run = Run.open(finished)
    contents = RunContents(run)
    cases, names = contents.split.test, contents.path_names
    asked = question_of(cases, np.arange(len(cases)), contents.trained().reads)
    seen = [np.setdiff1d(cases.history(case), cases.targets[case]) for case in range(len(cases))]
    found = contents.trained().rank(asked, run.recipe.evaluate.k, ItemFilter(pad(seen)), explain=True)
    shown, true, decide = np.zeros(2), np.zeros(2), np.zeros(2)
    for row, paths in zip(found.items.tolist(), found.paths or [], strict=True):
        for item, path in zip(row[:10], paths[:10], strict=False):
            for level, step in enumerate(named(path, names)[:2]):
                assert step.thinks_of is not None
                left = step.thinks_of.left if step.decides else None
                decide[level] += step.decides
                shown[level] += left is not None
                true[level] += left is not None and names.holds(left, item)
    levels = analyse(run, users=10_000).levels[:2]
    assert shown.all()
    assert [level.thought_shown for level in levels] == pytest.approx(shown / decide)
    assert [level.thought_named for level in levels] == pytest.approx(true / shown)


@pytest.mark.slow
def test_names_of_thoughts_are_true_in_the_planted_shop(tmp_path: Path) -> None:
    """The aims: 80 and 70 % of the names are true of the recommended item, and nearly all thoughts have one."""
    succeed("run", "s2gr-planted", "train.epochs=4", "--out", tmp_path / "run")
    first, second, third = analyse(Run.open(tmp_path / "run"), 300).levels
    assert third.thought_named is None
    for level, aim in ((first, 0.8), (second, 0.7)):
        assert level.thought_named is not None
        assert level.thought_named_by_chance is not None
        assert level.thought_shown is not None
        assert level.thought_named >= aim
        assert level.thought_named_by_chance < 0.4
        assert level.thought_shown > 0.9


def test_a_generator_that_searches_in_bf16_is_looked_at_in_bf16(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    recipe["evaluate"]["precision"] = "bf16"
    del recipe["digest"]
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(recipe))
    ours, theirs = (analyse(Run.open(folder), 60).levels[0].code for folder in (tmp_path / "run", finished))
    assert ours == pytest.approx(theirs, abs=0.1)


def test_two_users_are_too_few_to_tell_easy_from_hard(finished: Path) -> None:
    told = analyse(Run.open(finished), 2)
    assert told.drift == []
    assert "The cluster nearest to each thought" in succeed("analyse", finished, "--users", "2").out


def test_numbers_are_flat_and_leave_out_what_is_not_known(finished: Path, tmp_path: Path) -> None:
    names = {"code_named_1", "thought_named_1", "thought_named_by_chance_1", "thought_shown_1", "nearest_named_2"}
    assert {"code_1", "prefix_3", "cluster_2", "drift_1_own", "seconds_per_user", *names} <= set(
        as_numbers(analyse(Run.open(finished), 20))
    )
    succeed("run", "s2gr-planted", "method=tiger", *WORLD, "--out", tmp_path / "tiger")
    numbers = as_numbers(analyse(Run.open(tmp_path / "tiger"), 20))
    assert "code_1" in numbers
    assert "code_named_1" in numbers
    assert not any(name.startswith(("cluster", "drift", "category", "thought", "nearest")) for name in numbers)
    assert "has no thoughts" in succeed("analyse", tmp_path / "tiger").out


def test_who_says_no_ids_has_no_inside(tmp_path: Path, finished: Path) -> None:
    succeed("run", "s2gr-planted", "method=sasrec-ce", *WORLD, "--out", tmp_path / "sasrec")
    assert "no generator of semantic IDs" in refuse("analyse", tmp_path / "sasrec")
    assert "--users 1" in refuse("analyse", finished, "--users", "1")

"""A second look as a run: cross-fitted cases, its training, its figures beside the first order, and its bundle."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import sidestep
from command import MODEL, WORLD, refuse, succeed
from sidestep import artifact
from sidestep.bundle import read
from sidestep.data.labels import ItemLabels
from sidestep.errors import ConfigError
from sidestep.methods.second_looks import ReasonedOrder
from sidestep.pipeline.answering import Answering
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.rerank import rerank_recipe
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import CASES, stages_of
from sidestep.recommenders.reranked import RerankedRecommender

SHOP = (
    *("data.planted.departments=2", "data.planted.aisles=2", "data.planted.shelves=4", "data.planted.brands=3"),
    *("data.planted.variants=2", "data.planted.users=300", *MODEL),
)
SECOND = ("run", "s2gr-planted", "method=reranked", *SHOP, "reranker.epochs=3", "seed=1")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "second"
    succeed(*SECOND, "--out", folder)
    return folder


def test_it_is_better_than_the_first_order_on_users_it_has_not_learnt_from(second: Path) -> None:
    found = json.loads(succeed("evaluate", second, "--json").out)
    rows = {(row["seen"], row["users"]): row for row in found["second_look"]}
    assert rows["masked", "all"]["difference"] > 0.05
    assert rows["masked", "all"]["p"] < 0.05
    methods = {row["method"]: row for row in found["rows"] if (row["seen"], row["users"]) == ("masked", "all")}
    assert methods["reranked"]["HR@10"] == methods["item-knn-recent"]["HR@10"]  # the same ten items
    assert methods["reranked"]["NDCG@10"] == pytest.approx(rows["masked", "all"]["new"])
    shown = succeed("evaluate", second).out
    assert "First order > new order:" in shown


def test_conditional_figures_are_means_over_the_cases_with_the_target_among_the_candidates(second: Path) -> None:
    row = json.loads(succeed("evaluate", second, "--json").out)["second_look"][0]
    ranks = artifact.load(second / "evaluation" / "reranked-masked", "ranks").table("ranks")["rank"].to_numpy()
    hits = ranks[(ranks > 0) & (ranks <= 10)]
    assert row["num_given"] == len(hits)
    assert row["HR@1, new"] == pytest.approx((hits == 1).mean())
    assert row["NDCG@5, new"] == pytest.approx(np.where(hits <= 5, 1 / np.log2(hits + 1), 0).mean())


def test_its_bundle_answers_as_the_run_does(second: Path, tmp_path: Path) -> None:
    succeed("export", second, "--to", tmp_path / "bundle")
    run, bundle = sidestep.load(second), sidestep.load(tmp_path / "bundle")
    histories = run.histories_of(["u001", "u002", "u003"])
    for mine, theirs in zip(run.recommend_many(histories), bundle.recommend_many(histories), strict=True):
        assert mine.item_ids == theirs.item_ids
    assert isinstance(bundle.recommender, RerankedRecommender)


def test_reasons_are_shown_by_the_command_line_and_the_library_and_a_bundle_alike(second: Path, tmp_path: Path) -> None:
    shown = succeed("recommend", second, "--user", "u001", "--explain").out
    assert "because: place " in shown
    answered = json.loads(succeed("recommend", second, "--user", "u001", "--explain", "--json").out)
    succeed("export", second, "--to", tmp_path / "bundle")
    bundle = sidestep.load(tmp_path / "bundle")
    (history,) = sidestep.load(second).histories_of(["u001"])
    reasons = [each.reasons for each in bundle.recommend(history, explain=True).recommendations]
    assert [each["reasons"] for each in answered[0]["recommendations"]] == reasons
    succeed("recommend", second, "--user", "u001", "--explain", "--out", tmp_path / "lists.parquet")
    assert pl.read_parquet(tmp_path / "lists.parquet")["reasons"].to_list() == [
        "; ".join(each or []) for each in reasons
    ]
    assert all(each.reasons is None for each in bundle.recommend(history).recommendations)
    answering = Answering(tmp_path / "bundle", read(tmp_path / "bundle").digest, 1)  # what the server's process runs
    numbers = bundle.catalog.items(history).tolist()
    assert answering.answer([numbers], [numbers], 10, None, None, True)["reasons"] == [reasons]


def test_other_settings_of_the_training_keep_the_cases_and_other_candidates_do_not(
    second: Path, tmp_path: Path
) -> None:
    shutil.copytree(second, tmp_path / "again")
    before = Run.open(tmp_path / "again").digest("cases")
    succeed(*SECOND, "reranker.hidden=4", "--out", tmp_path / "again", "--force")
    assert Run.open(tmp_path / "again").digest("cases") == before
    assert "reranker.candidates" in refuse(*SECOND, "reranker.candidates=5", "--out", second)


def test_a_method_without_a_second_look_has_no_stage_of_cases(finished: Path, second: Path) -> None:
    assert CASES not in stages_of(Run.open(finished).recipe)
    assert CASES in stages_of(Run.open(second).recipe)


def test_settings_that_contradict_each_other_are_refused(finished: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "none")
    words = ("run", "s2gr-planted", "method=reranked", *SHOP)
    assert "did you mean 'item-knn'" in refuse(*words, "reranker.base=item-kn", *out)
    assert "no pre-ranker" in refuse(*words, "reranker.base=reranked", *out)
    assert "sidestep rerank RUN" in refuse(*words, "reranker.base=s2gr", *out)
    assert "leave one of them out" in refuse(*words, f"reranker.over={finished}", *out)
    assert "evaluate.k=30" in refuse(*words, "reranker.candidates=30", *out)


def test_the_recipe_of_a_second_look_is_that_of_the_first_and_takes_over_what_it_made(finished: Path) -> None:
    recipe, first = rerank_recipe(finished, ["reranker.candidates=7"]), Run.open(finished).recipe
    assert recipe.generator == first.generator  # type: ignore[attr-defined]
    assert recipe.tokenizer == first.tokenizer
    assert recipe.reranker.base == "s2gr"  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_trained_pre_ranker_is_taken_over_as_it_is_and_trained_anew_for_every_fold(tmp_path: Path) -> None:
    first, out = tmp_path / "first", tmp_path / "first-reranked"
    succeed("run", "s2gr-planted", "method=sasrec-towers", *SHOP, "train.epochs=3", "--out", first)
    shown = succeed("rerank", first, "reranker.epochs=3").out
    assert "pre-ranker" in shown
    weights, taken = (artifact.load(folder / "model", "weights").tensors for folder in (first, out))
    assert all((taken[f"base.{name}"] == value).all() for name, value in weights.items())
    assert {path.name for path in (out / "cases-train").iterdir()} >= {"fold-1", "fold-2"}
    assert Run.open(out).digest("vectors") == Run.open(first).digest("vectors")
    shutil.rmtree(first)  # it holds the pre-ranker whole
    assert len(sidestep.load(out).recommend(["P01", "P02"]).item_ids) == 10
    assert RunContents(Run.open(out)).cases is not None


SMALL = (
    *("reranker.kind=reasoner", "reasoner.width=8", "reasoner.num_layers=1", "reasoner.num_heads=2"),
    *("reasoner.sft_epochs=1", "reasoner.mid_epochs=1", "reasoner.rl_steps=2", "reasoner.rl_cases=4"),
)


def test_a_reasoner_is_trained_in_three_courses_from_the_same_cases_and_travels_in_a_bundle(
    second: Path, tmp_path: Path
) -> None:
    shutil.copytree(second, tmp_path / "reasoned")
    done = succeed(*SECOND, *SMALL, "--out", tmp_path / "reasoned", "--force")
    for course in ("mid-train", "sft-train", "rl-train"):
        assert f"{course}, of " in done.err
    assert "left as it was" in done.err
    assert Run.open(tmp_path / "reasoned").digest("cases") == Run.open(second).digest("cases")
    succeed("export", tmp_path / "reasoned", "--to", tmp_path / "bundle")
    run, bundle = sidestep.load(tmp_path / "reasoned"), sidestep.load(tmp_path / "bundle")
    assert bundle.recommend(["P01", "P10"]).item_ids == run.recommend(["P01", "P10"]).item_ids


def test_a_reasoner_may_write_the_order_alone_and_then_gives_no_reason_but_the_place(
    second: Path, tmp_path: Path
) -> None:
    shutil.copytree(second, tmp_path / "bare")
    bare = [*SMALL[:5], "reasoner.rl_steps=2", "reasoner.rl_cases=4", "reasoner.traces=none"]
    done = succeed(*SECOND, *bare, "--out", tmp_path / "bare", "--force")
    assert "no traces" in done.err
    assert "one rule" not in done.err
    (answered,) = json.loads(succeed("recommend", tmp_path / "bare", "--user", "u001", "--explain", "--json").out)
    assert all(each["reasons"][0].startswith("place ") for each in answered["recommendations"])
    assert all(len(each["reasons"]) == 1 for each in answered["recommendations"])
    assert "drills rules" in refuse(*SECOND, *SMALL, "reasoner.traces=none", "--out", tmp_path / "none")


def test_a_reasoner_needs_something_to_reason_about() -> None:

    with pytest.raises(ConfigError, match=r"use reranker\.kind=listwise"):
        ReasonedOrder().check(ItemLabels([""] * 3, [""] * 3))


def test_a_shop_with_too_few_hits_is_refused(tmp_path: Path) -> None:
    line = refuse("run", "s2gr-planted", "method=reranked", *WORLD, "--out", tmp_path / "small")
    assert "too few to learn from" in line

"""A run that looks back, from the log to a bundle; and what it warns of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from command import WORLD, refuse, succeed
from sidestep.data.sequences import question_of
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError
from sidestep.generators.long_history import LongHistory
from sidestep.methods.glass import sparse
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, new_recipe
from sidestep.pipeline.analyse import analyse
from sidestep.pipeline.answering import Answering
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.exporting import export
from sidestep.pipeline.fitting import fit
from sidestep.pipeline.models import load
from sidestep.pipeline.run import Run
from sidestep.recipes import read
from sidestep.report.page import write_report
from sidestep.serving.app import make_app
from sidestep.serving.settings import Settings
from sidestep.sids.semantic_ids import SemanticIds

REGULARS = (
    *WORLD,
    *("data.planted.mean_length=40", "data.planted.min_length=30", "data.planted.follow=0.4"),
    *("data.planted.homes=2", "data.planted.home=0.4", "data.planted.faith=0.9", "generator.max_history=5"),
    *("tokenizer.num_levels=3", "long.retrieved=9"),
)


@pytest.fixture(scope="module")
def looking_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "glass"
    succeed("run", "s2gr-planted", "method=s2gr-glass", *REGULARS, "--out", folder)
    return folder


def test_a_bundle_answers_from_the_long_history_as_its_run_does(looking_back: Path, tmp_path: Path) -> None:
    run = Run.open(looking_back)
    contents = RunContents(run)
    cases = contents.split.test
    asked = question_of(cases, np.arange(20), contents.trained().reads)
    assert asked.long is not None
    assert (asked.long >= 0).any(dim=1).all()
    export(run, tmp_path / "bundle")
    histories = [[f"P{item + 1:02d}" for item in cases.history(case)] for case in range(20)]
    ours, theirs = (load(place).recommend_many(histories, 5) for place in (looking_back, tmp_path / "bundle"))
    assert [answer.item_ids for answer in ours] == [answer.item_ids for answer in theirs]
    scores = [answer.recommendations[0].score for answer in ours]
    short = load(looking_back).recommend_many([history[-5:] for history in histories], 5, exclude_seen=False)
    whole = load(looking_back).recommend_many(histories, 5, exclude_seen=False)
    assert all(one.recommendations != other.recommendations for one, other in zip(short, whole, strict=True))
    assert all(np.isfinite(scores))


def test_a_path_tells_what_was_looked_up_before_the_window_for_each_code_but_the_first(looking_back: Path) -> None:
    contents = RunContents(Run.open(looking_back))
    model, codes = load(looking_back), contents.sids.codes
    history = [f"P{item + 1:02d}" for item in contents.split.test.history(0)]
    older = [model.catalog.number_of[item_id] for item_id in history[:-5]]
    answer = model.recommend(history, 5, exclude_seen=False, explain=True)
    for found in answer.recommendations:
        assert found.path is not None
        item = model.catalog.number_of[found.item_id]
        same = [each for each in reversed(older) if codes[each, 0] == codes[item, 0]][:9]
        looked_up = [[each.number for each in step.looked_up] for step in found.path]
        assert looked_up == [[], same, same]
        assert all(each.title == model.catalog.title(each.number) for each in found.path[1].looked_up)
    assert any(found.path[1].looked_up for found in answer.recommendations if found.path)
    text = succeed("recommend", looking_back, "--history", ",".join(history), "--k", 2, "--explain", "--keep-seen").out
    assert " looked up, the last: " in text


def test_a_server_answers_from_a_thousand_items_and_tells_what_it_looked_up(looking_back: Path, tmp_path: Path) -> None:
    export(Run.open(looking_back), tmp_path / "bundle")
    model = load(looking_back)
    items = np.random.default_rng(0).integers(len(model.catalog), size=1_000)
    history = [model.catalog.item_ids[item] for item in items]
    asked = {"history": history, "k": 5, "explain": True, "filters": {"exclude_seen": False}}
    settings = Settings({"shop": tmp_path / "bundle"}, str(tmp_path / "histories.sqlite"), deadline_ms=30_000)
    events = [{"user_id": "u", "item_id": item_id, "time": place} for place, item_id in enumerate(history)]
    with TestClient(make_app(Answering, settings)) as client:
        told = client.post("/v1/recommend", json=asked).json()["recommendations"]
        client.post("/v1/events", json={"events": events})
        stored = {**asked, "history": None, "user_id": "u"}
        assert client.post("/v1/recommend", json=stored).json()["recommendations"] == told
    found = model.recommend(history, 5, exclude_seen=False, explain=True).recommendations
    assert [each["item_id"] for each in told] == [each.item_id for each in found]
    for ours, theirs in zip(told, found, strict=True):
        for step, same in zip(ours["path"], theirs.path or [], strict=True):
            assert [each["title"] for each in step["looked_up"]] == [each.title for each in same.looked_up]
            assert len(step["looked_up"]) == (0 if step["level"] == 1 else 9)


def test_a_later_version_of_the_catalogue_is_read_with_the_trained_weights(looking_back: Path) -> None:
    contents = RunContents(Run.open(looking_back))
    sids, recipe = contents.sids, contents.recipe
    more = SemanticIds(
        np.append(sids.codes, sids.codes[:3], axis=0), sids.codebook_sizes, sids.codebooks, sids.clusters
    )
    model = contents.method.build(Materials(contents.popularity, more, contents.vectors), recipe)
    model.load_state_dict(contents.tensors())
    asked, items = question_of(contents.split.test, np.arange(9), model.reads), torch.arange(48).expand(9, -1)
    old = contents.trained().model.path_log_probs(asked, items)  # type: ignore[attr-defined]
    torch.testing.assert_close(model.eval().path_log_probs(asked, items), old, atol=1e-5, rtol=0)


def sparse_notes(num_codes: int, length: int, **long: object) -> list[str]:
    """What is said of 60 users who take an item each of `num_codes` first codes in turn, then the first again."""
    codes = np.stack([np.arange(num_codes), np.zeros(num_codes, dtype=np.int64)], axis=1)
    words = [np.arange(size, dtype=np.float32)[:, None] for size in (num_codes, 1)]
    sids = SemanticIds(codes, (num_codes, 1), words, [np.zeros(size, dtype=np.int64) for size in (num_codes, 1)])
    shape = {"width": 8, "num_heads": 1, "head_width": 8, "inner": 8, "encoder_layers": 1, "decoder_layers": 1}
    values = {"generator": {**shape, "max_history": 4}, "long": {"tier": "none", "items": 40, **long}}
    recipe = new_recipe({"method": "glass-no-tier", **values})
    model = METHODS["glass-no-tier"].build(Materials(np.ones(num_codes, dtype=np.int64), sids), recipe)
    assert isinstance(model, LongHistory)
    items = np.tile(np.arange(length) % num_codes, 60)
    offsets = np.arange(61) * length
    log = TrainingInteractions([str(user) for user in range(60)], offsets, items)
    assert METHODS["glass-no-tier"].notes(model, log) == sparse(model, log)
    return sparse(model, log)


def test_a_search_that_comes_back_empty_for_most_is_warned_of_with_figures_and_the_way_out() -> None:
    assert sparse_notes(num_codes=8, length=30) == []
    (wide,) = sparse_notes(num_codes=32, length=30)
    assert "of 60 users 100% look up nothing" in wide
    assert "0% have no more items than the 4 of the window" in wide
    assert "the first level has 32 codes" in wide
    assert "tokenizer.codebook_size = [8, 1]" in wide
    assert sparse_notes(num_codes=32, length=30, neighbours=8) == []
    (short,) = sparse_notes(num_codes=2, length=4)
    assert "100% have no more items than the 4 of the window" in short


def test_a_long_history_shorter_than_the_window_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    message = refuse("run", "glass-planted", "long.items=5", "--out", tmp_path / "run")
    assert "long.items = 5 is less than generator.max_history = 10" in message
    assert not (tmp_path / "run").exists()


def test_a_section_for_looking_back_is_refused_for_a_method_that_does_not(tmp_path: Path) -> None:
    message = refuse("run", "s2gr-planted", "long.items=100", "--out", tmp_path / "run")
    assert "[long] is set, and method 's2gr' does not read it" in message
    assert "take one of the methods that do: glass, glass-no-tier, glass-no-search, s2gr-glass" in message
    (tmp_path / "mine.toml").write_text('method = "tiger"\n[data]\nsource = "planted"\n[long]\nitems = 100\n')
    assert "method 'tiger' does not read it" in refuse("run", tmp_path / "mine.toml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="method 'sasrec-ce' does not read it"):
        fit({"user": ["a", "a", "b", "b"], "item": ["x", "y", "x", "y"]}, recipe="sasrec-ce", long={"items": 100})
    assert read("glass-planted", ["method=tiger"]).method == "tiger"


def test_the_analysis_counts_what_is_looked_up_and_shows_it(looking_back: Path, finished: Path) -> None:
    run = Run.open(looking_back)
    analysis, contents = analyse(run, users=60), RunContents(run)
    model, cases = contents.trained(), contents.split.test
    assert isinstance(model.model, LongHistory)
    counts = model.model.num_retrieved(
        question_of(cases, np.arange(len(cases)), model.reads), torch.from_numpy(cases.targets)[:, None]
    )
    assert sum(found.share for found in analysis.recall) == pytest.approx(1)
    assert analysis.recall[0].share == pytest.approx(float((counts == 0).double().mean()))
    assert all(found.gate is None or 0 <= found.gate <= 1 for found in analysis.recall)
    assert any(found.gate for found in analysis.recall)
    assert "Older items that are looked up" in succeed("analyse", looking_back).out
    assert not analyse(Run.open(finished), users=5).recall
    page = write_report(looking_back).read_text(encoding="utf-8")
    for title in ("True prefixes that survive", "Place in the beam", "Older items looked up", "Mean gate by items"):
        assert title in page
    none, *others = analysis.recall
    assert f">{none.share:.2f}<" in page
    assert all(f">{found.gate:.2f}<" in page for found in others if found.gate is not None)

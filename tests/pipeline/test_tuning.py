"""Tuned vectors know the training interactions and nothing else, move what users join, and travel to new items."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from command import WORLD, contents, refuse, succeed
from sidestep import bundle, load
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, split
from sidestep.encoders.directions import unit_rows
from sidestep.errors import DataError
from sidestep.evaluation.neighbours import next_item_ranks
from sidestep.methods.table import new_recipe
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.pipeline.tuning import tuned_map
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.tuning import VectorMap

TUNED = ("tune.kind=map", "tune.steps=8", "tune.batch_size=16", "tune.fewest=10")
TOPICS, BRANDS, VARIANTS = 4, 10, 20


def log_of(histories: list[list[int]]) -> Interactions:
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    return Interactions([str(user) for user in range(len(histories))], offsets, np.concatenate(histories), None)


def recipe_of(**settings: object) -> object:
    return new_recipe({"tune": {"kind": "map", "batch_size": 64, "fewest": 1, **settings}})


def catalog_of(num_items: int) -> Catalog:
    return Catalog(pl.DataFrame({"item_id": [str(item) for item in range(num_items)]}))


def shop(noise: float) -> tuple[Interactions, ItemVectors]:
    """Items of four topics, whose texts say the topic loudly and the brand faintly. Users stay with a brand of every
    topic; a share of their items is drawn from everywhere, hot items first.
    """
    rng = np.random.default_rng(0)
    brand = np.repeat(np.arange(BRANDS), VARIANTS)
    topic = np.tile(np.arange(TOPICS), BRANDS * VARIANTS // TOPICS)
    hot = rng.permutation(BRANDS * VARIANTS)[:6]
    histories = []
    for user in range(400):
        own = rng.permutation(np.flatnonzero(brand == user % BRANDS))[:8]
        histories.append([int(rng.choice(hot)) if rng.random() < noise else int(item) for item in own[:-2]])
        histories[-1] += own[-2:].tolist()  # what is held out is of the brand
    loud, faint = 3 * np.eye(8)[topic], np.concatenate([np.zeros((len(brand), 8)), np.eye(BRANDS)[brand]], axis=1)
    values = np.concatenate([loud, faint], axis=1) + 0.15 * rng.standard_normal((len(brand), 16 + BRANDS))
    return log_of(histories), ItemVectors(unit_rows(values.astype(np.float32)))


def hit_rate(log: Interactions, vectors: ItemVectors, folder: Path, **settings: object) -> float:
    """The share of the next items among the nearest 20, one brand's number."""
    parts = split(log, SplitConfig())
    model = tuned_map(parts.train, catalog_of(len(vectors)), vectors, recipe_of(**settings), folder)
    return float((next_item_ranks(model.apply_to(vectors).values, parts.test) <= VARIANTS).mean())


def test_tuning_brings_together_what_users_join_and_texts_part(tmp_path: Path) -> None:
    log, vectors = shop(noise=0)
    assert hit_rate(log, vectors, tmp_path / "raw", steps=0) <= 0.3
    assert hit_rate(log, vectors, tmp_path / "tuned", steps=120, lr=1e-2) >= 0.9


def test_lift_wins_back_what_hot_items_spoil_and_dropping_at_random_does_not(tmp_path: Path) -> None:
    quick = {"steps": 120, "lr": 1e-2}
    clean = hit_rate(*shop(noise=0), tmp_path / "clean", **quick)
    spoilt = hit_rate(*shop(noise=0.3), tmp_path / "spoilt", **quick)
    lift, random = (
        hit_rate(*shop(noise=0.3), tmp_path / name, denoise=name, drop=0.5, **quick)
        for name in ("popularity", "random")
    )
    assert lift - spoilt > (clean - spoilt) / 2 > 0.1
    assert random < spoilt + 0.05


def test_without_steps_vectors_stay_as_they_are(tmp_path: Path) -> None:
    log, vectors = shop(noise=0)
    uneven = ItemVectors(vectors.values * np.linspace(0.5, 2, len(vectors), dtype=np.float32)[:, None])
    parts = split(log, SplitConfig())
    for rank in (0, 4):
        model = tuned_map(parts.train, catalog_of(200), uneven, recipe_of(steps=0, rank=rank), tmp_path)
        np.testing.assert_allclose(model.apply_to(uneven).values, uneven.values, rtol=1e-5, atol=1e-6)


def test_a_map_keeps_lengths_and_maps_rows_one_by_one() -> None:
    torch.manual_seed(0)
    model, rows = VectorMap(6, 2), torch.randn(9, 6)
    with torch.no_grad():
        model.outer.weight.normal_()
        moved, order = model(rows), torch.randperm(9)
        assert not torch.allclose(moved, rows, atol=0.1)
        torch.testing.assert_close(moved.norm(dim=1), rows.norm(dim=1))
        torch.testing.assert_close(model(rows[order]), moved[order])
        same = VectorMap.of({name: value.clone() for name, value in model.state_dict().items()})
        torch.testing.assert_close(same(rows), moved)


def test_what_is_held_out_reaches_no_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.permutation(30)[:7].tolist() for _ in range(60)]
    held_out = [[*history[:-2], 30, 31] for history in histories]
    vectors = ItemVectors(rng.standard_normal((32, 8)).astype(np.float32))
    one, other = (
        tuned_map(
            split(log_of(each), SplitConfig()).train, catalog_of(32), vectors, recipe_of(steps=4), tmp_path / name
        )
        for name, each in (("a", histories), ("b", held_out))
    )
    assert torch.equal(one.outer.weight, other.outer.weight)
    assert not torch.equal(one.outer.weight, torch.eye(8))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "run"
    succeed("run", "s2gr-planted", *WORLD, *TUNED, "--out", folder)
    return folder


def test_the_tokenizer_reads_tuned_vectors_and_a_second_run_makes_the_same_bytes(run: Path, tmp_path: Path) -> None:
    made = RunContents(Run.open(run))
    assert made.tuner is not None
    np.testing.assert_array_equal(made.vectors.values, made.tuner.apply_to(made.embedded).values)
    assert np.abs(made.vectors.values - made.embedded.values).max() > 1e-3
    again = tmp_path / "again"
    succeed("tokenize", "s2gr-planted", *WORLD, *TUNED, "--out", again)
    for name in ("tuner", "tuned", "aligned", "sids"):
        assert contents(run / name) == contents(again / name)


def test_a_copy_of_an_item_goes_through_the_map_of_the_run_and_gets_its_path(tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeed("tokenize", "s2gr-planted", *WORLD, *TUNED, "graph.enabled=false", "behaviour.source=none", "--out", run)
    table = RunContents(Run.open(run)).catalog.table
    copy = table[7].to_dicts()[0] | {"item_id": "copy"}
    (tmp_path / "new.jsonl").write_text(json.dumps(copy) + "\n")
    succeed("sids", "append", run, "--items", tmp_path / "new.jsonl")
    codes = RunContents(Run.open(run), 2).sids.codes
    assert np.array_equal(codes[-1], codes[7])


def test_a_bundle_holds_the_map(run: Path, tmp_path: Path) -> None:
    succeed("export", run, "--to", tmp_path / "bundle")
    opened = bundle.read(tmp_path / "bundle")
    weights = {name: torch.from_numpy(value) for name, value in opened.tensors(bundle.TUNER).items()}
    made = RunContents(Run.open(run))
    np.testing.assert_array_equal(VectorMap.of(weights).apply_to(made.embedded).values, made.vectors.values)
    assert load(tmp_path / "bundle").recommend(made.catalog.item_ids[:2], k=3).item_ids


def test_the_verb_shows_neighbours_before_and_after(run: Path) -> None:
    told = json.loads(succeed("tune", run, "--json").out)
    assert len(told["items"]) == 6
    assert all(len(near["before"]) == len(near["after"]) == 5 for near in told["items"])
    shown = succeed("tune", run).out
    assert told["items"][0]["item"] in shown
    assert told["items"][0]["after"][0] in shown
    assert "HR@50" in shown
    succeed("report", run)
    assert "Neighbours before and after tuning" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tune.kind=none",), "set tune.kind=map"),
        (("tune.kind=map",), "expected 1,000 or more"),
        (("tune.kind=map", "tune.drop=0.5"), "contradict each other"),
        (("tune.kind=map", "tune.denoise=text"), "contradict each other"),
        (("tune.kind=map", "tune.pairs=[]"), "tune.pairs"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_a_sentence(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert message in refuse("tune", "s2gr-planted", *WORLD, *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "tuned").exists()


def test_a_map_of_another_width_is_refused() -> None:
    with pytest.raises(DataError, match="have 3 dimensions"):
        VectorMap(4).apply_to(ItemVectors(np.ones((2, 3), dtype=np.float32)))

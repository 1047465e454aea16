"""Vectors from behaviour know the training interactions and nothing else, and only the tokenizer reads them."""

import json
from pathlib import Path

import numpy as np
import pytest

from command import WORLD, contents, refuse, succeed
from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, split
from sidestep.pipeline.behaviour import counted_vectors, learnt_vectors, training_settings
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.vectors.behaviour import BehaviourConfig, joined
from sidestep.vectors.graph import GraphConfig, cooccurrence
from sidestep.vectors.item_vectors import ItemVectors

SMALL = BehaviourConfig(source="sasrec", width=8, epochs=2, weight=0.5)
LEARNT = ("behaviour.source=sasrec", "behaviour.width=8", "behaviour.epochs=2")


def log_of(histories: list[list[int]]) -> Interactions:
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    return Interactions([str(user) for user in range(len(histories))], offsets, np.concatenate(histories), None)


def test_what_is_held_out_reaches_no_vector(tmp_path: Path) -> None:
    """Two logs that differ in the held-out items alone give the same bits; one that differs in training does not."""
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 18, 6).tolist() for _ in range(30)]
    held_out = [[*history[:-2], 18, 19] for history in histories]
    earlier = [[history[1], *history[1:]] for history in histories]
    logs = map(log_of, (histories, held_out, earlier))
    own, same, other = (
        learnt_vectors(split(log, SplitConfig()).train, 20, SMALL, 0, tmp_path / str(number)).values
        for number, log in enumerate(logs)
    )
    assert np.array_equal(own, same)
    assert not np.array_equal(own, other)
    assert not own[18:].any()
    assert own[:18].any(axis=1).all()


def test_spectral_vectors_know_training_alone_and_leave_strangers_at_zero() -> None:
    config = BehaviourConfig(source="spectral", width=8)
    histories = [[0, 1, 2, 0, 1], [2, 3, 0, 1, 2], [4, 4, 4, 1, 2]]
    held_out = [[*history[:-2], 5, 6] for history in histories]
    one, other = (
        counted_vectors(cooccurrence(split(log_of(each), SplitConfig()).train, 7, GraphConfig()), config, 0).values
        for each in (histories, held_out)
    )
    assert np.array_equal(one, other)
    assert one.shape == (7, 8)
    assert one[:4].any(axis=1).all()
    assert not one[4:].any()  # 4 stands alone in its user's training part, the others in nobody's


def test_rows_are_unit_vectors_and_behaviour_of_the_given_length() -> None:
    vectors = ItemVectors(np.array([[3.0, 4.0], [0.0, 2.0]], dtype=np.float32))
    behaviour = np.array([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    config = BehaviourConfig(source="sasrec", width=3, weight=0.5)
    np.testing.assert_allclose(joined(vectors, behaviour, config).values, [[0.6, 0.8, 0, 0.5, 0], [0, 1, 0, 0, 0]])
    np.testing.assert_allclose(joined(vectors, None, config).values, [[0.6, 0.8, 0, 0, 0], [0, 1, 0, 0, 0]])
    assert joined(vectors, behaviour, BehaviourConfig()) is vectors


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("behaviour") / "run"
    succeed("run", "s2gr-planted", *WORLD, *LEARNT, "--out", folder)
    return folder


def test_the_tokenizer_reads_the_items_vectors_beside_their_behaviour(run: Path) -> None:
    made = RunContents(Run.open(run))
    assert made.aligned.width == made.vectors.width + 8
    before = contents(run)
    succeed("tokenize", run)
    assert contents(run) == before


def test_the_weight_is_no_matter_of_the_vectors_themselves(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    succeed("tokenize", "s2gr-planted", *WORLD, *LEARNT, "behaviour.weight=3", "--out", other)
    for name in ("vectors", "behaviour"):
        own, theirs = (
            {k: v for k, v in contents(folder / name).items() if k.endswith("safetensors")} for folder in (run, other)
        )
        assert own == theirs
    assert contents(run / "aligned") != contents(other / "aligned")


def test_appended_items_have_no_behaviour_and_get_ids(run: Path, tmp_path: Path) -> None:
    items = tmp_path / "new.jsonl"
    items.write_text(json.dumps({"item_id": "new-1", "title": "Ganda frosted lantern", "brand": "Ganda"}) + "\n")
    done = json.loads(succeed("sids", "append", run, "--items", items, "--json").out)
    assert done["added"] == 1
    assert "new-1" in succeed("recommend", run, "--user", "u01", "--k", "49").out


def test_no_behaviour_is_made_that_is_not_asked_for(tmp_path: Path) -> None:
    words = ("s2gr-planted", *WORLD, "behaviour.source=none", "--out", tmp_path / "run")
    succeed("propagate", *words)
    assert not (tmp_path / "run" / "behaviour").exists()
    assert "behaviour.source" in refuse("behave", *words)


@pytest.mark.parametrize(
    ("targets", "batch", "warmup"), [(131_413, 1024, 200), (6_400, 100, 128), (60, 16, 8), (1, 16, 2)]
)
def test_a_small_log_takes_smaller_steps(targets: int, batch: int, warmup: int) -> None:
    """Beauty's training keeps the steps that its cells were trained with."""
    settings = training_settings(targets, epochs=20)
    assert (settings.batch_size, settings.warmup_steps) == (batch, warmup)

"""The whole search as one ONNX file: ONNX Runtime answers as the search does, and who cannot be exported says so."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import sidestep
from command import WORLD, contents, refuse, succeed
from graph_world import agree, asks, unchecked
from sidestep import artifact, bundle
from sidestep.cli.serve import answers_by_graph, load_model, open_model
from sidestep.data.interactions import NO_TIME
from sidestep.errors import ArtifactError
from sidestep.fast.answering import GraphAnswering
from sidestep.fast.model import GraphModel
from sidestep.fast.recommender import GraphRecommender, check, open_recommender
from sidestep.fast.session import Session
from sidestep.layers.clock import Clock
from sidestep.pipeline.answering import Answering
from sidestep.pipeline.exporting import recommender_of, trie_tensors
from sidestep.pipeline.graph import traced, write_graph
from sidestep.recommenders.generative import GenerativeRecommender, trie_of
from sidestep.sids.flat_trie import FlatTrie
from small_world import THINKING, awake, make, make_sids

PARTS = ("generator.softmax=trie", "generator.item_part=true", "evaluate.num_beams=5")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    succeed("run", "s2gr-planted", *WORLD, *PARTS, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    folder = run.parent / "bundle"
    with unchecked():
        succeed("export", run, "--to", folder, "--graph")
    return folder


def both(folder: Path) -> tuple[GenerativeRecommender, GraphRecommender]:
    eager = recommender_of(bundle.read(folder))
    assert isinstance(eager, GenerativeRecommender)
    return eager, open_recommender(folder)[1]


@pytest.mark.slow
def test_a_bundles_graph_answers_as_its_model_does(exported: Path) -> None:
    agree(*both(exported), asks(300, 48, longest=25))


@pytest.mark.slow
def test_the_manifest_names_the_graph_and_its_check_covers_it(exported: Path, tmp_path: Path) -> None:
    assert bundle.GRAPH in bundle.read(exported).manifest.files
    other = shutil.copytree(exported, tmp_path / "other")
    (other / bundle.GRAPH).write_bytes((other / bundle.GRAPH).read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        bundle.read(other)
    (other / artifact.MANIFEST).unlink()
    old = bundle.read(exported).manifest
    artifact.seal(other, bundle.KIND, old.meta, old.config, old.parents)
    found = bundle.read(other)
    with pytest.raises(ArtifactError, match=r"belongs to another bundle|Cannot read"):
        check(found, GraphRecommender.of_bundle(found))


def test_a_graph_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match="with ONNX Runtime") as found:
        Session(tmp_path / "graph.onnx", 1)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("method", ["sasrec-ce", "s2gr-fused", "s2gr-ensemble", "s2gr-branches", "glass"])
def test_a_method_without_a_graph_says_so_and_writes_nothing(tmp_path: Path, method: str) -> None:
    succeed("prepare", "s2gr-planted", f"method={method}", *WORLD, "--out", tmp_path / "run")
    line = refuse("export", tmp_path / "run", "--to", tmp_path / "bundle", "--graph")
    assert f"method {method!r} cannot be exported as a graph" in line
    assert not (tmp_path / "bundle").exists()


def test_a_graph_is_of_full_precision_or_refused(tmp_path: Path) -> None:
    succeed("prepare", "s2gr-planted", *WORLD, "evaluate.precision=bf16", "--out", tmp_path / "run")
    assert "computes in fp32" in refuse("export", tmp_path / "run", "--to", tmp_path / "bundle", "--graph")


@pytest.mark.slow
def test_the_command_and_the_server_answer_by_it_as_they_do_without(exported: Path) -> None:
    eager, graph = sidestep.load(exported), load_model(exported)
    assert isinstance(graph, GraphModel)
    ids = eager.catalog.item_ids
    for history in ([], ids[:1], ids[3:30]):
        for how in ({}, {"exclude_seen": False, "explain": True}, {"allow": ids[:9]}, {"deny": ids[5:], "k": 20}):
            mine, theirs = (model.recommend(history, **how) for model in (graph, eager))  # type: ignore[arg-type]
            assert (mine.item_ids, mine.by) == (theirs.item_ids, theirs.by)
    digest = bundle.read(exported).digest
    by_graph, by_torch = open_model(exported, digest, 1), Answering(exported, digest, 1)
    assert isinstance(by_graph, GraphAnswering)
    for each in (by_graph, by_torch):
        each.keep_filter("stock", np.packbits(np.arange(48) % 3 > 0).tobytes())
    for allowed, beams, explain in ((None, None, False), ("stock", 30, True)):
        ours, others = (
            each.answer([[1, 2], [], [7]], [[1, 2], [3], []], 6, beams, allowed, explain)
            for each in (by_graph, by_torch)
        )
        assert ours["items"] == others["items"]
        assert [len(row) for row in ours["paths"]] == [len(row) for row in others["paths"]]
        for scores, same in zip(ours["scores"], others["scores"], strict=True):
            np.testing.assert_allclose(scores, same, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_light_modules_gates_and_times_answer_by_a_graph_as_they_do_without(tmp_path: Path) -> None:
    """`onelive`, whose clock has learnt for two epochs: times change its answers, and the graph's alike."""
    succeed("run", "s2gr-planted", *WORLD, "method=onelive", "data.planted.parts=4", "train.lr=0.05",
            "--out", tmp_path / "run")  # fmt: skip
    with unchecked():
        succeed("export", tmp_path / "run", "--to", tmp_path / "bundle", "--graph")
    eager, graph = sidestep.load(tmp_path / "bundle"), load_model(tmp_path / "bundle")
    assert isinstance(graph, GraphModel)
    ids, scores = eager.catalog.item_ids, []
    for times, at in ((None, None), (["2021-05-03T08:00", "2021-05-03T23:30", None], "2021-05-04T21:00")):
        mine, theirs = (
            each.recommend([ids[2], "nothing", ids[7]], times=times, at=at, unknown="skip") for each in (graph, eager)
        )
        assert (mine.item_ids, mine.unknown) == (theirs.item_ids, theirs.unknown)
        found = [[each.score for each in answer.recommendations] for answer in (mine, theirs)]
        np.testing.assert_allclose(*found, atol=1e-5)
        scores.append(found[0])
    assert np.abs(np.array(scores[0]) - np.array(scores[1])).max() > 1e-3
    digest, times, at = bundle.read(tmp_path / "bundle").digest, [[10**12, NO_TIME], [7]], [10**12 + 9, NO_TIME]
    answers = [
        opened(tmp_path / "bundle", digest, 1).answer([[2, 7], [5]], [[], []], 5, 20, None, True, times, at)
        for opened in (GraphAnswering, Answering)
    ]
    assert answers[0]["items"] == answers[1]["items"]


def test_without_its_runtime_a_graph_is_left_aside_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (artifact.MANIFEST, bundle.WEIGHTS):
        (tmp_path / name).write_text("{}")
    assert not answers_by_graph(tmp_path)
    (tmp_path / bundle.GRAPH).write_text("")
    assert answers_by_graph(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert not answers_by_graph(tmp_path)
    assert "pip install 'sidestep[fast]'" in capsys.readouterr().err


@pytest.mark.slow
def test_exporting_twice_gives_the_same_graph(run: Path, exported: Path, tmp_path: Path) -> None:
    with unchecked():
        succeed("export", run, "--to", tmp_path / "again", "--graph")
    assert contents(tmp_path / "again") == contents(exported)


def test_a_search_is_traced_for_any_batch() -> None:
    """Nothing on the way may take a size for a number. What is converted then is tried by the slow tests."""
    sids = make_sids(60, (6, 6, 6))
    model = make("tiger", sids, encoder_layers=1, decoder_layers=1, max_history=30)
    trie = FlatTrie.of(trie_tensors(trie_of(sids, np.zeros(60, dtype=np.int64))))
    with unchecked():
        program, names = traced(model, trie, model.reads)
    assert {"items", "scores"} <= set(names)
    sizes = program.range_constraints.values()
    assert len(sizes) == 6  # rows, items of a history, excluded items, beams, paths, answers
    assert all(size.upper > 7 for size in sizes)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("tiger", {"encoder": "bidirectional", "history": "codes", "max_history": 200}),
        ("tiger, trie", {"max_history": 1000}),
        ("s2gr", {"max_history": 1}),
        *((f"{kind}, trie", {"item_part": True}) for kind in (*THINKING, "tiger-mtp", "s2gr-mtp")),
        ("tiger, trie", {"clock": ("hour", "day", "weekend", "week", "gap")}),
    ],
)
def test_thousands_of_histories_are_answered_alike(kind: str, changes: dict[str, object], tmp_path: Path) -> None:
    sids, popularity = make_sids(300, (12, 12, 12)), np.arange(300)[::-1].copy() % 7
    fields = changes.pop("clock", None)
    model = make(kind, sids, **changes)
    if fields is not None:
        model.clock = awake(Clock(fields, model.config.width, offset_hours=5.5)).eval()  # type: ignore[arg-type]
    if model.item_part is not None:
        nn.init.normal_(model.item_part.table.weight)
    eager = GenerativeRecommender(model, sids, popularity, model.reads, 20)
    trie = FlatTrie.of(trie_tensors(trie_of(sids, popularity)))
    with unchecked():
        write_graph(tmp_path / "graph.onnx", model, trie, model.reads, absolute_times=True)
    for beams in (20, 1000):
        graph = GraphRecommender(Session(tmp_path / "graph.onnx", 1), trie, popularity, model.reads, beams)
        longest = 2 * int(min(model.reads.recent, 50))
        agree(eager.with_beams(beams), graph, asks(2_000 if beams == 20 else 100, 300, longest, seed=beams), True)
    agree(eager, GraphRecommender(Session(tmp_path / "graph.onnx", 1), trie, popularity, model.reads, 20),
          asks(20, 300, longest=1_200, seed=2), True)  # fmt: skip

"""A fused model made of two finished runs is those two models, and nothing else may be put in their place."""

import re
import shutil
from pathlib import Path

import pytest

import sidestep
from command import WORLD, refuse, succeed
from sidestep import artifact
from sidestep.data.reads import Reads
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import TRAIN


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "scorer"
    succeed("run", "s2gr-planted", "method=sasrec-towers", *WORLD, "--out", folder)
    return folder


def fused(generator: Path, scorer: Path) -> tuple[str, ...]:
    parts = (f"fusion.generator={generator}", f"fusion.scorer={scorer}")
    return ("run", "s2gr-planted", "method=s2gr-fused", *WORLD, *parts)


def test_the_parts_are_taken_over_as_they_are_and_only_the_balance_is_new(
    finished: Path, scorer: Path, tmp_path: Path
) -> None:
    done = succeed(*fused(finished, scorer), "--out", tmp_path / "fused")
    assert "balance" in done.err
    tensors = artifact.load(tmp_path / "fused" / "model", "weights").tensors
    for prefix, folder in (("", finished), ("scorer.", scorer)):
        for name, value in artifact.load(folder / "model", "weights").tensors.items():
            assert (tensors[prefix + name] == value).all()
    assert 0 <= tensors["balance"][0] <= 1
    assert not (tmp_path / "fused" / "train").exists()


def test_it_evaluates_recommends_and_is_not_made_again(finished: Path, scorer: Path, tmp_path: Path) -> None:
    out = tmp_path / "fused"
    succeed(*fused(finished, scorer), "--out", out)
    before = Run.open(out).digest("model")
    assert "s2gr-fused" in succeed(*fused(finished, scorer), "--out", out).out
    assert Run.open(out).digest("model") == before
    told = succeed("recommend", out, "--user", "u01", "--explain").out
    assert re.search(r": (?:thinks of|undecided) .*% of its probability in \d+ of \d+ clusters", told)


def test_neighbours_are_weighed_before_the_balance_and_travel_into_a_bundle(
    finished: Path, scorer: Path, tmp_path: Path
) -> None:
    words = fused(finished, scorer)
    said = succeed(*words, "fusion.neighbours=7", "--out", tmp_path / "fused").err
    found = re.search(
        r"neighbours' weight ([\d.]+) on validation: NDCG@10 of the items ([\d.]+), without .* ([\d.]+)", said
    )
    assert found is not None
    assert float(found[2]) >= float(found[3])
    tensors = artifact.load(tmp_path / "fused" / "model", "weights").tensors
    assert tensors["neighbour_weight"][0] == float(found[1])
    assert tensors["neighbours.near"].shape[1] == 7
    assert (tensors["neighbours.similarity"] > 0).any()
    without = succeed(*words, "--out", tmp_path / "without").err
    assert found[3] == re.search(r"items alone ([\d.]+)", without)[1]  # type: ignore[index]
    succeed("export", tmp_path / "fused", "--to", tmp_path / "bundle")
    run, bundled = sidestep.load(tmp_path / "fused"), sidestep.from_pretrained(tmp_path / "bundle")
    history = [run.catalog.item_ids[item] for item in (3, 1, 4)]
    assert bundled.recommend(history).item_ids == run.recommend(history).item_ids


def test_where_the_parts_lie_does_not_count_but_what_they_are_does(
    finished: Path, scorer: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(scorer, tmp_path / "moved")
    run = Run.open(tmp_path / "fused", RunContents(Run.open(finished)).run.recipe)
    succeed(*fused(finished, scorer), "--out", run.folder)
    recipe = Run.open(run.folder).recipe
    elsewhere = recipe.model_copy(update={"fusion": recipe.fusion.model_copy(update={"scorer": moved})})
    assert TRAIN.settings(elsewhere) == TRAIN.settings(recipe)
    assert TRAIN.parents(Run(run.folder, elsewhere)) == TRAIN.parents(Run(run.folder, recipe))
    manifest = artifact.read_manifest(run.folder / "model")
    assert manifest.parents["scorer"] == Run.open(scorer).digest("model")


def test_both_at_once_when_no_parts_are_named(tmp_path: Path) -> None:
    succeed("run", "s2gr-planted", "method=s2gr-fused", *WORLD, "fusion.lead=true", "--out", tmp_path / "fused")
    assert "lead.weight" in artifact.load(tmp_path / "fused" / "model", "weights").tensors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fusion.generator={finished}",), "set together"),
        (("fusion.generator={scorer}", "fusion.scorer={scorer}"), "holds a sasrec-towers; expected a generator"),
        (("fusion.generator={finished}", "fusion.scorer={finished}"), "holds a s2gr; expected sasrec-towers"),
        (("fusion.generator={finished}", "fusion.scorer={scorer}", "fusion.lead=true"), "leave fusion.generator out"),
        (("fusion.generator={finished}", "fusion.scorer={scorer}", "generator.inner=32"), "has other settings"),
        (("fusion.generator={finished}", "fusion.scorer={scorer}", "tokenizer.epochs=1"), "other semantic IDs"),
        (("fusion.generator={finished}", "fusion.scorer={scorer}", "seed=1"), "another log"),
        (("fusion.generator=nowhere", "fusion.scorer={scorer}"), "No run in 'nowhere'"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(
    finished: Path, scorer: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    said = [word.format(finished=finished, scorer=scorer) for word in words]
    said_back = refuse("run", "s2gr-planted", "method=s2gr-fused", *WORLD, *said, "--out", tmp_path / "fused")
    assert message in said_back
    assert not (tmp_path / "fused" / "model").exists()


def test_a_fused_run_needs_its_parts_no_more(
    finished: Path, scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = shutil.copytree(scorer, tmp_path / "part")
    succeed(*fused(finished, part), "--out", tmp_path / "fused")
    shutil.rmtree(part)
    monkeypatch.chdir(tmp_path.parent)
    assert succeed("recommend", tmp_path / "fused", "--user", "u01").out
    succeed("run", tmp_path / "fused")


def test_weights_of_before_the_scorers_history_was_kept_answer_as_they_did(
    finished: Path, scorer: Path, tmp_path: Path
) -> None:
    succeed(*fused(finished, scorer), "generator.max_history=20", "--out", tmp_path / "fused")
    assert sidestep.load(tmp_path / "fused").recommender.reads == Reads(50)
    saved = artifact.load(tmp_path / "fused" / "model", "weights")
    tensors = {name: value for name, value in saved.tensors.items() if name != "scored_history"}
    origin = {"config": saved.manifest.config, "parents": saved.manifest.parents}
    artifact.save(tmp_path / "fused" / "model", "weights", tensors=tensors, **origin)
    assert sidestep.load(tmp_path / "fused").recommender.reads == Reads(20)


def test_a_generator_that_does_not_think_is_a_part_of_a_model_that_does_not(scorer: Path, tmp_path: Path) -> None:
    succeed("run", "s2gr-planted", "method=s2gr-plain", *WORLD, "--out", tmp_path / "part")
    words = fused(tmp_path / "part", scorer)
    told = refuse(*words, "--out", tmp_path / "thinking")
    assert "(thinking.thoughts: False there, True here)" in told
    done = succeed(*words, "thinking.thoughts=false", "--out", tmp_path / "fused")
    weight = re.search(r"balance ([\d.]+) on validation", done.err)
    assert weight is not None
    assert artifact.load(tmp_path / "fused" / "model", "weights").tensors["balance"] == pytest.approx(float(weight[1]))


def test_a_part_whose_folder_has_moved_on_without_its_model_is_refused(
    finished: Path, scorer: Path, tmp_path: Path
) -> None:
    part = shutil.copytree(scorer, tmp_path / "part")
    words = ("s2gr-planted", "method=sasrec-towers", *WORLD, "baseline.num_heads=2", "--force")
    succeed("prepare", *words, "--out", part)
    told = refuse(*fused(finished, part), "baseline.num_heads=2", "--out", tmp_path / "fused")
    assert "was trained on other semantic IDs or with other settings" in told


def test_vectors_count_by_what_they_are_and_not_by_their_file(finished: Path, scorer: Path, tmp_path: Path) -> None:
    part = shutil.copytree(scorer, tmp_path / "part")
    for name, change in (("vectors", {"meta": {"inputs": {"/elsewhere": "?"}}}), ("model", {})):
        saved = artifact.load(part / name, artifact.read_manifest(part / name).kind)
        parents = saved.manifest.parents | ({"vectors": Run.open(part).digest("vectors")} if name == "model" else {})
        kept = {"config": saved.manifest.config, "parents": parents, "tensors": saved.tensors, **change}
        artifact.save(part / name, saved.manifest.kind, **kept)
    succeed(*fused(finished, part), "--out", tmp_path / "fused")


def test_clusters_of_another_size_are_other_semantic_ids(finished: Path, scorer: Path, tmp_path: Path) -> None:
    told = refuse(*fused(finished, scorer), "tokenizer.num_clusters=3", "--out", tmp_path / "fused")
    assert "has other semantic IDs" in told


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("generator.max_history=7", "generator.max_history: 20 there, 7 here"),
        ("thinking.gated=true", "thinking.gated: False there, True here"),
        ("baseline.num_heads=2", "baseline.num_heads: 1 there, 2 here"),
        ("embed.width=8", "other"),
    ],
)
def test_parts_of_other_settings_are_refused_though_their_weights_may_fit(
    finished: Path, scorer: Path, tmp_path: Path, key: str, said: str
) -> None:
    assert said in refuse(*fused(finished, scorer), key, "--out", tmp_path / "fused")


def test_a_scorer_that_reads_less_than_the_generator_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    words = ("run", "s2gr-planted", "method=s2gr-fused", *WORLD, "generator.max_history=25", "baseline.max_history=10")
    told = refuse(*words, "--out", tmp_path / "fused")
    assert "baseline.max_history = 10 is less than generator.max_history = 25" in told
    assert not (tmp_path / "fused").exists()


def test_nothing_is_appended_to_a_fused_run(finished: Path, scorer: Path, tmp_path: Path) -> None:
    succeed(*fused(finished, scorer), "--out", tmp_path / "fused")
    (tmp_path / "new.csv").write_text("item_id,title\nnew,A new thing\n")
    told = refuse("sids", "append", tmp_path / "fused", "--items", tmp_path / "new.csv")
    assert "append to the run of a generator" in told


def test_nothing_is_appended_to_a_run_of_items_by_number(scorer: Path, tmp_path: Path) -> None:
    run = shutil.copytree(scorer, tmp_path / "run")
    succeed("tokenize", "s2gr-planted", "method=sasrec-towers", *WORLD, "--out", run)
    (tmp_path / "new.csv").write_text("item_id,title\nnew,A new thing\n")
    told = refuse("sids", "append", run, "--items", tmp_path / "new.csv")
    assert "is a run of 'sasrec-towers', which has one embedding per training item" in told
    assert sidestep.load(run).recommend([], k=3).item_ids


def test_training_of_what_reads_vectors_can_be_watched(tmp_path: Path) -> None:
    words = ("train", "s2gr-planted", "method=sasrec-towers", *WORLD, "train.epochs=1", "--profile")
    assert succeed(*words, "--out", tmp_path / "run").out

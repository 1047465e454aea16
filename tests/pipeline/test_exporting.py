"""A bundle answers as its run does, holds nothing else, and says when it is not what it was."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import sidestep
from command import WORLD, contents, refuse, succeed
from sidestep import artifact, bundle
from sidestep.errors import ArtifactError, DataError
from sidestep.pipeline.exporting import check, recommender_of
from sidestep.recommenders.trained import TrainedModel


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "shop"
    succeed("export", finished, "--to", folder)
    return folder


def close(one: TrainedModel, other: TrainedModel) -> None:
    item_ids = one.catalog.item_ids
    for history in ([], item_ids[:1], item_ids[3:9], item_ids):
        mine, yours = (model.recommend(history, 7, explain=True, exclude_seen=False) for model in (one, other))
        assert mine.item_ids == yours.item_ids
        for a, b in zip(mine.recommendations, yours.recommendations, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)
            assert (a.path is None) == (b.path is None)
            for step, same in zip(a.path or [], b.path or [], strict=True):
                assert (step.code, step.level) == (same.code, same.level)
                assert [each.name for each in step.clusters] == [each.name for each in same.clusters]
                assert (step.thinks_of is None) == (same.thinks_of is None)
                if step.thinks_of is not None and same.thinks_of is not None:
                    assert replace(step.thinks_of, probability=0.0) == replace(same.thinks_of, probability=0.0)
                    assert step.thinks_of.probability == pytest.approx(same.thinks_of.probability, abs=1e-5)
                assert (step.name, step.num_items, step.decides) == (same.name, same.num_items, same.decides)


def test_a_bundle_answers_as_its_run_does(finished: Path, exported: Path) -> None:
    close(sidestep.load(finished), sidestep.load(exported))
    close(sidestep.load(finished), sidestep.from_pretrained(exported))


@pytest.mark.parametrize("method", ["tiger", "sasrec-ce", "sasrec-towers", "s2gr-fused", "s2gr-misaligned"])
def test_every_kind_of_method_can_be_exported(tmp_path: Path, method: str) -> None:
    succeed("run", "s2gr-planted", f"method={method}", *WORLD, "baseline.width=8", "--out", tmp_path / "run")
    succeed("export", tmp_path / "run", "--to", tmp_path / "bundle")
    close(sidestep.load(tmp_path / "run"), sidestep.load(tmp_path / "bundle"))


def test_what_answers_by_a_graph_reads_of_a_bundle_needs_no_tables(exported: Path) -> None:
    """The model's process of a server: polars alone would be a sixth of its memory and a third of its start."""
    code = (
        "import sys; from pathlib import Path; from sidestep import bundle; import sidestep.fast.answering\n"
        f"from sidestep.cli.serve import answers_by_graph; folder = Path({str(exported)!r})\n"
        "opened = bundle.read(folder); answers_by_graph(folder); opened.tensors(bundle.TRIE)\n"
        "print(opened.popularity.tolist(), *[name for name in ('polars', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{bundle.read(exported).catalog.table[bundle.POPULARITY].to_list()}\n"


def test_a_bundle_whose_tree_is_older_has_its_popularity_from_the_catalogue(exported: Path, tmp_path: Path) -> None:
    older = shutil.copytree(exported, tmp_path / "older")
    tree = load_file(older / bundle.TRIE)
    expected = tree.pop(bundle.POPULARITY)
    save_file(tree, older / bundle.TRIE)
    (older / artifact.MANIFEST).unlink()
    old = bundle.read(exported).manifest
    artifact.seal(older, bundle.KIND, old.meta, old.config, old.parents)
    np.testing.assert_array_equal(bundle.read(older).popularity, expected)


def test_a_bundle_needs_nothing_of_its_run_and_says_nothing_of_where_it_lay(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "elsewhere")
    model = sidestep.load(tmp_path / "elsewhere")
    assert model.recommend([], 3).by == "popularity"
    for path in exported.iterdir():
        assert str(exported.parent).encode() not in path.read_bytes()
    assert {path.suffix for path in exported.iterdir()} == {".json", ".md", ".parquet", ".safetensors"}


def test_exporting_twice_gives_the_same_bundle_and_replaces_an_older_one(finished: Path, tmp_path: Path) -> None:
    succeed("export", finished, "--to", tmp_path / "a")
    before = contents(tmp_path / "a")
    succeed("export", finished, "--to", tmp_path / "a")
    assert contents(tmp_path / "a") == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_no_bundle_is_left_alone(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "novel.txt").write_text("chapter one")
    assert "is not a bundle" in refuse("export", finished, "--to", tmp_path / "mine")
    assert (tmp_path / "mine" / "novel.txt").read_text() == "chapter one"


def test_a_run_that_is_not_trained_is_not_exported(tmp_path: Path) -> None:
    succeed("prepare", "s2gr-planted", *WORLD, "--out", tmp_path / "run")
    refuse("export", tmp_path / "run", "--to", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("part", ["model.safetensors", "trie.safetensors", "items.parquet", "check.json"])
def test_parts_of_another_bundle_are_refused(exported: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(exported, tmp_path / "mixed")
    path = tmp_path / "mixed" / part
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        bundle.read(tmp_path / "mixed")


def test_a_model_that_answers_otherwise_than_when_it_was_exported_fails_its_check(
    exported: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported, tmp_path / "other")
    weights = load_file(tmp_path / "other" / bundle.WEIGHTS)
    turned = {name: value * -3 for name, value in weights.items() if value.ndim == 2 and value.dtype == np.float32}
    save_file(weights | turned, tmp_path / "other" / bundle.WEIGHTS)
    (tmp_path / "other" / artifact.MANIFEST).unlink()
    old = bundle.read(exported).manifest
    artifact.seal(tmp_path / "other", bundle.KIND, old.meta, old.config, old.parents)
    found = bundle.read(tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"does not answer|did not before"):
        check(found, recommender_of(found))
    check(bundle.read(exported), recommender_of(bundle.read(exported)))


def test_items_of_another_bundle_fail_the_check_though_every_score_is_the_same(exported: Path, tmp_path: Path) -> None:
    other = shutil.copytree(exported, tmp_path / "other")
    rows = artifact.read_table(other / f"{bundle.ITEMS}.parquet")
    artifact.write_table(other / f"{bundle.ITEMS}.parquet", rows.with_columns(rows["title"].reverse().alias("title")))
    (other / artifact.MANIFEST).unlink()
    old = bundle.read(exported).manifest
    artifact.seal(other, bundle.KIND, old.meta, old.config, old.parents)
    found = bundle.read(other)
    with pytest.raises(ArtifactError, match=r"items\.parquet' belongs to another bundle"):
        check(found, recommender_of(found))


def test_weights_that_do_not_fit_are_one_clear_error(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "other")
    save_file({"nothing": np.zeros(1, dtype=np.float32)}, tmp_path / "other" / bundle.WEIGHTS)
    old = bundle.read(exported).manifest
    (tmp_path / "other" / artifact.MANIFEST).unlink()
    artifact.seal(tmp_path / "other", bundle.KIND, old.meta, old.config, old.parents)
    with pytest.raises(ArtifactError, match="export it again from its run"):
        recommender_of(bundle.read(tmp_path / "other"))


def test_the_catalogue_shows_what_is_asked_for_and_never_what_an_embedder_read(finished: Path, tmp_path: Path) -> None:
    succeed("export", finished, "--to", tmp_path / "all")
    assert "brand" in bundle.read(tmp_path / "all").catalog.table.columns
    assert "text" not in bundle.read(tmp_path / "all").catalog.table.columns
    succeed("export", finished, "--to", tmp_path / "few", "--field", "brand")
    columns = bundle.read(tmp_path / "few").catalog.table.columns
    assert columns == ["item_id", "brand", "title", "category", "popularity"]
    assert "did you mean 'brand'" in refuse("export", finished, "--to", tmp_path / "none", "--field", "brnd")
    assert not (tmp_path / "none").exists()


def test_what_was_appended_is_exported(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    table = pl.DataFrame({"item_id": ["new"], "title": ["A new thing"], "text": ["Alderbrook skillet, a new one"]})
    table.write_csv(tmp_path / "new.csv")
    succeed("sids", "append", run, "--items", tmp_path / "new.csv")
    succeed("export", run, "--to", tmp_path / "bundle")
    found = bundle.read(tmp_path / "bundle")
    assert found.meta["version"] == 2
    assert "new" in found.catalog.number_of
    assert "new" in sidestep.load(tmp_path / "bundle").recommend([], len(found.catalog)).item_ids


def test_a_bundle_answers_for_nobody_of_the_log(exported: Path) -> None:
    with pytest.raises(DataError, match="Unknown user"):
        sidestep.load(exported).histories_of(["u01"])


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/else", "a/b/c"])
def test_a_name_that_is_neither_a_folder_nor_a_repository_is_told(name: str) -> None:
    with pytest.raises(ArtifactError, match="expected a folder, or a repository"):
        sidestep.from_pretrained(name)


def test_the_hub_finds_what_it_looks_for(exported: Path) -> None:
    told = json.loads((exported / "config.json").read_text())
    assert told["library_name"] == "sidestep"
    assert told["model_type"] == "s2gr"
    assert (exported / "README.md").read_text().startswith("---\nlibrary_name: sidestep\n")


def test_the_model_card_has_the_counts_and_figures_of_its_run_with_their_protocol(
    finished: Path, tmp_path: Path
) -> None:
    model = sidestep.load(finished)
    found = model.evaluate()
    succeed("export", finished, "--to", tmp_path / "judged")
    card = (tmp_path / "judged" / "README.md").read_text()
    (row,) = found.table.filter(method="s2gr", seen="masked", users="all").to_dicts()
    assert f"| s2gr | {row['HR@10']:.4f} | {row['NDCG@10']:.4f} |" in card
    assert found.protocol in card
    assert (
        f"{len(model.interactions.items):,} interactions of {model.interactions.num_users:,} users with 48 items"
        in card
    )
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    succeed("export", tmp_path / "run", "--to", tmp_path / "unjudged")
    assert "Its test cases were not ranked" in (tmp_path / "unjudged" / "README.md").read_text()

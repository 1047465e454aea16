"""What does not belong together is refused by whoever reads it, and halves of two results are made again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command import WORLD, refuse, succeed
from sidestep import artifact
from sidestep.pipeline import versions
from sidestep.pipeline.run import Run

Change = Callable[[dict[str, Any], dict[str, pl.DataFrame]], None]


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def reseal(folder: Path, change: Change, **further: Any) -> None:
    """Another content under the same settings and parents, with a manifest that fits it."""
    manifest = artifact.read_manifest(folder)
    old = artifact.load(folder, manifest.kind)
    tables = {path.stem: old.table(path.stem) for path in folder.glob("*.parquet")}
    tensors = dict(old.tensors)
    change(tensors, tables)
    origin = {"meta": manifest.meta, "config": manifest.config, "parents": manifest.parents, **further}
    artifact.save(folder, manifest.kind, tensors=tensors, tables=tables, **origin)


def reverse_items(tensors: dict[str, Any], tables: dict[str, pl.DataFrame]) -> None:
    tables["items"] = tables["items"].reverse()


def reverse(name: str) -> Change:
    def change(tensors: dict[str, Any], tables: dict[str, pl.DataFrame]) -> None:
        tensors[name] = tensors[name][::-1]

    return change


def shrink(tensors: dict[str, Any], tables: dict[str, pl.DataFrame]) -> None:
    for name, value in tensors.items():
        tensors[name] = value / 2 if value.dtype.kind == "f" else value


CHANGES: dict[str, Change] = {
    "catalog": reverse_items,
    "interactions": reverse("items"),
    "vectors": reverse("values"),
    "aligned": reverse("values"),
    "tokenizer": shrink,
    "sids": reverse("codes"),
}


def commands(run: Path, place: Path) -> list[tuple[object, ...]]:
    items = place / "new.csv"
    items.write_text("item_id,title\nnew,A new thing\n")
    return [
        ("recommend", run, "--user", "u01"),
        ("export", run, "--to", place / "bundle"),
        ("sids", "report", run),
        ("analyse", run),
        ("report", run),
        ("sids", "append", run, "--items", items),
    ]


@pytest.mark.parametrize("name", CHANGES)
def test_another_artifact_in_a_run_is_refused_by_all_that_read_it(run: Path, tmp_path: Path, name: str) -> None:
    """All of these read what each of the artifacts decides: the generator was trained on IDs out of them. Only of the
    IDs themselves can some commands do without the generator.
    """
    reseal(run / name, CHANGES[name])
    for words in commands(run, tmp_path):
        if name == "sids" and words[0] == "sids":
            continue
        message = refuse(*words)
        assert "other" in message, words  # with another ..., on other ..., of another ...
    assert not (tmp_path / "bundle").exists()
    assert not (run / "versions").exists()


@pytest.mark.parametrize(("first", "second"), [("catalog", "interactions"), ("tokenizer", "sids")])
def test_halves_of_two_results_are_made_again_without_force(finished: Path, run: Path, first: str, second: str) -> None:
    """As a kill between the publications of the two leaves them."""
    reseal(run / first, CHANGES[first])
    succeed("run", run)
    for name in (first, second):
        assert artifact.verify(run / name) == artifact.verify(finished / name)
    succeed("recommend", run, "--user", "u01")


def test_an_artifact_of_an_earlier_release_that_names_no_half_is_read(run: Path) -> None:
    for name, other in (("interactions", "catalog"), ("sids", "tokenizer")):
        manifest = artifact.read_manifest(run / name)
        assert manifest.parents[other] == artifact.read_manifest(run / other).digest
        reseal(run / name, lambda *_: None, parents={k: v for k, v in manifest.parents.items() if k != other})
    # their digests are others now, so what was made from them is, too; but they themselves are not made again
    before = {name: artifact.verify(run / name).digest for name in ("interactions", "sids", "tokenizer", "catalog")}
    succeed("tokenize", run, "--force")
    assert artifact.verify(run / "interactions").digest == before["interactions"]


def test_a_recipe_that_was_changed_after_it_was_written_is_refused(run: Path) -> None:
    text = (run / "recipe.json").read_text()
    for line in ('"num_beams": 10', '"seed": 0'):
        assert line in text
        (run / "recipe.json").write_text(text.replace(line, line[:-1] + "9"))
        assert "recipe.json' was changed after it was written" in refuse("recommend", run, "--user", "u01")
    (run / "recipe.json").write_text(text[:100])
    assert "Cannot read" in refuse("recommend", run, "--user", "u01")
    succeed("run", "s2gr-planted", *WORLD, "--out", run, "--force")
    assert (run / "recipe.json").read_text() == text


def test_a_version_of_another_catalogue_is_refused(run: Path, tmp_path: Path) -> None:
    succeed(*commands(run, tmp_path)[-1])
    assert versions.newest(Run.open(run)) == 2
    succeed("recommend", run, "--user", "u01")
    reseal(run / "versions" / "2" / "catalog", reverse_items)
    for words in (("recommend", run, "--user", "u01"), ("sids", "diff", f"{run}@1", f"{run}@2")):
        assert "semantic IDs of another catalogue" in refuse(*words)

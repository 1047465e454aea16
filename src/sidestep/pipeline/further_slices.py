"""Further slices of a finished run, or of a bundle: what is on air now, and the IDs of its content of now.

Nothing is trained, and no earlier slice changes. A bundle is replaced as a whole, so a server that loads it again never
sees half of it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copyfile
from typing import Any

from safetensors.torch import load_file

from sidestep import artifact, bundle, durable
from sidestep.data.sources.windows import read_windows
from sidestep.data.windows import shown
from sidestep.errors import ConfigError
from sidestep.methods.table import saved_recipe
from sidestep.pipeline import slicing, versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.exporting import answers_to_check, kept_tree, recommender_of
from sidestep.pipeline.run import Run, inputs
from sidestep.recommenders.generative import trie_of
from sidestep.sids.timeline import Timeline
from sidestep.vectors.blend import Sightings

MADE_ANEW = (bundle.SIDS, bundle.TRIE, bundle.SLICES, "config.json", bundle.CHECK, artifact.MANIFEST)
"""What a slice changes of a bundle; the rest is copied."""


@dataclass(frozen=True)
class Added:
    """start: when the last new slice begins, in words. slices: how many are new. items: all; on_air: those in the last
    slice; moved: those of them with another ID than in the slice before.
    """

    folder: str
    start: str
    slices: int
    items: int
    on_air: int
    moved: int

    @classmethod
    def of(cls, folder: Path, before: int, timeline: Timeline) -> "Added":
        air = timeline.on_air[-1]
        moved = (timeline.codes[-1] != timeline.codes[-2]).any(axis=1) & air
        new = len(timeline) - before
        return cls(str(folder), shown(timeline.now), new, len(air), int(air.sum()), int(moved.sum()))

    def text(self) -> str:
        new = "a new slice" if self.slices == 1 else f"{self.slices:,} new slices, the last"
        return (
            f"{new} from {self.start}: {self.on_air:,} of {self.items:,} items on air, {self.moved:,} of them with a "
            f"new ID\nwritten to {self.folder}"
        )


def add(folder: Path, windows: Path, start: int | None = None) -> Added:
    """Add the slices in a file of windows to a run or a bundle; see `read_windows`.

    Raises:
        ArtifactError: neither is there. ConfigError: one whose IDs do not follow content. DataError: windows that
            do not fit, or slices that do not follow the last one. Nothing is written then.
    """
    if bundle.is_bundle(folder):
        return _add_to_bundle(folder, windows, start)
    return _add_to_run(Run.open(folder), windows, start)


def _add_to_run(run: Run, path: Path, start: int | None) -> Added:
    contents = RunContents(run, versions.newest(run), later=True)
    if run.recipe.slices.kind == "none" or not contents.method.needs.ids:
        raise _still(run.folder)
    with run.writing():
        before = len(contents.slices.sliced[0])
        windows = read_windows(path, contents.catalog, start)
        timeline, content = contents.slices.slicer.with_windows(*contents.slices.sliced, windows)
        parents = {name: run.digest(name) for name in ("timeline", "blend", "tokenizer")}
        slicing.save(run, slicing.LATER, timeline, content, parents=parents, meta=inputs([path]))
    return Added.of(run.folder, before, timeline)


def _add_to_bundle(folder: Path, path: Path, start: int | None) -> Added:
    opened = bundle.read(folder)
    if bundle.SLICES not in opened.manifest.files or opened.sids is None:
        raise _still(folder)
    recipe = saved_recipe(opened.manifest.config["recipe"])
    tensors = opened.tensors(bundle.SLICES)
    known = Timeline.of_tensors(tensors)
    windows = read_windows(path, opened.catalog, start)
    slicer = slicing.Slicer.of_tensors(load_file(folder / bundle.SLICER), recipe, opened.sids)
    timeline, content = slicer.with_windows(known, slicing.content_of(tensors), windows)
    _write(opened, timeline, timeline.last(opened.meta["kept_slices"]), content)
    return Added.of(folder, len(known), timeline)


def _write(opened: bundle.Bundle, whole: Timeline, kept: Timeline, content: Sightings) -> None:
    """The bundle with these slices in the place of its own."""
    assert opened.sids is not None
    manifest, popularity = opened.manifest, opened.popularity
    sids = whole.sids(len(whole) - 1, opened.sids)
    meta: dict[str, Any] = {**manifest.meta, "slice": whole.now}
    with bundle.writing(opened.folder, meta, manifest.config, manifest.parents) as staging:
        for name in manifest.files.keys() - set(MADE_ANEW):
            copyfile(opened.folder / name, staging / name)
        artifact.write_tensors(staging / bundle.SIDS, sids.as_tensors())
        artifact.write_tensors(staging / bundle.TRIE, kept_tree(trie_of(sids, popularity), popularity))
        artifact.write_tensors(staging / bundle.SLICES, slicing.as_tensors(kept, content))
        about = {"library_name": "sidestep", "model_type": meta["method"], **meta}
        durable.write_json(staging / "config.json", about)
        parts = {each.name: artifact.file_hash(each) for each in sorted(staging.iterdir())}
        unsealed = bundle.Bundle(staging, replace(manifest, meta=meta, files=parts))
        answers = answers_to_check(recommender_of(unsealed), len(popularity), popularity)
        durable.write_json(staging / bundle.CHECK, {**answers, "parts": parts})


def _still(folder: Path) -> ConfigError:
    return ConfigError(
        f"{str(folder)!r} has one semantic ID an item, and no slices; train a run with slices.kind=windows, and export "
        "it for a bundle"
    )

"""A run folder: the recipe it was opened with, and which of its stages are done.

recipe.json     the whole recipe
catalog/ interactions/ vectors/ aligned/ sids/ tokenizer/ model/ evaluation/     artifacts, one a stage or two
train/ tokenizer-train/     checkpoint and log.jsonl while and after training
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep import artifact
from sidestep.config import decisive, flat
from sidestep.errors import ArtifactError, did_you_mean
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import DEFAULTS, saved_recipe

RECIPE = "recipe.json"
ORIGIN = "origin.json"
"""What a folder of checkpoints was begun with."""
INPUTS = "inputs"
"""Where a stage's manifest keeps the hashes of the user's files that it read."""


def inputs(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """The part of a manifest's `meta` that remembers files from outside the run folder, so that a change is noticed."""
    return {INPUTS: {str(path.resolve()): artifact.file_hash(path) for path in paths}}


@dataclass(frozen=True)
class Run:
    """force: do again what was done with other settings, instead of refusing."""

    folder: Path
    recipe: Recipe
    force: bool = False

    @classmethod
    def open(cls, folder: Path, recipe: Recipe | None = None, force: bool = False) -> "Run":
        """Open a run folder. Nothing is written until a stage has results; see `keep_recipe`.

        Raises:
            ArtifactError: no run there and no recipe, or finished stages of another configuration and no `force`.
        """
        path = folder / RECIPE
        if recipe is None:
            return cls(folder, _read(path), force)
        if path.is_file() and not force:
            changed = _conflicts(folder, recipe)
            if changed:
                raise ArtifactError(
                    f"{str(folder)!r} holds a run from another configuration ({'; '.join(changed[:3])}); choose "
                    "another --out, or add --force to do again what differs"
                )
        elif folder.exists() and not path.is_file() and any(folder.iterdir()):
            raise ArtifactError(f"{str(folder)!r} is no run folder and is not empty; choose another --out")
        return cls(folder, recipe, force)

    def keep_recipe(self) -> None:
        """Write the recipe where it differs from the folder's. A stage calls this once its inputs are sound, so
        that a recipe which cannot run leaves no trace.
        """
        path, content = self.path(RECIPE), self.recipe.model_dump(mode="json")
        if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != content:
            artifact.write_json(path, content)

    def path(self, name: str) -> Path:
        return self.folder / name

    @staticmethod
    def is_one(folder: Path) -> bool:
        """Whether a folder holds a run."""
        return (folder / RECIPE).is_file()

    def parents(self, name: str) -> dict[str, str]:
        """The digests that a stage's artifact was made from; nothing where it is not made yet."""
        return artifact.read_manifest(self.path(name)).parents if artifact.exists(self.path(name)) else {}

    def digest(self, name: str) -> str:
        """The digest of a stage's artifact, which its children remember."""
        return artifact.read_manifest(self.path(name)).digest

    def done(self, name: str, settings: Mapping[str, Any], parents: Mapping[str, str]) -> bool:
        """Whether a stage's artifact is there and results from these settings and parents.

        Raises:
            ArtifactError: it results from other settings or parents, or was altered, and `force` is off.
        """
        if not artifact.exists(self.path(name)):
            return False
        try:
            manifest = artifact.verify(self.path(name))
        except ArtifactError:
            if self.force:
                return False
            raise
        changed = changes(manifest.config, dict(settings))
        if not changed and manifest.parents != dict(parents):
            changed = ["an earlier stage was made again"]
        changed += [
            f"{path!r} was changed since" for path, old in manifest.meta.get(INPUTS, {}).items() if _new(path, old)
        ]
        if not changed or self.force:
            return not changed
        raise ArtifactError(
            f"{str(self.path(name))!r} was made from another configuration ({'; '.join(changed[:3])}); choose another "
            "run folder, or add --force to make it again"
        )

    def training_folder(self, name: str, settings: Mapping[str, Any], parents: Mapping[str, str]) -> Path:
        """Where a stage's checkpoints live; those of other settings are refused, or thrown away with `force`."""
        folder, origin = self.path(name), {"settings": dict(settings), "parents": dict(parents)}
        path = folder / ORIGIN
        if path.is_file() and _other(json.loads(path.read_text(encoding="utf-8")), origin):
            if not self.force:
                raise ArtifactError(
                    f"{str(folder)!r} holds checkpoints of another configuration; choose another run folder, or add "
                    "--force to train anew"
                )
            shutil.rmtree(folder)
        artifact.write_json(path, origin)
        return folder


def _other(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(changes(old["settings"], new["settings"])) or old["parents"] != new["parents"]


def _new(path: str, old: str) -> bool:
    """Whether a file has other content now. A file that is gone does not matter: its result is here."""
    return Path(path).is_file() and artifact.file_hash(Path(path)) != old


def _read(path: Path) -> Recipe:
    try:
        return saved_recipe(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        near = did_you_mean(path.parent.name, _siblings(path.parent))
        raise ArtifactError(f"No run in {str(path.parent)!r}: {RECIPE} is missing{near}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"Cannot read {str(path)!r}: {error}") from None


def _siblings(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.parent.glob(f"*/{RECIPE}")]


def _conflicts(folder: Path, recipe: Recipe) -> list[str]:
    """Where the recipe is at odds with what the finished stages, and the checkpoints, were made from. Keys that cannot
    change a result may differ.
    """
    made = [artifact.read_manifest(path.parent).config for path in sorted(folder.glob(f"*/{artifact.MANIFEST}"))]
    made += [json.loads(path.read_text(encoding="utf-8"))["settings"] for path in sorted(folder.glob(f"*/{ORIGIN}"))]
    wanted = flat(decisive(recipe))
    conflicts = [
        f"{key}: {old!r} -> {wanted[key]!r}"
        for settings in made
        for key, old in flat(_renamed(settings)).items()
        if key in wanted and wanted[key] != old
    ]
    return list(dict.fromkeys(conflicts))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two nested settings, as `key: old -> new`.

    A key that a later release added changes nothing while it has its default, which is what was done before. A key of
    the recipe that the stage no longer depends on changes nothing, either.
    """
    before, after = flat(_renamed(old)), flat(new)
    for key in before.keys() - after.keys():
        if key in _DEFAULTS:
            del before[key]
    for key in after.keys() - before.keys():
        if key in _DEFAULTS and after[key] == _DEFAULTS[key]:
            before[key] = after[key]
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of earlier artifacts under today's names: those of the validation were a pair of numbers, and those of a
    ranking stood in no section.
    """
    renamed = dict(settings)
    moved: dict[str, Any] = {key: renamed.pop(key) for key in ("num_beams", "k", "precision") if key in renamed}
    if (validation := renamed.pop("validation", None)) is not None:
        moved |= dict(zip(("valid_beams", "valid_users"), validation, strict=True))
    return {**renamed, "evaluate": {**renamed.get("evaluate", {}), **moved}} if moved else renamed


_DEFAULTS = flat(DEFAULTS)

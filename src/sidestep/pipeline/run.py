"""A run folder: the recipe it was opened with, and which of its stages are done.

recipe.json     the whole recipe, and the digest of it
catalog/ interactions/ vectors/ aligned/ sids/ tokenizer/ model/ evaluation/     artifacts, one a stage or two
train/ tokenizer-train/ behaviour-train/     checkpoint and log.jsonl while and after training
tables/     the log and the items, where Python handed them over as frames
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep import artifact, durable, lock
from sidestep.config import decisive, flat
from sidestep.errors import ArtifactError, did_you_mean
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import as_values, saved_recipe
from sidestep.pipeline.settings import EPOCHS, changes, prolongs, renamed, why_not_longer
from sidestep.training.log import read_log
from sidestep.training.loop import CHECKPOINT
from sidestep.training.optim import OPEN_ENDED
from sidestep.training.processes import Processes

RECIPE = "recipe.json"
DIGEST = "digest"
"""The key of a written recipe that covers all others; a recipe without it is taken as it is."""
LOCK = ".run.lock"
ORIGIN = "origin.json"
"""What a folder of checkpoints was begun with."""
TRAININGS = "train"
"""The end of the name of every folder of checkpoints."""
TABLES = "tables"
INPUTS = "inputs"
"""Where a stage's manifest keeps the hashes of the user's files that it read."""


def inputs(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """The part of a manifest's `meta` that remembers files from outside the run folder, so that a change is noticed."""
    return {INPUTS: {str(path.resolve()): _hash(path) for path in paths}}


def _hash(path: Path) -> str:
    """The hash of a file, or of the names and hashes of the Parquet files in a folder."""
    if not path.is_dir():
        return artifact.file_hash(path)
    return _digest({file.name: artifact.file_hash(file) for file in sorted(path.glob("*.parquet"))})


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
        else:
            cls.refuse_others(folder)
        return cls(folder, recipe, force)

    def keep_recipe(self) -> None:
        """Write the recipe where it differs from the folder's. A stage calls this once its inputs are sound, so
        that a recipe which cannot run leaves no trace.
        """
        path, content = self.path(RECIPE), as_values(self.recipe)
        with suppress(ArtifactError):
            if path.is_file() and _values(path, RECIPE_AGAIN) == content:
                return
        _write(path, content)

    @classmethod
    def refuse_others(cls, folder: Path) -> None:
        """Raises:
        ArtifactError: something is there that is neither a run nor the beginning of one.
        """
        if folder.exists() and not cls.is_one(folder):
            if not folder.is_dir():
                raise ArtifactError(f"{str(folder)!r} is no folder; choose another --out")
            if {*folder.iterdir()} - {folder / TABLES, *durable.left_behind(folder)}:
                raise ArtifactError(f"{str(folder)!r} is no run folder and is not empty; choose another --out")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """`writing` in the run's folder."""
        with writing(self.folder):
            yield

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

    def done(
        self,
        name: str,
        settings: Mapping[str, Any],
        parents: Mapping[str, str],
        before: Iterable[str] = (),
        prolonged: bool = False,
    ) -> bool:
        """Whether a stage's artifact is there and results from these settings and parents.

        before: artifacts that are published before it, by the same stage. Where one of them is another one, the stage
        was stopped in between and is not done. Releases that did not name them are believed. prolonged: whether a
        training that these settings prolong is not done, instead of refused.

        Raises:
            ArtifactError: it results from other settings or parents, or was altered, and `force` is off.
        """
        try:
            if not artifact.exists(self.path(name)):
                return False
            manifest = artifact.verify(self.path(name))
        except ArtifactError:
            if self.force:
                return False
            raise
        changed = changes(manifest.config, dict(settings))
        if prolonged and prolongs(manifest.config, settings) and manifest.parents == dict(parents):
            return False
        beside = {other: self.digest(other) for other in before}
        if not changed and {key: made for key, made in manifest.parents.items() if key not in beside} != dict(parents):
            changed = ["an earlier stage was made again"]
        changed += [
            f"{path!r} was changed since" for path, old in manifest.meta.get(INPUTS, {}).items() if _new(path, old)
        ]
        if not changed or self.force:
            return not changed and beside.items() <= {**beside, **manifest.parents}.items()
        raise ArtifactError(
            f"{str(self.path(name))!r} was made from another configuration ({'; '.join(changed[:3])}); choose another "
            "run folder, or add --force to make it again"
        )

    def training_folder(self, name: str, settings: Mapping[str, Any], parents: Mapping[str, str]) -> Path:
        """Where a stage's checkpoints live; those of other settings are refused, or thrown away with `force`."""
        folder, origin = self.path(name), {"settings": dict(settings), "parents": dict(parents)}
        problem = checkpoint_problem(folder)
        if not problem and (old := _origin(folder) or origin) != origin:
            changed = changes(old["settings"], origin["settings"]) and not prolongs(old["settings"], origin["settings"])
            other = bool(changed) or old["parents"] != origin["parents"]
            problem = f"{str(folder)!r} holds checkpoints of another configuration" if other else ""
        if problem and not self.force:
            raise ArtifactError(f"{problem}; choose another run folder, or add --force to train anew")
        if Processes.launched().is_first:
            if problem:
                shutil.rmtree(folder)
            _write(folder / ORIGIN, origin)
        return folder

    @property
    def trainings(self) -> list[Path]:
        """The folders of checkpoints and logs."""
        return sorted(path for path in self.folder.glob(f"*{TRAININGS}") if path.is_dir() and path.name[0] != ".")

    def drop_damaged_trainings(self) -> list[Path]:
        """Remove damaged folders of checkpoints, which finished stages do not need, and list them."""
        if not Processes.launched().is_first:
            return []
        damaged = [folder for folder in self.trainings if checkpoint_problem(folder)]
        for folder in damaged:
            shutil.rmtree(folder)
        return damaged


def checkpoint_problem(folder: Path) -> str:
    """Why no training can go on from a folder of checkpoints, or from one of the trainings below it; empty where one
    can, or can begin there.
    """
    try:
        origin = _origin(folder)
        for part in (folder, *(path for path in sorted(folder.glob("*/*")) if path.is_dir())):
            read_log(part)
            if artifact.exists(part / CHECKPOINT):
                artifact.verify(part / CHECKPOINT)
                if origin is None:
                    return f"{str(folder / ORIGIN)!r} is missing, and with it what the checkpoints were begun with"
    except ArtifactError as error:
        return str(error)
    return ""


def _origin(folder: Path) -> dict[str, dict[str, Any]] | None:
    """The settings and parents that checkpoints were begun with."""
    path = folder / ORIGIN
    if not path.is_file():
        return None
    origin = _values(path, "remove it with the checkpoints beside it, which it is about")
    if not all(isinstance(origin.get(key), dict) for key in ("settings", "parents")):
        raise ArtifactError(f"{str(path)!r} does not say what the checkpoints beside it were begun with")
    return origin


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Nobody else writes in a run's folder while the block runs, and what a killed writer left in it is gone. Of the
    processes of one training, the first stands for all.

    Raises:
        LockedError: somebody else is writing in it.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as stack:
        if Processes.launched().is_first:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.callback(_remove_empty, created)
                stack.enter_context(lock.held(folder / LOCK, folder))
                durable.sweep(folder)
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES):  # there, finished stages can still be read
                    raise
        yield


def _remove_empty(folders: Iterable[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _new(path: str, old: str) -> bool:
    """Whether a file has other content now. A file that is gone does not matter: its result is here."""
    return Path(path).exists() and _hash(Path(path)) != old


def _read(path: Path) -> Recipe:
    try:
        return saved_recipe(_values(path, RECIPE_AGAIN))
    except (FileNotFoundError, NotADirectoryError):
        near = did_you_mean(path.parent.name, _siblings(path.parent))
        raise ArtifactError(f"No run in {str(path.parent)!r}: {RECIPE} is missing{near}") from None


RECIPE_AGAIN = (
    f"run its recipe again into the folder, with --out and --force, or remove the key {DIGEST!r} to take it as it is"
)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    durable.write_json(path, {**content, DIGEST: _digest(content)})


def _values(path: Path, way_out: str) -> dict[str, Any]:
    """The content of a file that `_write` has written; releases before did so without the digest.

    Raises:
        ArtifactError: it cannot be read, or was changed after it was written. OSError: there is no such file.
    """
    content = durable.read_json(path, way_out)
    if not isinstance(content, dict):
        raise ArtifactError(f"{str(path)!r} is {str(content)[:40]!r}, expected a JSON object; {way_out}")
    if DIGEST in content and content.pop(DIGEST) != _digest(content):
        raise ArtifactError(f"{str(path)!r} was changed after it was written; {way_out}")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _siblings(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.parent.glob(f"*/{RECIPE}")]


def _conflicts(folder: Path, recipe: Recipe) -> list[str]:
    """Where the recipe is at odds with what the finished stages, and the checkpoints, were made from. Keys that cannot
    change a result may differ.
    """
    made = [artifact.read_manifest(path.parent).config for path in sorted(folder.glob(f"[!.]*/{artifact.MANIFEST}"))]
    made += [
        origin["settings"]
        for path in sorted(folder.glob(f"[!.]*/{ORIGIN}"))
        if (origin := _origin(path.parent)) is not None
    ]
    wanted = flat(renamed(decisive(recipe)))
    conflicts = []
    for settings in made:
        differs = {key: old for key, old in flat(renamed(settings)).items() if key in wanted and wanted[key] != old}
        if (epochs := differs.get(EPOCHS)) is not None and epochs < recipe.train.epochs:
            if recipe.train.schedule in OPEN_ENDED:
                del differs[EPOCHS]  # this training can be prolonged, if nothing else differs
            elif differs.keys() == {EPOCHS}:
                conflicts.append(why_not_longer(recipe, epochs))
                continue
        conflicts += [f"{key}: {old!r} -> {wanted[key]!r}" for key, old in differs.items()]
    return list(dict.fromkeys(conflicts))

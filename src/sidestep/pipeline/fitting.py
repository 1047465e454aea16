"""Training from Python in one call: tables in; a run folder, and the model that answers from it, out."""

import re
import shutil
import sys
import tempfile
import tomllib
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from sidestep import artifact, durable, recipes
from sidestep.data.inspect import Findings, Given, inspect
from sidestep.data.sources import frames
from sidestep.errors import ArtifactError, ConfigError, SidestepError, did_you_mean
from sidestep.methods.recipe import Recipe
from sidestep.methods.starting import recipe as recipe_text
from sidestep.methods.table import METHODS, RECIPE, new_recipe, refuse_unread
from sidestep.pipeline.models import Model, of_run
from sidestep.pipeline.run import RECIPE as RECIPE_FILE
from sidestep.pipeline.run import TABLES, Run, writing
from sidestep.pipeline.stages import run_until

FILES = frozenset({"source", "path", "interactions", "items", "planted"})
"""Keys of [data] that say where the tables are; those of `fit` win over a recipe's."""
SIZES = frozenset({"epochs", "batch_size", "warmup_steps", "patience"})
"""Keys of [train] that depend on the size of the log."""
SPELLINGS = (
    (r"--(user|item|time|text|event) ((?:[^\s,;:'=]+=)?[A-Z]+(?:[=,/][A-Z]+)*)\b", r'columns={"\1": "\2"}'),
    (r"--(user|item|time|text|event)\b", r'columns["\1"]'),
    (r"--force\b", "force=True"),
    (r"--out\b", "out="),
    (r"--items\b", "items"),
)
"""Options of the command line, and what they are called in Python."""


def fit(
    log: Any = None,
    items: Any = None,
    recipe: str | Path | Recipe = "s2gr",
    *,
    out: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    force: bool = False,
    say: Callable[[str], None] | None = None,
    **settings: Any,
) -> Model:
    """Train a recommender on a log of interactions; run again with the same `out`, it goes on where it stopped.

    The run folder is the one that `sidestep init` and `sidestep train` write on the same tables, byte for byte.

    log: who took what, and when if known: a polars or pandas frame, a mapping of column names to values, or the path of
        a CSV, TSV, Parquet or JSON-lines file. Columns are recognised by their values and names, as `sidestep init`
        does; None takes the tables that the recipe's [data] names.
    items: what is known about the items, in the same forms; None where nothing is.
    recipe: a method (`sidestep methods`), trained with the sizes that `sidestep init` chooses for this log; a built-in
        recipe, a recipe's path, or a `sidestep.Recipe`. Its [data] counts, except for where the tables are.
    out: the run folder, which also keeps the frames that it was given (`tables/`). None takes a temporary one, which
        is removed with the model: keep the model by `save`.
    columns: what cannot be recognised, as `init`'s options: `user`, `item` ("ITEM" or "ITEM=KEY OF THE ITEMS"), `time`
        ("TIME" or "TIME=UNIT"), `event` ("EVENT=KIND,KIND") of the log, and `text` ("TITLE,BRAND") of the items.
    force: do again what `out` holds with other settings or tables, instead of refusing.
    say: is called with each line about what is done; None prints them to standard error.
    settings: keys of the recipe, whose sections are mappings: `seed=1, train={"epochs": 5}`.

    Raises:
        DataError: tables that cannot be read, or columns whose roles cannot be known. ConfigError: no such recipe, a
        key or a value that is wrong. ArtifactError: `out` holds another run and `force` is off. LockedError: somebody
        else is writing in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="sidestep-") if out is None else out)
    with _in_words_of_python(folder), _writing(folder), _leaving_nothing_new(folder, temporary=out is None):
        findings = None
        if log is not None:
            paths = [_path_of(table, name, folder, force) for table, name in ((log, "log"), (items, "items"))]
            assert paths[0] is not None
            findings = inspect(paths[0], paths[1], _given(columns or {}))
        elif items is not None or columns:
            raise ConfigError("items and columns describe a log; pass the log too")
        run = Run.open(folder, _recipe(recipe, findings, settings), force)
        run_until(run, "train", say or _print)
        model = of_run(Run.open(folder))
    if out is None:
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _path_of(table: Any, name: str, folder: Path, force: bool) -> Path | None:
    """Where a table lies: a path as it is, and a frame as a file of the run folder.

    Raises:
        ArtifactError: the run folder holds another table and `force` is off.
    """
    if table is None or frames.is_path(table):
        return None if table is None else Path(table)
    frame, path = frames.as_frame(table, name), folder / TABLES / f"{name}.parquet"
    with durable.replacing_file(path) as staging:
        frames.write(frame, staging, name)
        if path.is_file() and not force and artifact.file_hash(staging) != artifact.file_hash(path):
            raise ArtifactError(
                f"{str(folder)!r} holds a run on another table of {name!r}; choose another --out, or add --force to do "
                "again what differs"
            )
    return path


def _given(columns: Mapping[str, str]) -> Given:
    known = [each.name for each in fields(Given)]
    for name in columns:
        if name not in known:
            raise ConfigError(f"columns[{name!r}]: expected one of {', '.join(known)}{did_you_mean(name, known)}")
    return Given(**columns)


def _recipe(wanted: str | Path | Recipe, findings: Findings | None, settings: Mapping[str, Any]) -> Recipe:
    """The recipe as a method, a recipe's name or itself says, on the tables, with the settings laid over it."""
    guessed = {} if findings is None else tomllib.loads(recipe_text(findings))
    if isinstance(wanted, str) and wanted in METHODS:
        if findings is None:
            raise ConfigError(f"Method {wanted!r} needs a log to be trained on; pass one, or name a whole recipe")
        values = _sized(wanted, guessed)
    else:
        whole = wanted if isinstance(wanted, Recipe) else recipes.read(str(wanted))
        values = whole.model_dump(mode="json", exclude_unset=True)
        if findings is not None:
            own = {key: value for key, value in values.get("data", {}).items() if key not in FILES}
            values["data"] = {**guessed["data"], **own}
    for key, value in settings.items():
        values = _laid_over(values, key.split("."), value)
    _refuse_keys_of_sections(settings)
    if "method" not in settings:
        refuse_unread(values, {key.partition(".")[0] for key in settings})
    return new_recipe(values)


def _sized(method: str, guessed: Mapping[str, Any]) -> dict[str, Any]:
    """What `sidestep init` writes, for any method: what makes the method what it is stays, and one with optimiser
    settings of its own takes the sizes alone.
    """
    values = {**guessed, "method": method}
    for section, parts in METHODS[method].parts.items():
        if section in values:
            values[section] = {key: value for key, value in values[section].items() if key not in parts}
    if METHODS[method].training_of_its_own({}):
        values["train"] = {key: value for key, value in guessed["train"].items() if key in SIZES}
    return values


def _laid_over(values: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy with the value at a path; mappings are laid over mappings, key by key."""
    name, *rest = path
    inside = values.get(name)
    under: Mapping[str, Any] = inside if isinstance(inside, Mapping) else {}
    if rest:
        return {**values, name: _laid_over(under, rest, value)}
    if isinstance(value, Mapping):
        merged = dict(under)
        for key, inner in value.items():
            merged = _laid_over(merged, [str(key)], inner)
        return {**values, name: merged}
    return {**values, name: value}


def _refuse_keys_of_sections(settings: Mapping[str, Any]) -> None:
    """Raises:
    ConfigError: a key that stands in a section and not in the recipe itself, with the way to write it.
    """
    for key in settings:
        if "." not in key and key not in RECIPE.model_fields:
            sections = [
                name
                for name, field in RECIPE.model_fields.items()
                if key in getattr(field.annotation, "model_fields", {})
            ]
            if sections:
                written = " or ".join(f"{name}={{{key!r}: ...}}" for name in sections)
                raise ConfigError(f"{key!r} is no key of the recipe itself; write {written}")


@contextmanager
def _in_words_of_python(folder: Path) -> Iterator[None]:
    """Mistakes of the block with the options of the command line spelled as arguments of `fit`, and the files of frames
    by the names of those.
    """
    try:
        yield
    except SidestepError as error:
        text = str(error)
        for name in ("log", "items"):
            text = text.replace(repr(str(folder.resolve() / TABLES / f"{name}.parquet")), name)
            text = text.replace(repr(str(folder / TABLES / f"{name}.parquet")), name)
        for option, argument in SPELLINGS:
            text = re.sub(option, argument, text)
        raise type(error)(text) from None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """The folder is this call's before the first table is in it."""
    Run.refuse_others(folder)
    with writing(folder):
        yield


@contextmanager
def _leaving_nothing_new(folder: Path, temporary: bool) -> Iterator[None]:
    """No tables in the folder, where the block fails before it is a run. A temporary one goes at any failure."""
    try:
        yield
    except BaseException:
        if temporary:
            shutil.rmtree(folder, ignore_errors=True)
        elif not (folder / RECIPE_FILE).is_file():
            shutil.rmtree(folder / TABLES, ignore_errors=True)
        raise

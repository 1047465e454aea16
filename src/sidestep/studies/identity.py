"""The identity of a cell: the settings that its figures depend on, and the names derived from them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sidestep.config import decisive, flat
from sidestep.data.sources.config import FORMERLY_MISSING
from sidestep.errors import ConfigError, did_you_mean
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import DEFAULTS, METHODS, NON_NEURAL, method_of
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import stages_of

_DEFAULTS = flat(DEFAULTS)


def identity(recipe: Recipe, method: str | None = None) -> dict[str, Any]:
    """The settings that a method's figures depend on: the dotted keys that differ from `Recipe`'s defaults, without
    those of other methods and those that cannot change a metric. Recipes with the same identity are the same cell.

    method: one that needs no training, or None for the recipe's own.
    """
    method = method or recipe.method
    trained = method not in NON_NEURAL
    keys: dict[str, Literal[True] | frozenset[str]] = {"method": True, "seed": True, "data": True, "split": True}
    ranking = frozenset({"k"})
    if trained:
        for stage in stages_of(recipe):
            keys |= stage.keys(recipe)
        ranking = method_of(recipe).ranking | method_of(recipe).validation
    keys["evaluate"] = ranking
    values = {**decisive(recipe, keys), "method": method}
    values["data"].pop("path")  # data is identified by content, not by folder
    if values["data"].get("missing") in FORMERLY_MISSING:  # nobody chose it
        values["data"].pop("missing")
    if trained and (beams := method_of(recipe).beams(recipe)) is not None:
        values["evaluate"]["num_beams"] = beams
    for section, key in (("embed", "path"), ("graph", "edges")):
        if (path := values.get(section, {}).get(key)) is not None:
            values[section][key] = Path(path).name
    for part, folder in method_of(recipe).parts_of(recipe).items() if trained else ():
        values[method_of(recipe).names_parts][part] = _part(folder)
    if trained and recipe.train.start is not None:
        values["train"]["start"] = _part(recipe.train.start)
    return {key: value for key, value in flat(values).items() if value != _DEFAULTS.get(key)}


def _part(folder: Path) -> str:
    """The name of a run folder's cell, independent of the folder's name."""
    if not Run.is_one(folder):
        return folder.name
    return Path(file_name(identity(Run.open(folder).recipe))).stem


def data_name(recipe: Recipe) -> str:
    """The name of a recipe's data: its folder's name, or `planted`."""
    if recipe.data.source == "planted":
        return "planted"
    path = recipe.data.path.resolve()
    name = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in path.name.lower()).strip("-.")
    return name or "data"


def file_name(settings: Mapping[str, Any]) -> str:
    """Method, seed and the digest of everything else."""
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:8]
    return f"{settings.get('method', DEFAULTS['method'])}-{settings.get('seed', 0)}-{digest}.json"


def own_training(name: str) -> list[str]:
    """Overrides that replace the recipe's training settings by the method's own."""
    if name in NON_NEURAL:
        return []
    if name not in METHODS:
        known = [*METHODS, *NON_NEURAL]
        raise ConfigError(f"No method {name!r}{did_you_mean(name, known)}; `sidestep methods` lists them")
    own = METHODS[name].training_of_its_own(decisive(Recipe().train))
    return [f"{section}.{key}={json.dumps(value)}" for section, keys in own.items() for key, value in keys.items()]

"""How the settings of today differ from those that something was made from, and which of it prolongs a training."""

from collections.abc import Mapping
from typing import Any

from sidestep.config import flat
from sidestep.data.sources.config import FORMERLY_MISSING, MISSING
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import DEFAULTS
from sidestep.training.optim import OPEN_ENDED
from sidestep.training.optim import prolongs as prolong

EPOCHS = "train.epochs"


def why_not_longer(recipe: Recipe, epochs: int) -> str:
    """The change from so many epochs to more, where it cannot be made."""
    config = recipe.train
    return (
        f"{EPOCHS}: {epochs} -> {config.epochs}, and the rates of a {config.schedule} schedule depend on the number of "
        f"epochs from the first step on: a training can be prolonged with train.schedule {' or '.join(OPEN_ENDED)}"
    )


def prolongs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the settings of a stage differ by a training that can be prolonged, and by nothing else."""
    before, after = old.get("train"), new.get("train")
    if not before or not after or not prolong({**after, "epochs": before.get("epochs", after["epochs"])}, after):
        return False
    return not changes({**old, "train": {**before, "epochs": after["epochs"]}}, new)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two nested settings, as `key: old -> new`.

    A key that a later release added changes nothing while it has its default, which is what was done before. A key of
    the recipe that the stage no longer depends on changes nothing, either.
    """
    before, after = flat(renamed(old)), flat(renamed(new))
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


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of earlier artifacts under today's names: those of the validation were a pair of numbers, and those of a
    ranking stood in no section. Spellings of missing values that nobody chose are those of today.
    """
    renamed = dict(settings)
    if renamed.get("data", {}).get("missing") in FORMERLY_MISSING:
        renamed["data"] = {**renamed["data"], "missing": list(MISSING)}
    moved: dict[str, Any] = {key: renamed.pop(key) for key in ("num_beams", "k", "precision") if key in renamed}
    if (validation := renamed.pop("validation", None)) is not None:
        moved |= dict(zip(("valid_beams", "valid_users"), validation, strict=True))
    return {**renamed, "evaluate": {**renamed.get("evaluate", {}), **moved}} if moved else renamed


_DEFAULTS = flat(DEFAULTS)

"""A recipe as the command that makes it."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from sidestep.config import flat
from sidestep.errors import ConfigError
from sidestep.methods.recipe import Recipe
from sidestep.recipes import built_in, read


def command_of(recipe: Recipe) -> str:
    """The shortest `sidestep run NAME KEY=VALUE ...` from a built-in recipe that gives exactly this recipe; the plain
    `sidestep run recipe.toml` where none does.
    """
    wanted = _values(recipe)
    found: list[tuple[int, str]] = []
    for name in built_in():
        own = _values(read(name))
        settings = [_spelled(key, value) for key, value in wanted.items() if own.get(key) != value]
        try:
            made = _values(read(name, settings))
        except ConfigError:
            continue
        if made == wanted:
            found.append((len(settings), shlex.join(["sidestep", "run", name, *settings])))
    return min(found, default=(0, "sidestep run recipe.toml"))[1]


def _values(recipe: Recipe) -> Mapping[str, Any]:
    return flat(recipe.model_dump(mode="json"))


def _spelled(key: str, value: Any) -> str:
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"

"""The built-in recipes: the TOML files of this folder. The first comment of each is its summary."""

from collections.abc import Sequence
from pathlib import Path

from sidestep import config
from sidestep.errors import ConfigError, did_you_mean
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import RECIPE, new_recipe, refuse_unread

_FOLDER = Path(__file__).parent


def built_in() -> dict[str, str]:
    """Name and first line of every built-in recipe."""
    files = sorted(_FOLDER.glob("*.toml"))
    return {path.stem: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for path in files}


def text(name: str) -> str:
    """A recipe as it is written, by built-in name or file.

    Raises:
        ConfigError: no such recipe.
    """
    return _place(name).read_text(encoding="utf-8-sig")


def read(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by built-in name or file, with `key=value` overrides. One of them may be another method, which leaves
    alone what the recipe sets for its own.

    Raises:
        ConfigError: no such recipe, a wrong key or value, or a section that the recipe's own method does not read.
    """
    values = config.read_toml(_place(name))
    merged = config.merge(values, overrides, RECIPE)
    if merged.get("method") == values.get("method"):
        refuse_unread(merged, merged)
    return new_recipe(merged)


def _place(name: str) -> Path:
    path = _FOLDER / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if not path.is_file():
            hint = did_you_mean(name, built_in())
            raise ConfigError(
                f"No recipe {name!r}: neither a built-in one nor a file{hint}; `sidestep recipes` lists them"
            )
    return path

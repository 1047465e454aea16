"""THE table: every method by name, and recipes that name one. A family is a file of this room and a line in here, or a
plug-in of another distribution.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from sidestep import config
from sidestep.config import Section
from sidestep.errors import ConfigError, did_you_mean
from sidestep.methods import branching, ensemble, fused, generative, glass, onelive, plugins, reranking, scoring, slices
from sidestep.methods.method import Method
from sidestep.methods.recipe import Recipe, recipe_with

_FAMILIES = (generative, branching, glass, onelive, fused, ensemble, scoring, reranking)
OWN: dict[str, Method] = {name: method for family in _FAMILIES for name, method in family.METHODS.items()}
PLUGINS = plugins.installed(OWN)
METHODS: dict[str, Method] = {**OWN, **PLUGINS.methods}
OWN_COUNTS = "own-counts"
"""A baseline that says something only where users repeat items."""
OWN_COUNTS_BY_HOUR = "own-counts-hour"
"""The same for logs with absolute times; it knows the request's time."""
NON_NEURAL = ("popularity", "item-knn", "item-knn-recent", OWN_COUNTS, OWN_COUNTS_BY_HOUR)
"""Baselines without training, in every evaluation. In `item-knn-recent` an item counts half as much as the next."""


def _sections() -> dict[str, type[Section]]:
    sections: dict[str, type[Section]] = {}
    for method in METHODS.values():
        for name, kind in method.sections.items():
            assert sections.setdefault(name, kind) is kind, f"two methods read [{name}] as different sections"
    return sections


RECIPE: type[Recipe] = recipe_with(_sections())
"""The recipe with the sections of all methods."""
DEFAULTS: dict[str, Any] = RECIPE().model_dump(mode="json")


def method_named(name: str) -> Method:
    """Raises:
    ConfigError: no such method, or a plug-in that cannot be used.
    """
    if name in PLUGINS.problems:
        raise ConfigError(PLUGINS.problems[name])
    if name not in METHODS:
        raise ConfigError(
            f"Bad value {name!r} for method: there is no such method{did_you_mean(name, METHODS)}; `sidestep methods` "
            "lists them"
        )
    return METHODS[name]


def method_of(recipe: Recipe) -> Method:
    """The method of a recipe, with all that the recipe completes it by.

    Raises:
        ConfigError: the recipe names no such method.
    """
    return method_named(recipe.method).bound(recipe, METHODS)


def new_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe of a user: the given values over the parts of its method, over the defaults.

    Raises:
        ConfigError: an unknown key, a value of the wrong type or range, no such method, or settings that contradict it.
    """
    return saved_recipe(with_parts(values))


def saved_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe as a run wrote it: what it leaves out has the default, as when it was written, whatever parts its method
    has by now.

    Raises:
        ConfigError: as `new_recipe`.
    """
    if isinstance(name := values.get("method"), str):
        method_named(name)  # before its sections are taken for misspelt keys
    recipe = config.build(RECIPE, values)
    method = method_of(recipe)
    method.check(recipe)
    slices.check(recipe, method)
    if recipe.train.sharded_items and not method.shards_items:
        able = ", ".join(name for name, each in METHODS.items() if each.shards_items)
        raise ConfigError(
            f"train.sharded_items = true does not suit method {recipe.method!r}, whose losses or inputs need whole "
            f"tables; leave it out, or take one of {able}"
        )
    return recipe


def as_values(recipe: Recipe) -> dict[str, Any]:
    """A recipe as a run keeps it: `saved_recipe` of it is the recipe. What only plug-ins read is left out where the
    method does not read it, so that the run outlives their removal.
    """
    own = {name for method in OWN.values() for name in method.sections}
    foreign = {name for method in PLUGINS.methods.values() for name in method.sections} - own
    return recipe.model_dump(mode="json", exclude=foreign - {*method_of(recipe).sections})


def refuse_unread(values: Mapping[str, Any], given: Container[str]) -> None:
    """Refuse sections that a user gave and that ask for what the method of a recipe's values does not do.

    Raises:
        ConfigError: such a section, and the methods that read it.
    """
    name = str(values.get("method", Recipe.model_fields["method"].default))
    own = method_named(name).sections
    for section, kind in _sections().items():
        if kind.asks and section in given and section not in own:
            able = ", ".join(each for each, method in METHODS.items() if section in method.sections)
            raise ConfigError(
                f"[{section}] is set, and method {name!r} does not read it; leave it out, or take one of the methods "
                f"that do: {able}"
            )


def with_parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values over the parts of its method."""
    method = METHODS.get(str(values.get("method", Recipe.model_fields["method"].default)))
    merged: dict[str, Any] = dict(values)
    for section, parts in (method.parts if method else {}).items():
        own = values.get(section, {})
        merged[section] = {**parts, **own} if isinstance(own, Mapping) else own
    return merged


def rows() -> Sequence[tuple[str, str, str]]:
    """Name, summary and paper of every method, and the name of each plug-in that cannot be used, with the reason."""
    usable = [(name, method.summary, method.paper) for name, method in METHODS.items()]
    return [*usable, *((name, problem, "") for name, problem in PLUGINS.problems.items())]

"""Methods from other distributions: entry points of the group `sidestep.methods`.

    [project.entry-points."sidestep.methods"]
    my-method = "my_package.methods:MY_METHOD"

names a `Method` under the name by which recipes choose it. What cannot be loaded is one sentence, and stops nobody.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sidestep import plugins
from sidestep.config import Section
from sidestep.errors import ConfigError, brief
from sidestep.methods.method import Method
from sidestep.methods.recipe import Recipe

GROUP = "sidestep.methods"


@dataclass(frozen=True)
class Plugins:
    """methods: those that can be used, by name. problems: a sentence for each of the others, by name."""

    methods: Mapping[str, Method] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


def installed(own: Mapping[str, Method]) -> Plugins:
    """The methods that installed distributions add to our `own`."""
    return load(entry_points(group=GROUP), own)


def load(points: Iterable[EntryPoint], own: Mapping[str, Method]) -> Plugins:
    """The methods of some entry points. Names and sections that are taken are refused, ours first, then by the order of
    the names.
    """
    sections = {name: kind for method in own.values() for name, kind in method.sections.items()}

    def checked(method: Any) -> Method:
        _check(method, sections)
        sections.update(method.sections)
        return method

    return Plugins(*plugins.load(points, own, "method", checked))


def _check(method: Any, sections: Mapping[str, type[Section]]) -> None:
    """Raises:
    ConfigError: what was loaded cannot stand in the table.
    """
    if not isinstance(method, Method):
        raise ConfigError(f"it is {brief(repr(method), 60)}, expected a sidestep.methods.method.Method")
    for name, kind in method.sections.items():
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            raise ConfigError(
                f"its section [{name}] is {brief(repr(kind), 60)}, expected a class of sidestep.config.Section"
            )
        if name in Recipe.model_fields or sections.get(name, kind) is not kind:
            raise ConfigError(f"its section [{name}] is that of another; it needs another name")
        kind()  # every key needs a default

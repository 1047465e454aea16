"""What other distributions add to a table of ours, by entry points. What cannot be loaded is one sentence, and stops
nobody.
"""

from collections.abc import Callable, Container, Iterable
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from sidestep.errors import ConfigError, brief

T = TypeVar("T")


def load(
    points: Iterable[EntryPoint], own: Container[str], noun: str, checked: Callable[[Any], T]
) -> tuple[dict[str, T], dict[str, str]]:
    """The objects of some entry points by their names, and a sentence for each that cannot be used. Names that are
    taken are refused, ours first, then by the order of the names.

    noun: what the table holds. checked: the loaded object if it can stand there, else a ConfigError.
    """
    loaded: dict[str, T] = {}
    problems: dict[str, str] = {}
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        origin = f" of {point.dist.name} {point.dist.version}" if point.dist is not None else ""
        taken = point.name in own or point.name in loaded
        try:
            if taken:
                raise ConfigError(f"there is a {noun} of this name already; it needs another name")
            loaded[point.name] = checked(point.load())
        except Exception as error:  # whatever a foreign module raises when it is imported
            ours = isinstance(error, ConfigError)
            reason = str(error) if ours else f"{type(error).__name__}: {brief(error, 160)}"
            sentence = f"The plug-in {point.name!r}{origin} ({point.value}) cannot be used: {reason}"
            problems[f"{point.name} ({point.value})" if taken else point.name] = sentence
    return loaded, problems

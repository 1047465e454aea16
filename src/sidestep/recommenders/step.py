"""A path from the history to a recommended item, step by step: one noun for the library, the command line, the server
and the page. This file needs no tensor library, so that the server's own process can read it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
class NamedCluster:
    """A cluster near to a thought, with its probability (the softmax of eq. 18). name: empty until it is known."""

    number: int
    probability: float
    name: str = ""


@dataclass(frozen=True)
class OlderItem:
    """An item before the window that was looked up. title: empty until it is known."""

    number: int
    title: str = ""


@dataclass(frozen=True)
class Step:
    """One level of a path.

    level: from 1. code: the code taken. log_prob: its log-probability given the codes before it, as the generator's
        softmax gives it. clusters: those nearest to the thought, nearest first; empty without thoughts.
    looked_up: the items of the long history that the generator read before it took the code, the last first; empty
        where it does not look back or found none.
    """

    level: int
    code: int
    log_prob: float
    clusters: list[NamedCluster] = field(default_factory=list)
    looked_up: list[OlderItem] = field(default_factory=list)

    def named(self, names: Sequence[Sequence[str]]) -> "Step":
        """The step with the names of its clusters. names: per level, a name per cluster."""
        if not self.clusters:
            return self
        of_level = names[self.level - 1]
        return replace(self, clusters=[replace(each, name=of_level[each.number]) for each in self.clusters])

    def titled(self, title: Callable[[int], str]) -> "Step":
        """The step with the titles of the items it looked up. title: of an item by its number."""
        return replace(self, looked_up=[replace(each, title=title(each.number)) for each in self.looked_up])

    def as_numbers(self) -> list[Any]:
        """The step without names, for a message between processes."""
        clusters = [[each.number, each.probability] for each in self.clusters]
        return [self.level, self.code, self.log_prob, clusters, [each.number for each in self.looked_up]]

    @classmethod
    def of_numbers(cls, numbers: Sequence[Any]) -> "Step":
        """The step of a message that `as_numbers` made."""
        level, code, log_prob, clusters, looked_up = numbers
        named = [NamedCluster(number, probability) for number, probability in clusters]
        return cls(level, code, log_prob, named, [OlderItem(number) for number in looked_up])


Path = list[Step]
"""The steps of one path, one a level."""


class RankedRow(NamedTuple):
    """The answer to one history: item numbers, best first, with their scores, and the path of each, where paths were
    wanted and there are any.
    """

    items: list[int]
    scores: list[float]
    paths: list[Path] | None

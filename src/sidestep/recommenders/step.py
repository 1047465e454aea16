"""A path from the history to a recommended item, step by step: one noun for the library, the command line, the server
and the page. This file needs no tensor library, so that the server's own process can read it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from sidestep.sids.path_names import PathNames, Prefix
from sidestep.sids.thought_names import ThinksOf, thinks_of

NAMED_CLUSTERS = 3
"""How many of a thought's nearest clusters an explanation names."""


@dataclass(frozen=True)
class NamedCluster:
    """A cluster near to a thought, with its probability (the softmax of eq. 18).

    name, num_items: what the cluster leaves of the items that the codes before it allow; empty and 0 until it is named.
    """

    number: int
    probability: float
    name: str = ""
    num_items: int = 0


@dataclass(frozen=True)
class OlderItem:
    """An item before the window that was looked up. title: empty until it is known."""

    number: int
    title: str = ""


@dataclass(frozen=True)
class Step:
    """One level of a path.

    level: from 1. code: the code taken. log_prob: its log-probability given the codes before it, as the generator's
        softmax gives it. clusters: all of the level, nearest to the thought first, and once the path is named the first
        few; empty without thoughts.
    thinks_of: what the thought holds likely; None without thoughts, until the path is named, and of a graph that tells
        the nearest clusters alone.
    looked_up: the items of the long history that the generator read before it took the code, the last first; empty
        where it does not look back or found none.
    name, num_items: what the code leaves of the items that the codes before it allow, as `PathNames` names it; empty
        and 0 until the path is named.
    decides: False where it leaves all of them, so that the level explains nothing.
    """

    level: int
    code: int
    log_prob: float
    clusters: list[NamedCluster] = field(default_factory=list)
    looked_up: list[OlderItem] = field(default_factory=list)
    thinks_of: ThinksOf | None = None
    name: str = ""
    num_items: int = 0
    decides: bool = True

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


def named(path: Path, names: PathNames) -> Path:
    """The path with the names of its codes, thoughts and their nearest clusters, each within the codes before it."""
    codes = tuple(step.code for step in path)
    result, before = [], names.code(())
    for level, step in enumerate(path):
        left = names.code(codes[: level + 1])
        clusters = []
        for each in step.clusters[:NAMED_CLUSTERS]:
            of_cluster = names.cluster(codes[:level], each.number)
            clusters.append(replace(each, name=of_cluster.name, num_items=of_cluster.num_items))
        result.append(
            replace(
                step,
                clusters=clusters,
                thinks_of=_thinks_of(step, codes[:level], names),
                name=left.name,
                num_items=left.num_items,
                decides=left.num_items < before.num_items,
            )
        )
        before = left
    return result


def _thinks_of(step: Step, prefix: Prefix, names: PathNames) -> ThinksOf | None:
    probabilities = np.zeros(names.num_clusters[step.level - 1])
    if len(step.clusters) < len(probabilities):
        return None
    for each in step.clusters:
        probabilities[each.number] = each.probability
    return thinks_of(names, prefix, probabilities)


class RankedRow(NamedTuple):
    """The answer to one history: item numbers, best first, with their scores, and the path of each and the reasons for
    its place, where they were wanted and there are any. Reasons may end before the items do.
    """

    items: list[int]
    scores: list[float]
    paths: list[Path] | None
    reasons: list[list[str]] | None = None

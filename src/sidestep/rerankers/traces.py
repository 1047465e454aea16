"""Traces: why candidates stand in an order, as one rule, what it looked for, and which candidates have it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Kind = str
KINDS: tuple[Kind, ...] = ("leaf", "aisle", "brand")
FEW = 3
"""Candidates that `similar` and `popular` name."""


@dataclass(frozen=True)
class Scene:
    """What the rules look at: one history and its candidates.

    taken: label numbers of the history's items, oldest first, by kind; 0 is none. offered: those of the candidates, in
    the first order. text: the cosine of each candidate with the nearest item of the history. popular: how popular each
    is. next_leaf: the leaf that most follows the last item's, 0 where none is known.
    """

    taken: Mapping[Kind, Sequence[int]]
    offered: Mapping[Kind, Sequence[int]]
    text: Sequence[float]
    popular: Sequence[float]
    next_leaf: int

    def __len__(self) -> int:
        """How many candidates there are."""
        return len(self.text)


@dataclass(frozen=True)
class Match:
    """What a rule looked for, and where it is.

    key: the number of a label; 0 where the rule looks for none, or there is none. matched: places of the candidates
    that have it, from 0, in the order in which the rule puts them.
    """

    key: int
    matched: tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    """rule: its name; empty where an order comes without a trace. key, matched: as in `Match`. order: the places of all
    candidates, in the new order.
    """

    rule: str
    key: int
    matched: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def followed(self) -> bool:
        """Whether the order puts what was matched in front, or with `keep` is the first one. Another rule that matches
        nothing asks for nothing.
        """
        if self.rule == "keep":
            return self.order == tuple(sorted(self.order))
        return set(self.order[: len(self.matched)]) == set(self.matched)


def last(scene: Scene) -> Match:
    """The category of the last item."""
    return _labelled(scene, "leaf", _latest(scene.taken["leaf"]))


def frequent(scene: Scene) -> Match:
    """The category that the history has most often, the later one of equals."""
    return _labelled(scene, "leaf", _most(scene.taken["leaf"]))


def brand(scene: Scene) -> Match:
    """The brand that the history has most often, the later one of equals."""
    return _labelled(scene, "brand", _most(scene.taken["brand"]))


def aisle(scene: Scene) -> Match:
    """The category above that of the last item."""
    return _labelled(scene, "aisle", _latest(scene.taken["aisle"]))


def following(scene: Scene) -> Match:
    """The category that most follows that of the last item (GR2's knowledge priming, mined from the log)."""
    return _labelled(scene, "leaf", scene.next_leaf)


def similar(scene: Scene) -> Match:
    """The candidates whose text is nearest to an item of the history."""
    return Match(0, _highest(scene.text))


def popular(scene: Scene) -> Match:
    """The most popular candidates."""
    return Match(0, _highest(scene.popular))


def keep(scene: Scene) -> Match:
    """The first order."""
    return Match(0, ())


RULES: dict[str, Callable[[Scene], Match]] = {
    "last": last,
    "frequent": frequent,
    "brand": brand,
    "aisle": aisle,
    "next": following,
    "similar": similar,
    "popular": popular,
    "keep": keep,
}
KIND_OF: dict[str, Kind] = {"last": "leaf", "frequent": "leaf", "brand": "brand", "aisle": "aisle", "next": "leaf"}
"""The kind of label that a rule looks for; the others look for none."""


def executed(rule: str, scene: Scene) -> Trace:
    """The trace of a rule that is followed to the letter: what it matches first, the rest in the first order."""
    found = RULES[rule](scene)
    rest = tuple(place for place in range(len(scene)) if place not in found.matched)
    return Trace(rule, found.key, found.matched, found.matched + rest)


def is_true(trace: Trace, scene: Scene) -> bool:
    """Whether the trace says of the scene what its rule finds there."""
    found = RULES[trace.rule](scene)
    return found.key == trace.key and set(found.matched) == set(trace.matched)


def accepted(scene: Scene, answer: int) -> list[str]:
    """The rules that put the answer first (GR2's rejection sampling); `keep` only where no other does.

    answer: its place among the candidates, from 0.
    """
    right = [rule for rule in RULES if executed(rule, scene).order[0] == answer]
    others = [rule for rule in right if rule != "keep" and RULES[rule](scene).matched]
    return others or [rule for rule in right if rule == "keep"]


def justifying(scene: Scene, answer: int) -> list[str]:
    """The rules that match the answer, be it behind others (GR2's targeted sampling: a trace is written with the answer
    in view); `keep` only where no other does and the answer stands first.

    answer: its place among the candidates, from 0.
    """
    right = [rule for rule in RULES if answer in RULES[rule](scene).matched]
    return right or ["keep"] * (answer == 0)


def _labelled(scene: Scene, kind: Kind, key: int) -> Match:
    places = tuple(place for place, label in enumerate(scene.offered[kind]) if label == key and key)
    return Match(key, places)


def _latest(labels: Sequence[int]) -> int:
    return labels[-1] if labels else 0


def _most(labels: Sequence[int]) -> int:
    known = [label for label in reversed(labels) if label]
    return Counter(known).most_common(1)[0][0] if known else 0  # equals stand in the order in which they were met


def _highest(values: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted(range(len(values)), key=lambda place: -values[place])[:FEW])

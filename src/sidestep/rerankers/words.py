"""Reasons in words: what the evidence or a trace says of each candidate, for people."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from sidestep.data.labels import ItemLabels
from sidestep.data.texts import PATH
from sidestep.rerankers.evidence import FEATURES
from sidestep.rerankers.traces import KIND_OF, KINDS, Scene, Trace, is_true

MOST, LEAST = 2, 0.1
"""Reasons for an item, and the least that one must add to its score beside the mean of the candidates."""


class Names:
    """Labels by number, in words."""

    def __init__(self, labels: ItemLabels) -> None:
        self._names = {kind: getattr(labels, kind).names for kind in KINDS}

    def label(self, kind: str, number: int) -> str:
        """The most specific part of a category, or a brand; empty for none."""
        return self._names[kind][number].rpartition(PATH)[2] if number else ""


def of_weights(
    scene: Scene, standard: Float[Tensor, "C F"], weights: Float[Tensor, " F"], names: Names
) -> list[list[str]]:
    """For each candidate what lifts it most above the mean of the candidates, by `weight * (z - mean z)`; features of
    one group count together, and what is nobody's reason is left out.
    """
    count = len(scene)
    lifts = (standard[:count] - standard[:count].mean(0)) * weights
    reasons = []
    for place in range(count):
        lift_of: dict[str, float] = {}
        for name, lift in zip(FEATURES, lifts[place].tolist(), strict=True):
            phrase = _phrase(name, scene, place, names)
            lift_of[phrase] = lift_of.get(phrase, 0.0) + lift
        heaviest = sorted(lift_of.items(), key=lambda each: -each[1])
        reasons.append([phrase for phrase, lift in heaviest if phrase and lift >= LEAST][:MOST])
    return reasons


def _phrase(feature: str, scene: Scene, place: int, names: Names) -> str:
    """What a feature says of a candidate, empty where it says nothing that can be put in words."""
    leaf = names.label("leaf", scene.offered["leaf"][place])
    last = names.label("leaf", scene.taken["leaf"][-1]) if scene.taken["leaf"] else ""
    kind = feature.partition("_")[0]
    if feature == "follows":
        return f"{leaf} comes after {last} more often than the others do" if leaf and last else ""
    if kind in KINDS:
        own = scene.offered[kind][place]
        times = sum(label == own for label in scene.taken[kind])
        called = "brand" if kind == "brand" else "category"
        return f"{called} {names.label(kind, own)}: {_times(times)} in the history" if own and times else ""
    phrases: Mapping[str, str] = {
        "score": "high in the first order",
        "rank": "high in the first order",
        "text": "its text is like that of an item in the history",
        "popular": "popular",
        "near": "taken by people who took the same items",
    }
    return phrases[kind]


def of_trace(trace: Trace | None, scene: Scene, names: Names) -> list[list[str]]:
    """For each candidate whether the trace looked for it; and where the trace is not true, or does not lead to the
    order, that it is so, also of a candidate that it did not look for and that stands elsewhere than among the rest in
    the first order. No trace, no reasons.
    """
    if trace is None or not trace.rule:
        return [[] for _ in range(len(scene))]
    notes = []
    if not is_true(trace, scene):
        notes.append("this reason is not borne out by the history and the candidates")
    if not trace.followed:
        notes.append("the order does not follow it")
    looked = looked_for(trace, scene, names)
    of_all = trace.rule == "keep"
    led_to = *trace.matched, *(place for place in range(len(scene)) if place not in trace.matched)
    reasons = []
    for place in range(len(scene)):
        if of_all or place in trace.matched:
            reasons.append([looked, *notes])
        else:
            elsewhere = trace.order.index(place) != led_to.index(place)
            reasons.append(["the reason of the list does not say why it stands here"] * elsewhere)
    return reasons


def looked_for(trace: Trace, scene: Scene, names: Names) -> str:
    """What a trace looked for, as a reason in words."""
    kind = KIND_OF.get(trace.rule)
    key = names.label(kind, trace.key) if kind is not None else ""
    times = sum(label == trace.key for label in scene.taken[kind]) if kind is not None and trace.key else 0
    last = names.label("leaf", scene.taken["leaf"][-1]) if scene.taken["leaf"] else ""
    return {
        "last": f"{key}, like the last item",
        "frequent": f"{key}, which the history has most often: {_times(times)}",
        "brand": f"brand {key}, which the history has most often: {_times(times)}",
        "aisle": f"{key}, the wider category of the last item",
        "next": f"after {last} comes {key} more than anything else",
        "similar": "its text is like that of an item in the history",
        "popular": "among the most popular candidates",
        "keep": "the first order is to be kept",
    }[trace.rule]


def moved(reasons: Sequence[Sequence[str]], order: Sequence[int]) -> list[list[str]]:
    """The reasons in the new order, each after where the item stood in the first one."""
    return [[f"place {place + 1} in the first order", *reasons[place]] for place in order]


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")

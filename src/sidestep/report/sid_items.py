"""The items behind the codes: which share an ID, and which stand under every code, the most popular first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidestep.data.interactions import by_popularity
from sidestep.report.plots import colour_of
from sidestep.sids.semantic_ids import Ints
from sidestep.workshop.report import SidFindings

CODES, DEEPER = 256, 4
"""At most so many codes of the first level are shown, and so many of the second under each."""
ITEMS, DEEPER_ITEMS = 4, 1
GROUPS, GROUP_ITEMS = 12, 6
LETTERS = 64
SIZES = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 9), (10, None))

Order = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class Behind:
    """A prefix and some of the items that share it.

    codes: the prefix. name, colour: of the cluster of its last code; empty where it is not known. items: how many
    share the prefix. category: the one that most of them have, and its share. shown: titles of the most popular.
    deeper: the prefixes one code longer with the most items. more_codes, more_items: those that are not shown there.
    """

    codes: tuple[int, ...]
    name: str
    colour: str
    items: int
    category: tuple[str, float] | None
    shown: list[str]
    deeper: "Level"


@dataclass(frozen=True)
class Level:
    """rows: prefixes, the one with the most items first. more_codes, more_items: of those that are left out."""

    rows: list[Behind]
    more_codes: int
    more_items: int


@dataclass(frozen=True)
class Collision:
    """An ID that several items have. shown: titles of the most popular of them."""

    codes: tuple[int, ...]
    items: int
    shown: list[str]


def behind(found: SidFindings) -> Level:
    """The codes of the first level, and under each those of the second."""
    return _level(
        found, by_popularity(len(found.first.codes), found.popularity), (), (CODES, DEEPER), (ITEMS, DEEPER_ITEMS)
    )


def collisions(found: SidFindings) -> list[Collision]:
    """The IDs that most items share, at most `GROUPS` of them."""
    order, codes = by_popularity(len(found.first.codes), found.popularity), found.first.codes
    groups = [order[group] for group in _largest(codes[order], GROUPS)[0] if len(group) > 1]
    return [
        Collision(
            tuple(codes[group[0]].tolist()), len(group), [title(found, item) for item in group[:GROUP_ITEMS].tolist()]
        )
        for group in groups
    ]


def id_sizes(codes: Ints) -> list[tuple[str, int, int]]:
    """How many IDs have one item, two and so on, and how many items these are; sizes that no ID has are left out."""
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    found = []
    for low, high in SIZES:
        inside = counts[(counts >= low) & (counts <= (high or counts.max()))]
        name = f"{low}" if high == low else f"{low} or more" if high is None else f"{low} to {high}"
        if len(inside):
            found.append((name, len(inside), int(inside.sum())))
    return found


def title(found: SidFindings, item: int) -> str:
    """What a person should read, cut where it is long; the item's number where there is no catalogue."""
    text = f"item {item}" if found.catalog is None else found.catalog.title(item)
    return text if len(text) <= LETTERS else text[: LETTERS - 1].rstrip() + "…"


def _level(
    found: SidFindings, items: Order, prefix: tuple[int, ...], codes: Sequence[int], shown: Sequence[int]
) -> Level:
    """items: those that share the prefix, the most popular first. codes, shown: how many codes, and how many items
    under each, to show at this level and below it; nothing below the last.
    """
    depth = len(prefix)
    if not codes or depth == found.first.codes.shape[1]:
        return Level([], 0, 0)
    column = found.first.codes[items, depth]
    groups, more_codes, more_items = _largest(column[:, None], codes[0])
    rows = []
    for group in groups:
        members, longer = items[group], (*prefix, int(column[group[0]]))
        name, colour = _cluster(found, depth, longer[-1])
        rows.append(
            Behind(
                codes=longer,
                name=name,
                colour=colour,
                items=len(members),
                category=_category(found, members) if depth == 0 else None,
                shown=[title(found, item) for item in members[: shown[0]].tolist()],
                deeper=_level(found, members, longer, codes[1:], shown[1:]) if len(members) > 1 else Level([], 0, 0),
            )
        )
    return Level(rows, more_codes, more_items)


def _largest(codes: Ints, count: int) -> tuple[list[Order], int, int]:
    """The `count` largest groups of rows that are alike, the largest first, low codes first where they are equal;
    within each group rows keep their order. And how many more groups there are, and rows in these.
    """
    order = np.lexsort(codes.T[::-1])
    changes = np.flatnonzero((np.diff(codes[order], axis=0) != 0).any(axis=1)) + 1
    starts = np.concatenate([[0], changes])
    sizes = np.diff(np.append(starts, len(codes)))
    ranked = np.argsort(-sizes, kind="stable")
    chosen = [order[starts[group] : starts[group] + sizes[group]] for group in ranked[:count]]
    return chosen, len(ranked[count:]), int(sizes[ranked[count:]].sum())


def _cluster(found: SidFindings, level: int, code: int) -> tuple[str, str]:
    if found.first.sids is None or not found.cluster_names:
        return "", ""
    cluster = int(found.first.sids.clusters[level][code])
    return found.cluster_names[level][cluster], colour_of(cluster)


def _category(found: SidFindings, members: Order) -> tuple[str, float] | None:
    if found.category is None:
        return None
    values, counts = np.unique([found.category[item] for item in members.tolist()], return_counts=True)
    best = int(counts.argmax())
    return (str(values[best]), float(counts[best] / len(members))) if values[best] else None

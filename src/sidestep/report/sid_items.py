"""The items of codes and prefixes, and the items that share an ID, the most popular first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidestep.data.interactions import by_popularity
from sidestep.report.plots import colour_of
from sidestep.sids.semantic_ids import Ints
from sidestep.workshop.report import SidFindings

CODES, DEEPER = 256, 4
"""Maximum number of codes of the first level, and of the second level under each."""
ITEMS, DEEPER_ITEMS = 4, 1
GROUPS, GROUP_ITEMS = 12, 6
LETTERS = 64
SIZES = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 9), (10, None))

Order = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class Behind:
    """A prefix and some of its items.

    codes: the prefix. name, colour: of the cluster of its last code; empty if unknown. items: number of items with the
    prefix. category: their most frequent category, and its share. shown: titles of the most popular items.
    deeper: the prefixes that are one code longer, with the most items first.
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
    """rows: prefixes, those with the most items first. more_codes, more_items: numbers of those left out."""

    rows: list[Behind]
    more_codes: int
    more_items: int


@dataclass(frozen=True)
class Collision:
    """An ID of several items. shown: titles of the most popular of them."""

    codes: tuple[int, ...]
    items: int
    shown: list[str]


def behind(findings: SidFindings) -> Level:
    """The codes of the first level, and under each, codes of the second."""
    return _level(
        findings,
        by_popularity(len(findings.first.codes), findings.popularity),
        (),
        (CODES, DEEPER),
        (ITEMS, DEEPER_ITEMS),
    )


def collisions(findings: SidFindings) -> list[Collision]:
    """The `GROUPS` IDs with the most items."""
    order, codes = by_popularity(len(findings.first.codes), findings.popularity), findings.first.codes
    groups = [order[group] for group in _largest(codes[order], GROUPS)[0] if len(group) > 1]
    titles = [[title(findings, item) for item in group[:GROUP_ITEMS].tolist()] for group in groups]
    return [
        Collision(tuple(codes[group[0]].tolist()), len(group), shown)
        for group, shown in zip(groups, titles, strict=True)
    ]


def id_sizes(codes: Ints) -> list[tuple[str, int, int]]:
    """For each number of items per ID that occurs: its name, the number of IDs, and the number of items."""
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    rows = []
    for low, high in SIZES:
        inside = counts[(counts >= low) & (counts <= (high or counts.max()))]
        name = f"{low}" if high == low else f"{low} or more" if high is None else f"{low} to {high}"
        if len(inside):
            rows.append((name, len(inside), int(inside.sum())))
    return rows


def title(findings: SidFindings, item: int) -> str:
    """The item's title, truncated if it is long; without a catalogue, the item's number."""
    text = f"item {item}" if findings.catalog is None else findings.catalog.title(item)
    return text if len(text) <= LETTERS else text[: LETTERS - 1].rstrip() + "…"


def _level(
    findings: SidFindings, items: Order, prefix: tuple[int, ...], codes: Sequence[int], shown: Sequence[int]
) -> Level:
    """items: those with the prefix, the most popular first. codes, shown: maximum number of codes, and of items under
    each, for this level and the levels below.
    """
    depth = len(prefix)
    if not codes or depth == findings.first.codes.shape[1]:
        return Level([], 0, 0)
    column = findings.first.codes[items, depth]
    groups, more_codes, more_items = _largest(column[:, None], codes[0])
    rows = []
    for group in groups:
        members, longer = items[group], (*prefix, int(column[group[0]]))
        name, colour = _cluster(findings, depth, longer[-1])
        rows.append(
            Behind(
                codes=longer,
                name=name,
                colour=colour,
                items=len(members),
                category=_category(findings, members) if depth == 0 else None,
                shown=[title(findings, item) for item in members[: shown[0]].tolist()],
                deeper=_level(findings, members, longer, codes[1:], shown[1:]) if len(members) > 1 else Level([], 0, 0),
            )
        )
    return Level(rows, more_codes, more_items)


def _largest(codes: Ints, count: int) -> tuple[list[Order], int, int]:
    """The `count` largest groups of equal rows, the largest first, ties by ascending codes; rows keep their order in a
    group. Also the number of further groups, and of their rows.
    """
    order = np.lexsort(codes.T[::-1])
    changes = np.flatnonzero((np.diff(codes[order], axis=0) != 0).any(axis=1)) + 1
    starts = np.concatenate([[0], changes])
    sizes = np.diff(np.append(starts, len(codes)))
    ranked = np.argsort(-sizes, kind="stable")
    chosen = [order[starts[group] : starts[group] + sizes[group]] for group in ranked[:count]]
    return chosen, len(ranked[count:]), int(sizes[ranked[count:]].sum())


def _cluster(findings: SidFindings, level: int, code: int) -> tuple[str, str]:
    if findings.first.sids is None or not findings.cluster_names:
        return "", ""
    cluster = int(findings.first.sids.clusters[level][code])
    return findings.cluster_names[level][cluster], colour_of(cluster)


def _category(findings: SidFindings, members: Order) -> tuple[str, float] | None:
    if findings.category is None:
        return None
    values, counts = np.unique([findings.category[item] for item in members.tolist()], return_counts=True)
    best = int(counts.argmax())
    return (str(values[best]), float(counts[best] / len(members))) if values[best] else None

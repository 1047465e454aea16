"""Classes of items that teach the levels of an end-to-end semantic ID: beginnings of category paths, labels, items."""

from collections.abc import Sequence

import numpy as np

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Ints
from sidestep.data.labels import NO_LABEL, Label, label_column, labels
from sidestep.data.texts import PATH
from sidestep.errors import ConfigError, did_you_mean

ITEM, CATEGORIES, BRAND, AUTO = "item", "categories", "brand", "auto"
UNKNOWN = -1
LABELS: dict[str, Label] = {CATEGORIES: "category", "category": "category", BRAND: "brand"}
CLEARLY_FEWER = 0.9
"""A shorter path teaches another level only where it has at most this share of the classes of the longer one."""


def levels_of(catalog: Catalog, names: Sequence[str]) -> Ints:
    """The class of every item at each level, `[N, L]`; `UNKNOWN` where a label is missing.

    names: "categories" (the whole path), "categories:n" (its first n steps, or fewer where it is shorter), "brand", any
        other column, several of these joined by "+", and "item".

    Raises:
        ConfigError: a column that is not there, or a level with one class, which teaches nothing.
    """
    return np.stack([_classes(catalog, name) for name in names], axis=1)


def automatic(catalog: Catalog, num_levels: int, most: int) -> list[str]:
    """Names of levels for a catalogue: the last is the item, the one before it the whole category path, and further up
    ever shorter paths of at most `most` classes, each of clearly fewer than the one below. Without shorter ones a level
    repeats the one below; without categories, all are the item.
    """
    paths = labels(catalog, "category") or []
    known = [path for path in paths if path.casefold() not in NO_LABEL]
    if num_levels == 1 or len(set(known)) < 2:
        return [ITEM] * num_levels
    names, below = [CATEGORIES], len(set(known))
    for depth in range(max(path.count(PATH) for path in known), 0, -1):
        count = len({_begin(path, depth) for path in known})
        if len(names) < num_levels - 1 and 2 <= count <= min(most, CLEARLY_FEWER * below):
            names.append(f"{CATEGORIES}:{depth}")
            below = count
    names += [names[-1]] * (num_levels - 1 - len(names))
    return [*reversed(names), ITEM]


def _classes(catalog: Catalog, name: str) -> Ints:
    if name == ITEM:
        return np.arange(len(catalog))
    columns = [_column(catalog, part.strip()) for part in name.split("+")]
    complete = [all(value.casefold() not in NO_LABEL for value in row) for row in zip(*columns, strict=True)]
    numbers: dict[tuple[str, ...], int] = {}
    found = [numbers.setdefault(row, len(numbers)) for row in zip(*columns, strict=True)]
    classes = np.where(complete, found, UNKNOWN)
    if len(np.unique(classes[classes != UNKNOWN])) < 2:
        raise ConfigError(
            f"tokenizer.unified.levels: {name!r} has one class or none in this catalogue, and teaches a level nothing"
            f"{_depths(catalog)}"
        )
    return classes


def _column(catalog: Catalog, name: str) -> list[str]:
    """Every item's value as text."""
    column, _, depth = name.partition(":")
    if depth and (not depth.isdecimal() or int(depth) < 1):
        raise ConfigError(f"tokenizer.unified.levels: {name!r} has no depth, expected a number as in 'categories:2'")
    names = catalog.table.columns
    label = LABELS.get(column)
    usual = None if label is None or column in names else label_column(catalog, label)
    if column not in names and usual is None:
        known = [*names, CATEGORIES, BRAND, ITEM]
        raise ConfigError(
            f"tokenizer.unified.levels: the catalogue has no column {column!r}{did_you_mean(column, known)}; it has "
            f"{', '.join(names)}, and 'item' is each item by itself"
        )
    values = labels(catalog, label or "category", usual or column)
    assert values is not None
    return [_begin(value, int(depth)) for value in values] if depth else values


def _begin(path: str, depth: int) -> str:
    return PATH.join(path.split(PATH)[:depth])


def _depths(catalog: Catalog) -> str:
    """How many classes the category path has at every depth, as the end of a sentence."""
    paths = labels(catalog, "category")
    known = [path for path in paths or [] if path.casefold() not in NO_LABEL]
    if not known:
        return ""
    deepest = max(path.count(PATH) for path in known) + 1
    counts = [f"{depth}: {len({_begin(path, depth) for path in known})}" for depth in range(1, deepest + 1)]
    return f"; classes of the category path by depth: {', '.join(counts)}"

"""Labels of items: which column of a catalogue holds the category or the brand, and every item's value as text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Ints
from sidestep.data.texts import PATH, joined
from sidestep.errors import ConfigError, did_you_mean

Label = Literal["category", "brand"]

USUAL_COLUMNS: dict[Label, tuple[str, ...]] = {
    "category": ("categories", "category", "category_path", "genres", "genre", "class", "tags", "tag"),
    "brand": ("brand", "store", "author", "author_id", "artist", "manufacturer", "publisher"),
}
"""Columns that commonly hold each label; the first one present is taken."""


def label_column(catalog: Catalog, label: Label, chosen: str | None = None) -> str | None:
    """The column that holds a label: the chosen one, else the first usual one; None where there is none.

    Raises:
        ConfigError: the catalogue has no column `chosen`.
    """
    names = catalog.table.columns
    if chosen is None:
        return next((name for name in USUAL_COLUMNS[label] if name in names), None)
    if chosen not in names:
        raise ConfigError(
            f"The catalogue has no column {chosen!r} (--{label}){did_you_mean(chosen, names)}; "
            f"it has {', '.join(names)}"
        )
    return chosen


def labels(catalog: Catalog, label: Label, chosen: str | None = None) -> list[str] | None:
    """Every item's label, `[N]`, empty where an item has none; None where the catalogue has no such column.

    Raises:
        ConfigError: the catalogue has no column `chosen`.
    """
    column = label_column(catalog, label, chosen)
    if column is None:
        return None
    values = catalog.table[column]
    known = values.fill_nan(None) if values.dtype.is_float() else values
    return [joined(value, column) for value in known.to_list()]


NO_LABEL = frozenset({"", "unknown", "none", "n/a", "nan", "null"})
"""Values, in lower case, that say that an item has no label."""
MOST_LABELS = 2_047
"""Labels of a kind that are told apart; rarer ones count as none, so that a table of pairs stays small."""


@dataclass(frozen=True)
class Numbered:
    """Labels of one kind as numbers from 1, the most frequent first; 0 is none.

    of_item: `[N]`. names: by number; that of 0 is empty.
    """

    of_item: Ints
    names: list[str]

    def __len__(self) -> int:
        """How many numbers there are, with 0."""
        return len(self.names)

    @classmethod
    def of(cls, values: Sequence[str], least: int = 1) -> "Numbered":
        """Number the values of all items. least: items that a label needs."""
        counts = Counter(value for value in values if value.casefold() not in NO_LABEL)
        kept = [value for value, count in counts.most_common(MOST_LABELS) if count >= least]
        number = {value: place for place, value in enumerate(kept, start=1)}
        return cls(np.array([number.get(value, 0) for value in values], dtype=np.int64), ["", *kept])


@dataclass(frozen=True)
class ItemLabels:
    """What is known of every item besides its text: its category, as a path from wide to narrow, and its brand.

    categories, brands: `[N]`, empty where an item has none.
    """

    categories: Sequence[str]
    brands: Sequence[str]

    @classmethod
    def of(cls, catalog: Catalog) -> "ItemLabels":
        nothing = [""] * len(catalog)
        return cls(labels(catalog, "category") or nothing, labels(catalog, "brand") or nothing)

    @cached_property
    def leaf(self) -> Numbered:
        """The whole category."""
        return Numbered.of(self.categories)

    @cached_property
    def aisle(self) -> Numbered:
        """The category without its last part; none where it has one part."""
        return Numbered.of([category.rpartition(PATH)[0] for category in self.categories])

    @cached_property
    def brand(self) -> Numbered:
        """The brand, where it has three items."""
        return Numbered.of(self.brands, least=3)

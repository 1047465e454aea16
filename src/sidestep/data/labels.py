"""Labels of items: which column of a catalogue holds the category or the brand, and every item's value as text."""

from typing import Literal

from sidestep.data.catalog import Catalog
from sidestep.data.sources.texts import joined
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

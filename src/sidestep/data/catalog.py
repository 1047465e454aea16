"""The catalogue: contiguous item numbers, their outside ids, and whatever else is known about each item."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sidestep import artifact
from sidestep.errors import DataError, UnknownItemError, brief, did_you_mean, listed
from sidestep.imports import at_use

if TYPE_CHECKING:
    import polars as pl
else:
    pl = at_use("polars")

ITEM_ID = "item_id"
TITLES = ("title", "name")
SOURCE_ROW = "source_row"  # column with each item's row in the items file, where there is one, counted from 0
Items = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, repr=False)
class Catalog:
    """`table` has one row per item, row number = item number. Column `item_id` holds the outside id as a string,
    the others are metadata in the source's own columns and types. Column `text`, where present, is what a text
    embedder reads.
    """

    table: "pl.DataFrame"

    def __post_init__(self) -> None:
        assert ITEM_ID in self.table.columns
        duplicated = self.table.filter(pl.col(ITEM_ID).is_duplicated())
        if len(duplicated):
            example = duplicated[ITEM_ID][0]
            raise DataError(
                f"Item {example!r} stands {int((duplicated[ITEM_ID] == example).sum())} times in the "
                'catalogue, expected once; keep the first of each with data.duplicate_items = "first"'
            )

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<Catalog: {len(self):,} items, columns {listed(self.table.columns)}>"

    @cached_property
    def item_ids(self) -> list[str]:
        """Outside ids by item number."""
        return self.table[ITEM_ID].to_list()

    @cached_property
    def number_of(self) -> dict[str, int]:
        """Item number by outside id."""
        return {item_id: item for item, item_id in enumerate(self.item_ids)}

    def items(self, item_ids: Sequence[str]) -> Items:
        """Item numbers `[n]` of outside ids.

        Raises:
            UnknownItemError: an id that is not in the catalogue. DataError: an id that is no text.
        """
        self.refuse_other_than_text(item_ids)
        number_of = self.number_of
        for item_id in item_ids:
            if item_id not in number_of:
                hint = did_you_mean(item_id, self.item_ids) if len(self) <= 100_000 else ""
                raise UnknownItemError(
                    f"Unknown item {item_id!r}: the catalogue of {len(self)} items has no such id{hint}"
                )
        return np.array([number_of[item_id] for item_id in item_ids], dtype=np.int64)

    def refuse_other_than_text(self, item_ids: Sequence[object]) -> None:
        """Raises:
        DataError: an id that is no text, such as a number or None.
        """
        for place, item_id in enumerate(item_ids, start=1):
            if not isinstance(item_id, str):
                hint = f"; did you mean {str(item_id)!r}?" if str(item_id) in self.number_of else ""
                raise DataError(
                    f"Item id {place} of {len(item_ids)} is {brief(repr(item_id))}, of type {type(item_id).__name__}; "
                    f"ids are text, as in {self.item_ids[0]!r}{hint}"
                )

    def title(self, item: int) -> str:
        """What a person should read: the title where there is one, else the outside id."""
        for column in TITLES:
            if column in self.table.columns and self.table[column][item]:
                return str(self.table[column][item])
        return self.item_ids[item]

    @cached_property
    def titles(self) -> list[str]:
        """The `title` of every item, by number."""
        return [self.title(item) for item in range(len(self))]

    @property
    def texts(self) -> list[str] | None:
        """The text of every item (empty where an item has none), or None when no item has any."""
        if "text" not in self.table.columns:
            return None
        return self.table["text"].fill_null("").to_list()

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        return artifact.save(folder, "catalog", tables={"items": self.table}, **origin)

    @classmethod
    def load(cls, folder: Path) -> "Catalog":
        return cls(artifact.load(folder, "catalog").table("items"))

"""A bundle's catalogue for clients: cards, search, filters, and the tree of semantic IDs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sidestep.bundle import CATEGORY, POPULARITY, Bundle
from sidestep.data.catalog import ITEM_ID
from sidestep.data.interactions import by_popularity
from sidestep.errors import ConfigError, UnknownItemError
from sidestep.serving.filters import Filters

EXAMPLES = 3


@dataclass(frozen=True)
class Under:
    """The items with a prefix: those at the places begin .. end - 1 in path order."""

    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin


class Shelf:
    """Look-ups in memory, without the model."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        table = bundle.catalog.table
        self.num_items = len(table)
        self.titles: list[str] = table["title"].to_list()
        self.categories: list[str | None] = table[CATEGORY].to_list()
        self.item_ids, self.number_of = bundle.catalog.item_ids, bundle.catalog.number_of
        self._popular = by_popularity(self.num_items, bundle.popularity)
        searched = plainly(table["title"].fill_null("") + " " + table[ITEM_ID])
        self._searched = pl.DataFrame({"text": searched[self._popular], "item": self._popular})
        self.filters = Filters(self.number_of, self.categories, table.drop(ITEM_ID))
        self._names = None if bundle.sids is None else bundle.path_names

    @property
    def num_levels(self) -> int:
        return len(self.bundle.meta["codebook_sizes"])

    def card(self, item: int) -> dict[str, Any]:
        return {"item_id": self.item_ids[item], "title": self.titles[item], "category": self.categories[item]}

    def cards(self, items: Iterable[int]) -> list[dict[str, Any]]:
        return [self.card(item) for item in items]

    def item(self, item_id: str) -> int:
        """The number of an item.

        Raises:
            UnknownItemError: an unknown id.
        """
        if item_id not in self.number_of:
            raise UnknownItemError(
                f"Unknown item {item_id!r}: the catalogue of {self.num_items:,} items has no such id; "
                "GET /v1/items?query=WORDS finds items by title"
            )
        return self.number_of[item_id]

    def known(self, item_ids: Iterable[str]) -> tuple[list[int], list[str]]:
        """The numbers of known items, and the ids of the others, each once."""
        return self.filters.known(item_ids)

    def details(self, item: int) -> dict[str, Any]:
        sids = self.bundle.sids
        row = self.bundle.catalog.table.row(item, named=True)
        standard = (ITEM_ID, "title", CATEGORY, POPULARITY)
        return {
            **self.card(item),
            "popularity": int(self.bundle.popularity[item]),
            "semantic_id": None if sids is None else sids.codes[item].tolist(),
            "fields": {name: _plain(value) for name, value in row.items() if name not in standard},
        }

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Items whose title or id holds every word, whatever its case and accents, the most popular first."""
        found = self._searched.lazy()
        for word in plainly(pl.Series([query])).item().split():
            found = found.filter(pl.col("text").str.contains(word, literal=True))
        return self.cards(found.select("item").head(limit).collect()["item"].to_list())

    def under(self, prefix: Sequence[int]) -> Under:
        """What begins with these codes.

        Raises:
            ConfigError: the model says no semantic IDs, or no item's begins so.
        """
        if self._names is None:
            raise ConfigError(f"A {self.bundle.meta['method']} says no semantic IDs; it has no tree")
        if len(prefix) > self.num_levels:
            raise ConfigError(f"The prefix has {len(prefix)} codes; semantic IDs here have {self.num_levels}")
        begin, end = self._names.span(tuple(prefix))
        if begin == end:
            raise UnknownItemError(f"No item's semantic ID begins with {'.'.join(map(str, prefix))}")
        return Under(begin, end)

    def tree(self, prefix: Sequence[int], limit: int) -> dict[str, Any]:
        """A node of the tree with its largest children, or the items at its end."""
        node = self.under(prefix)
        assert self._names is not None
        order, codes = self._names.order, self._names.codes
        children, items = [], []
        if len(prefix) < self.num_levels:
            column = codes[node.begin : node.end, len(prefix)]
            heads = np.flatnonzero(np.diff(column, prepend=-1))
            ends = [*heads[1:], len(column)]
            largest = sorted(zip(heads, ends, strict=True), key=lambda span: span[0] - span[1])[:limit]
            for head, end in largest:
                begin, until = node.begin + int(head), node.begin + int(end)
                children.append(
                    {
                        "code": int(column[head]),
                        "name": self._names.code((*prefix, int(column[head]))).name,
                        "num_items": until - begin,
                        "examples": [self.titles[item] for item in self._first_under(begin, until)],
                    }
                )
        else:
            items = self.cards(order[node.begin : node.end][:limit].tolist())
        name = self._names.code(tuple(prefix)).name
        return {"prefix": list(prefix), "name": name, "num_items": len(node), "children": children, "items": items}

    def neighbours(self, item: int, limit: int) -> list[dict[str, Any]]:
        """Items that share a prefix of their semantic ID with this one, the longest first, then by popularity.

        Raises:
            ConfigError: a model without semantic IDs.
        """
        if self._names is None or self.bundle.sids is None:
            raise ConfigError(f"A {self.bundle.meta['method']} has no semantic IDs")
        codes = self.bundle.sids.codes[item].tolist()
        shared_by: dict[int, int] = {}
        for shared in range(len(codes), 0, -1):
            span = self.under(codes[:shared])
            for other in self._first_under(span.begin, span.end, limit + 1 + len(shared_by)):
                if other != item:
                    shared_by.setdefault(other, shared)
            if len(shared_by) >= limit:
                break
        return [{**self.card(other), "shared": shared} for other, shared in list(shared_by.items())[:limit]]

    def _first_under(self, begin: int, end: int, count: int = EXAMPLES) -> list[int]:
        """The most popular items at the places begin .. end - 1."""
        assert self._names is not None
        items = self._names.order[begin:end]
        popularity = self.bundle.popularity[items]
        if len(items) > count:
            nearest = np.argpartition(-popularity, count - 1)[:count]
            items, popularity = items[nearest], popularity[nearest]
        return items[np.lexsort((items, -popularity))].tolist()


def plainly(texts: pl.Series) -> pl.Series:
    """In lower case and without accents."""
    return texts.str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.to_lowercase()


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value

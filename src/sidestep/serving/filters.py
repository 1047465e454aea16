"""Filters of recommendable items: categories, named sets, and lists."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from sidestep.data.fields import Column, Flags, Where, columns_of, meeting
from sidestep.data.interactions import Ints
from sidestep.data.texts import PATH
from sidestep.errors import DataError, did_you_mean
from sidestep.serving.batcher import Filter

KEPT = 256
"""Number of filters, and of sets, that are cached as bits; an eighth of a byte per item each."""

Bits = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class NamedSet:
    """A named set of items, such as those in stock. version: changes with the content."""

    name: str
    version: str
    item_ids: frozenset[str]

    @classmethod
    def of(cls, name: str, content: bytes, item_ids: Iterable[str]) -> "NamedSet":
        """content: the bytes that the items were read from."""
        return cls(name, f"{name}:{hashlib.sha256(content).hexdigest()[:24]}", frozenset(item_ids))


class Filters:
    """The filters of one catalogue. Each is computed once, and cached as bits while it is in use.

    number_of: item number by outside id. categories: of every item, as a path; None for an item without one. table: the
        columns that conditions are put on.
    """

    def __init__(self, number_of: Mapping[str, int], categories: Sequence[str | None], table: pl.DataFrame) -> None:
        self._table = table
        self._number_of, self._num_items = number_of, len(categories)
        self._of_category = _by_category(categories)
        self._sets: OrderedDict[str, Bits] = OrderedDict()
        self._lock = Lock()
        self._filters: OrderedDict[str, Filter] = OrderedDict()

    def known(self, item_ids: Iterable[str]) -> tuple[list[int], list[str]]:
        """The numbers of known items, and the ids of the others, each once."""
        number_of = self._number_of
        numbers: list[int] = []
        unknown: dict[str, None] = {}
        for item_id in item_ids:
            number = number_of.get(item_id)
            if number is None:
                unknown[item_id] = None
            else:
                numbers.append(number)
        return numbers, list(unknown)

    def category_counts(self) -> list[dict[str, Any]]:
        """Every category and every prefix of a category path, sorted by name."""
        return [{"name": name, "num_items": len(self._of_category[name])} for name in sorted(self._of_category)]

    @cached_property
    def columns(self) -> list[Column]:
        """What conditions can be put on. Computed once, in a while on a large catalogue."""
        return columns_of(self._table)

    def keep(self, named: NamedSet) -> Bits:
        """Look up a set's items in advance, and cache them. May be called from any thread."""
        bits = self._sets.get(named.version)
        if bits is None:
            bits = np.packbits(self._flags(np.array(self.known(named.item_ids)[0], dtype=np.int64)))
        with self._lock:
            self._sets[named.version] = bits
            self._sets.move_to_end(named.version)
            if len(self._sets) > KEPT:
                self._sets.popitem(last=False)
        return bits

    def allowed(
        self, categories: Sequence[str] | None, sets: Sequence[NamedSet], allow: Sequence[str] | None, where: Where
    ) -> tuple[Filter | None, list[str]]:
        """The filter for items of any of the categories that are in every set, on the list and meet the conditions
        (None without any of the four), and the unknown ids of the list.

        Raises:
            DataError: an unknown category or column, or a condition that does not fit its column.
        """
        if categories is None and not sets and allow is None and not where:
            return None, []
        names = None if categories is None else sorted(set(categories))
        listed, unknown = (None, []) if allow is None else self.known(allow)
        key = repr(
            (
                names,
                [each.version for each in sets],
                None if listed is None else sorted(set(listed)),
                sorted(where.items()),
            )
        )
        name = hashlib.sha256(key.encode()).hexdigest()[:24]
        if name not in self._filters:
            self._filters[name] = Filter(name, (self._bits(names, sets, listed) & self._meeting(where)).tobytes())
            if len(self._filters) > KEPT:
                self._filters.popitem(last=False)
        self._filters.move_to_end(name)
        return self._filters[name], unknown

    def _bits(self, categories: Sequence[str] | None, sets: Sequence[NamedSet], listed: Sequence[int] | None) -> Bits:
        bits = np.packbits(np.ones(self._num_items, dtype=np.bool_))
        if categories is not None:
            items = [self._items_of(name) for name in categories]
            bits &= np.packbits(self._flags(np.concatenate([np.empty(0, dtype=np.int64), *items])))
        for each in sets:
            bits &= self.keep(each)
        if listed is not None:
            bits &= np.packbits(self._flags(np.array(listed, dtype=np.int64)))
        return bits

    def _meeting(self, where: Where) -> Bits:
        return np.packbits(meeting(self._table, where))

    def _flags(self, items: Ints) -> Flags:
        flags = np.zeros(self._num_items, dtype=np.bool_)
        flags[items] = True
        return flags

    def _items_of(self, name: str) -> Ints:
        if name not in self._of_category:
            hint = did_you_mean(name, self._of_category) if len(self._of_category) < 1_000 else ""
            raise DataError(f"Unknown category {name!r}{hint}; GET /v1/categories lists them")
        return self._of_category[name]


def _by_category(categories: Sequence[str | None]) -> dict[str, Ints]:
    """The items of every category and of every prefix of a category path."""
    names = pl.Series("name", list(categories), dtype=pl.String)
    table = pl.DataFrame({"name": names, "item": np.arange(len(names))}).drop_nulls()
    parts_of: dict[str, list[Ints]] = {}
    for (name,), part in table.group_by("name", maintain_order=True):
        steps = str(name).split(PATH)
        for depth in range(1, len(steps) + 1):
            parts_of.setdefault(PATH.join(steps[:depth]), []).append(part["item"].to_numpy())
    return {name: np.concatenate(parts) for name, parts in parts_of.items()}

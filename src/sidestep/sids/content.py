"""What a tokenizer is told of items besides their vectors: labels as numbers, and the words of their titles."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from sidestep.data.catalog import Catalog
from sidestep.data.labels import NO_LABEL, ItemLabels
from sidestep.data.texts import PATH
from sidestep.errors import DataError
from sidestep.sids.labels import AUTO, automatic, levels_of
from sidestep.sids.semantic_ids import Floats, Ints
from sidestep.sids.settings import TokenizerConfig
from sidestep.sids.terms import Terms
from sidestep.vectors.files import read_known_vectors
from sidestep.vectors.graph import Graph
from sidestep.vectors.item_vectors import ItemVectors

MOST_DEPTHS, FEWEST = 6, 2
"""Steps of a category path that have a column each, and items that a label needs to have a number."""
NUM_WORDS = 2_000
"""The most frequent words of titles that an item's reconstruction names, besides labels."""


@dataclass(frozen=True)
class Attributes:
    """The labels of a catalogue, as columns of numbers from 1: the beginnings of the category path at each depth that
    tells items apart, and the brand. 0 stands for none, and for values that the catalogue does not have.
    """

    columns: Sequence[Mapping[str, int]]

    @classmethod
    def of(cls, catalog: Catalog) -> "Attributes":
        columns = [_numbered(values) for values in _values(catalog)]
        return cls([column for column in columns if len(column) > 1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers every column has, 0 included."""
        return tuple(len(column) + 1 for column in self.columns)

    def of_items(self, catalog: Catalog) -> Ints:
        """The numbers of any catalogue's items, `[N, A]`. Values of all columns differ, so each finds its own."""
        values = _values(catalog)
        table = np.zeros((len(catalog), len(self.columns)), dtype=np.int64)
        for place, column in enumerate(self.columns):
            for whole in values:
                found = np.array([column.get(value, 0) for value in whole], dtype=np.int64)
                table[:, place] = np.maximum(table[:, place], found)
        return table


@dataclass(frozen=True)
class Content:
    """A catalogue as a tokenizer learns from it.

    catalog: the first version's items, whose labels have numbers; further items are told by them. config: says what is
    told. images: the file of vectors of images, if there is one.
    """

    catalog: Catalog
    config: TokenizerConfig
    images: Path | None = None

    @cached_property
    def own_images(self) -> Floats:
        """The vector of every item's image, `[N, I]`; zeros where it has none."""
        return self._images_of(self.catalog)

    def _images_of(self, catalog: Catalog) -> Floats:
        if self.images is None:
            return np.zeros((len(catalog), 0), dtype=np.float32)
        return read_known_vectors(self.images, catalog)

    @cached_property
    def attributes(self) -> Attributes:
        return Attributes.of(self.catalog)

    @property
    def attribute_sizes(self) -> tuple[int, ...]:
        """As an encoder is told them; none where it is told of no labels."""
        return self.attributes.sizes if self.config.end_to_end else ()

    @cached_property
    def level_names(self) -> list[str]:
        """What makes items alike at every learnt level."""
        config = self.config
        if config.unified.levels == (AUTO,):
            return automatic(self.catalog, config.num_learnt, max(config.sizes))
        return list(config.unified.levels)

    @cached_property
    def classes(self) -> Ints:
        """`[N, L]`, -1 unknown."""
        return levels_of(self.catalog, self.level_names)

    @cached_property
    def words(self) -> Graph:
        """A bag of words for every item, `[N, V]` of ones: its labels and the most frequent words of its title."""
        terms = Terms.of(self.catalog.titles, None)
        every = np.arange(len(self.catalog))
        counts = np.bincount(terms.numbers, minlength=len(terms))
        frequent = np.argsort(-counts, kind="stable")[:NUM_WORDS]
        rows, numbers = terms.of_items(every)
        ones = np.ones(len(rows), dtype=np.float32)
        parts = [sparse.csr_array((ones, (rows, numbers)), shape=(len(every), len(terms)))[:, np.sort(frequent)]]
        for column in self.attributes.of_items(self.catalog).T:
            known = np.flatnonzero(column)
            ones = np.ones(len(known), dtype=np.float32)
            shape = (len(every), int(column.max(initial=0)))
            parts.append(sparse.csr_array((ones, (known, column[known] - 1)), shape=shape))
        return sparse.csr_array(sparse.hstack(parts, format="csr"))

    @property
    def word_shares(self) -> Floats:
        """The share of items that each word is of, `[V]`; empty where none are restored."""
        if not self.config.unified.rec_weight:
            return np.zeros(0, dtype=np.float32)
        return (np.asarray(self.words.sum(axis=0)) / max(len(self.catalog), 1)).astype(np.float32)

    def rows(self, vectors: ItemVectors, catalog: Catalog) -> ItemVectors:
        """What the tokenizer reads of items of this catalogue or of further ones: their vectors, and behind them those
        of images and numbers of labels, `[M, D + I + A]` (an end-to-end tokenizer), or a one-hot of the category (the
        control).

        Raises:
            DataError: zero vectors.
        """
        refuse_zero(vectors)
        images = (self.own_images if catalog is self.catalog else self._images_of(catalog)).copy()
        if self.config.end_to_end:
            told: Floats = self.attributes.of_items(catalog).astype(np.float32)
            if self.config.unified.hide == 1:
                told[:] = images[:] = 0
        else:
            told = _one_hot(self.catalog, catalog) * np.float32(self.config.one_hot)
        return ItemVectors(np.concatenate([vectors.values, images, told], axis=1))

    def note(self) -> str:
        """What levels are taught by, in a line."""
        if not self.config.end_to_end:
            return ""
        counts = [len(np.unique(column[column >= 0])) for column in self.classes.T]
        told = [f"{name} ({count:,})" for name, count in zip(self.level_names, counts, strict=True)]
        return f"levels are taught by: {', '.join(told)}"


def refuse_zero(vectors: ItemVectors) -> None:
    """Raises:
    DataError: a vector is zero, which has no direction and cannot be quantised.
    """
    zero = ~vectors.values.any(axis=1)
    if zero.any():
        raise DataError(
            f"{int(zero.sum())} of {len(vectors)} item vectors are zero, the first is item {int(zero.argmax())}, and a "
            "zero vector cannot be quantised; give these items vectors (embed.kind = 'lsa' from their texts, "
            "'behaviour' from the log), or mix in their neighbours' vectors with graph.enabled = true"
        )


def _values(catalog: Catalog) -> list[list[str]]:
    """Every column's value of every item; empty where an item has none. Depth and label are part of the value."""
    labels = ItemLabels.of(catalog)
    paths = ["" if path.casefold() in NO_LABEL else path for path in labels.categories]
    depths = min(MOST_DEPTHS, max((path.count(PATH) + 1 for path in paths if path), default=0))
    columns = []
    for depth in range(1, depths + 1):
        steps = [path.split(PATH) for path in paths]
        columns.append(
            [f"{depth}{PATH}{PATH.join(each[:depth])}" if len(each) >= depth and each[0] else "" for each in steps]
        )
    brands = ["" if brand.casefold() in NO_LABEL else f"brand{PATH}{brand}" for brand in labels.brands]
    return [*columns, brands]


def _numbered(values: Sequence[str]) -> dict[str, int]:
    kept = [value for value, count in Counter(values).most_common() if value and count >= FEWEST]
    return {value: number for number, value in enumerate(kept, start=1)}


def _one_hot(known: Catalog, catalog: Catalog) -> Floats:
    """The whole category of every item as a row of one 1, `[N, C]`; of zeros where it is none that is known."""
    kept = sorted({path for path in ItemLabels.of(known).categories if path.casefold() not in NO_LABEL})
    number = {path: place for place, path in enumerate(kept)}
    rows = np.zeros((len(catalog), len(kept)), dtype=np.float32)
    for item, path in enumerate(ItemLabels.of(catalog).categories):
        if path in number:
            rows[item, number[path]] = 1
    return rows

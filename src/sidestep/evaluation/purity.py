"""Purity: whether items with similar semantic IDs are related. Computed from group counts, not from pairs of items."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from scipy import sparse

from sidestep.sids.semantic_ids import Ints

if TYPE_CHECKING:
    Graph = sparse.csr_array[Any, tuple[int, int]]
else:  # scipy's arrays take no parameters before 1.16
    Graph = sparse.csr_array

Shares = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

NEIGHBOURS = 10
NO_LABEL = -1


@dataclass(frozen=True)
class Share:
    """value: a mean share. chance: its expectation if codes were independent of the items."""

    value: float
    chance: float


@runtime_checkable
class Relation(Protocol):
    """A relation between items, such as a common label."""

    @property
    def known(self) -> Mask:
        """`[N]`, the items for which the relation is defined."""
        ...

    def related(self, prefixes: Sequence[Ints]) -> Ints:
        """Number of related items with the same prefix, for each item and prefix length, `[N, len(prefixes)]`."""
        ...


@dataclass(frozen=True)
class SameLabel:
    """Two items are related if they have the same label. labels: `[N]`, `NO_LABEL` for an item without one."""

    labels: Ints

    @property
    def known(self) -> Mask:
        return self.labels != NO_LABEL

    def related(self, prefixes: Sequence[Ints]) -> Ints:
        size = int(self.labels.max(initial=0)) + 1
        counts = np.zeros((len(self.labels), len(prefixes)), dtype=np.int64)
        for level, prefix in enumerate(prefixes):
            pairs = prefix[self.known] * size + self.labels[self.known]
            counts[self.known, level] = _sizes(pairs) - 1
        return counts


class Linked:
    """Two items are related if a graph has an edge between them, such as co-purchases. edges: symmetric, `[N, N]`."""

    def __init__(self, edges: Graph) -> None:
        upper = sparse.triu(edges, k=1, format="coo")
        self._ends = np.stack([upper.row, upper.col]).astype(np.int64)
        self._num_items = edges.shape[0]

    @property
    def known(self) -> Mask:
        return np.bincount(self._ends.ravel(), minlength=self._num_items) > 0

    def related(self, prefixes: Sequence[Ints]) -> Ints:
        counts = np.zeros((self._num_items, len(prefixes)), dtype=np.int64)
        ends = self._ends
        for level, prefix in enumerate(prefixes):
            ends = ends[:, prefix[ends[0]] == prefix[ends[1]]]  # items that differ here differ at all deeper levels
            counts[:, level] = np.bincount(ends.ravel(), minlength=self._num_items)
        return counts


@dataclass(frozen=True)
class Agreement:
    """For each item and l = 0 .. L: the number of other items with the same first l codes, and of related ones.

    others, related: `[N, L + 1]`. known: `[N]`, the items for which the relation is defined.
    """

    others: Ints
    related: Ints
    known: Mask

    @classmethod
    def of(cls, numbers: Sequence[Ints], relation: Relation) -> "Agreement":
        others = np.stack([_sizes(number) - 1 for number in numbers], axis=1)
        return cls(others, relation.related(numbers), relation.known)

    def purity(self, neighbours: int = NEIGHBOURS) -> Share | None:
        """The share of related items among the `neighbours` items with the longest common prefix: the mean over the
        known items. Items at the same prefix length beyond this number share the remaining weight equally. With too few
        other items, all of them are neighbours. None without known items, or with a single item.
        """
        count = min(neighbours, len(self.others) - 1)
        if count < 1 or not self.known.any():
            return None
        others, related = self.others[self.known], self.related[self.known]
        total, taken = np.zeros(len(others)), np.zeros(len(others))
        deeper = deeper_related = np.zeros(len(others), dtype=np.int64)
        for level in reversed(range(others.shape[1])):
            new = others[:, level] - deeper
            share = (related[:, level] - deeper_related) / np.maximum(new, 1)
            take = np.minimum(new, count - taken)
            total, taken = total + take * share, taken + take
            deeper, deeper_related = others[:, level], related[:, level]
        chance = related[:, 0] / others[:, 0]
        return Share(float((total / count).mean()), float(chance.mean()))

    def together(self, level: int) -> Share | None:
        """The share of related items among the items with the same first `level` codes: the mean over the known items
        with at least one such item. None if there are none.
        """
        counted = self.known & (self.others[:, level] > 0)
        if not counted.any():
            return None
        others, related = self.others[counted], self.related[counted]
        value, chance = related[:, level] / others[:, level], related[:, 0] / others[:, 0]
        return Share(float(value.mean()), float(chance.mean()))


def label_numbers(texts: Sequence[str]) -> Ints:
    """Equal texts get equal numbers, empty ones `NO_LABEL`: `[N]`."""
    values = np.array(texts, dtype=np.object_)
    numbers = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return np.where(values == "", NO_LABEL, numbers)


def v_measure(prefix: Ints, labels: Ints) -> float | None:
    """The V-measure of prefixes as a clustering of the labelled items (Rosenberg and Hirschberg, 2007): 1 if each label
    has one prefix and each prefix one label. None without labels.
    """
    from sklearn.metrics import v_measure_score

    labelled = labels != NO_LABEL
    return float(v_measure_score(labels[labelled], prefix[labelled])) if labelled.any() else None


def _sizes(numbers: Ints) -> Ints:
    """For each entry, the number of entries equal to it, itself included."""
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return counts[inverse]

"""Do items whose semantic IDs agree have something in common? By groups and counts, never by pairs of items."""

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
    """value: a mean share. chance: what it would be if codes said nothing of the items."""

    value: float
    chance: float


@runtime_checkable
class Relation(Protocol):
    """Which items have something in common."""

    @property
    def known(self) -> Mask:
        """`[N]`, the items of which it can be said at all."""
        ...

    def related(self, prefixes: Sequence[Ints]) -> Ints:
        """How many other items of the same prefix each item has something in common with, `[N, len(prefixes)]`."""
        ...


@dataclass(frozen=True)
class SameLabel:
    """Items have a label in common. labels: `[N]`, `NO_LABEL` where an item has none."""

    labels: Ints

    @property
    def known(self) -> Mask:
        return self.labels != NO_LABEL

    def related(self, prefixes: Sequence[Ints]) -> Ints:
        size = int(self.labels.max(initial=0)) + 1
        found = np.zeros((len(self.labels), len(prefixes)), dtype=np.int64)
        for level, prefix in enumerate(prefixes):
            pairs = prefix[self.known] * size + self.labels[self.known]
            found[self.known, level] = _sizes(pairs) - 1
        return found


class Linked:
    """Items are linked by an edge of a graph, such as that of co-purchases. edges: symmetric, `[N, N]`."""

    def __init__(self, edges: Graph) -> None:
        upper = sparse.triu(edges, k=1, format="coo")
        self._ends = np.stack([upper.row, upper.col]).astype(np.int64)
        self._num_items = edges.shape[0]

    @property
    def known(self) -> Mask:
        return np.bincount(self._ends.ravel(), minlength=self._num_items) > 0

    def related(self, prefixes: Sequence[Ints]) -> Ints:
        found = np.zeros((self._num_items, len(prefixes)), dtype=np.int64)
        ends = self._ends
        for level, prefix in enumerate(prefixes):
            ends = ends[:, prefix[ends[0]] == prefix[ends[1]]]  # what parts at one level never meets again below it
            found[:, level] = np.bincount(ends.ravel(), minlength=self._num_items)
        return found


@dataclass(frozen=True)
class Agreement:
    """How many others share an item's first l codes, and how many of them are related to it, l = 0 .. L.

    others, related: `[N, L + 1]`. known: `[N]`, the items the relation says something of.
    """

    others: Ints
    related: Ints
    known: Mask

    @classmethod
    def of(cls, numbers: Sequence[Ints], relation: Relation) -> "Agreement":
        others = np.stack([_sizes(number) - 1 for number in numbers], axis=1)
        return cls(others, relation.related(numbers), relation.known)

    def purity(self, neighbours: int = NEIGHBOURS) -> Share | None:
        """Over the known items, the mean share of the `neighbours` items with the longest common prefix that are
        related to it. Where a prefix is shared by more than are wanted, all of them count with equal weight. Without
        enough other items, all of them are the neighbours. None where no item is known, or is alone.
        """
        wanted = min(neighbours, len(self.others) - 1)
        if wanted < 1 or not self.known.any():
            return None
        others, related = self.others[self.known], self.related[self.known]
        total, taken = np.zeros(len(others)), np.zeros(len(others))
        deeper = deeper_related = np.zeros(len(others), dtype=np.int64)
        for level in reversed(range(others.shape[1])):
            new = others[:, level] - deeper
            share = (related[:, level] - deeper_related) / np.maximum(new, 1)
            take = np.minimum(new, wanted - taken)
            total, taken = total + take * share, taken + take
            deeper, deeper_related = others[:, level], related[:, level]
        chance = related[:, 0] / others[:, 0]
        return Share(float((total / wanted).mean()), float(chance.mean()))

    def together(self, level: int) -> Share | None:
        """Of the items that share the first `level` codes with an item, the share that is related to it: the mean over
        the known items that share them with anybody. None where there are none.
        """
        counted = self.known & (self.others[:, level] > 0)
        if not counted.any():
            return None
        others, related = self.others[counted], self.related[counted]
        value, chance = related[:, level] / others[:, level], related[:, 0] / others[:, 0]
        return Share(float(value.mean()), float(chance.mean()))


def v_measure(prefix: Ints, labels: Ints) -> float | None:
    """The V-measure of prefixes as a clustering of the labelled items (Rosenberg and Hirschberg, 2007): 1 where each
    label has one prefix and each prefix one label. None where no item has a label.
    """
    from sklearn.metrics import v_measure_score

    labelled = labels != NO_LABEL
    return float(v_measure_score(labels[labelled], prefix[labelled])) if labelled.any() else None


def _sizes(numbers: Ints) -> Ints:
    """How many have the same number as each, itself included."""
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return counts[inverse]

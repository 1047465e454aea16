"""Names for the codes and clusters of a path: what each of them leaves of the items that the codes before it allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from sidestep.data.interactions import by_popularity
from sidestep.sids.semantic_ids import Ints, SemanticIds
from sidestep.sids.terms import Terms

NUM_TERMS = 3
LEAST = 1e-6
"""A term of a lower score does not distinguish."""
CLEARLY = float(np.log(1.3))
"""A second or third term needs at least this log(share_S / share_G)."""
NEWLY = 0.1
"""... and must hold of at least this share of S outside of what the terms before it hold of, by number of clusters."""
KEPT_NAMES, KEPT_PREFIXES = 100_000, 1_000
ALL_ITEMS, NO_ITEMS = "all items", "no items"

Prefix = tuple[int, ...]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Left:
    """What a code or a cluster leaves of the items with a prefix.

    name: in words. num_items: how many are left. terms: numbers of the terms in the name; empty where it consists of
    titles.
    """

    name: str
    num_items: int
    terms: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Group:
    """The items with a prefix, at the places begin .. end - 1 of the path order, and the pairs of an item and a term.

    weights: what each item counts. terms: the distinct terms, rising. counts: what the items that each of them holds of
    count together. rows, numbers: of each pair, the item (from 0) and the term (its place in `terms`), in the order of
    the items.
    """

    begin: int
    end: int
    weights: Floats
    terms: Ints
    counts: Floats
    rows: Ints
    numbers: Ints


class PathNames:
    """Names codes and clusters within a prefix by up to three terms of titles and categories.

    G are the items with the prefix, S those that the code (or the cluster) leaves. The first term has the highest
    `share_S * log(share_S / share_G)`, share_X the share of the items of X that the term holds of. Each further one has
    the highest score with share_S counted over those items of S alone that no term before it holds of (if S is a single
    item, it is named by further terms all the same). Among equals the term of most items of the catalogue is taken. So
    a name says what distinguishes S from its siblings, and holds of as many items of S as possible. Where S = G,
    nothing is decided, and the name is that of the prefix. Where no term distinguishes S, its name consists of its most
    popular titles.

    Several clusters are named together as what a model holds likely. It meets some of their items much more often than
    others: an item then counts the square root of how often it was taken in training, and once more, in S and in G. So
    what is often taken has a say in the name, and no bestseller has it alone. A further term needs less of S the more
    clusters there are, since each of them is a smaller part of S.

    Names are computed when they are asked for, and kept.
    """

    def __init__(
        self, sids: SemanticIds, titles: Sequence[str], categories: Sequence[str | None] | None, popularity: Ints
    ) -> None:
        self._titles, self._popularity, self._clusters = titles, popularity, sids.clusters
        self.num_levels, self.num_clusters = sids.num_levels, sids.num_clusters
        self.order = np.lexsort((-popularity, *sids.codes.T[::-1]))
        """The items by path, those that share an ID by popularity; `codes` are theirs, `[N, L]`."""
        self.codes = sids.codes[self.order]
        self._terms = Terms.of(titles, categories)
        self._rows, self._numbers = self._terms.of_items(self.order)
        self._taken = np.sqrt(1.0 + popularity[self.order])
        self._starts = np.searchsorted(self._rows, np.arange(len(self.order) + 1))
        self._common = np.bincount(self._numbers, minlength=len(self._terms)) / max(len(self.order), 1)
        self.code = lru_cache(KEPT_NAMES)(self._code)
        self.cluster = lru_cache(KEPT_NAMES)(self._cluster)
        self.likely = lru_cache(KEPT_NAMES)(self._likely)
        self.counts = lru_cache(KEPT_PREFIXES)(self._counted)
        self._group = lru_cache(KEPT_PREFIXES)(self._grouped)
        self._taken_group = lru_cache(KEPT_PREFIXES)(self._grouped_as_taken)

    def span(self, prefix: Prefix) -> tuple[int, int]:
        """The places in `order` where the items with this prefix begin and end; they are equal where there are none."""
        begin, end = 0, len(self.order)
        for level, code in enumerate(prefix):
            column = self.codes[begin:end, level]
            begin, end = (begin + int(column.searchsorted(code, side)) for side in ("left", "right"))
        return begin, end

    def holds(self, left: Left, item: int) -> bool:
        """Whether a term of the name is one of the item's, or the name is its title."""
        if not left.terms:
            return left.name == self._titles[item]
        own = self._terms.numbers[self._terms.starts[item] : self._terms.starts[item + 1]]
        return not set(left.terms).isdisjoint(own.tolist())

    def _code(self, prefix: Prefix) -> Left:
        """What the last code of a prefix leaves of the items with the codes before it."""
        begin, end = self.span(prefix)
        if not prefix:
            return Left(ALL_ITEMS, end - begin)
        group = self._group(prefix[:-1])
        inside = np.zeros(group.end - group.begin, dtype=np.bool_)
        inside[begin - group.begin : end - group.begin] = True
        pairs = slice(*(self._starts[[begin, end]] - self._starts[group.begin]).tolist())
        return self._left(prefix[:-1], group, inside, group.rows[pairs], group.numbers[pairs], NEWLY)

    def _cluster(self, prefix: Prefix, cluster: int) -> Left:
        """What the codes of a cluster leave of the items with this prefix, which has fewer than L codes."""
        return self._of_clusters(prefix, self._group(prefix), (cluster,))

    def _likely(self, prefix: Prefix, clusters: tuple[int, ...]) -> Left:
        """What the codes of likely clusters leave together of the items with this prefix."""
        return self._of_clusters(prefix, self._taken_group(prefix), clusters)

    def _of_clusters(self, prefix: Prefix, group: _Group, clusters: tuple[int, ...]) -> Left:
        inside = np.isin(self._clusters_of(group.begin, group.end, len(prefix)), clusters)
        pairs = inside[group.rows]
        return self._left(prefix, group, inside, group.rows[pairs], group.numbers[pairs], NEWLY / len(clusters))

    def _counted(self, prefix: Prefix) -> Ints:
        """How many of the items with this prefix each cluster of the next level leaves."""
        return np.bincount(self._clusters_of(*self.span(prefix), len(prefix)), minlength=self.num_clusters[len(prefix)])

    def _clusters_of(self, begin: int, end: int, level: int) -> Ints:
        return self._clusters[level][self.codes[begin:end, level]]

    def _grouped(self, prefix: Prefix) -> _Group:
        begin, end = self.span(prefix)
        pairs = slice(*self._starts[[begin, end]].tolist())
        terms, numbers = np.unique(self._numbers[pairs], return_inverse=True)
        counts = np.bincount(numbers).astype(np.float64)
        return _Group(begin, end, np.ones(end - begin), terms, counts, self._rows[pairs] - begin, numbers)

    def _grouped_as_taken(self, prefix: Prefix) -> _Group:
        group = self._group(prefix)
        weights = self._taken[group.begin : group.end]
        counts = np.bincount(group.numbers, weights[group.rows]).astype(np.float64)
        return replace(group, weights=weights, counts=counts)

    def _left(self, prefix: Prefix, group: _Group, inside: Flags, rows: Ints, numbers: Ints, newly: float) -> Left:
        """inside: of the group's items, those that are left. rows, numbers: their pairs. newly: see `NEWLY`."""
        left = int(inside.sum())
        if not left:
            return Left(NO_ITEMS, 0)
        if left == len(inside):
            whole = self.code(prefix)
            return Left(whole.name, left, whole.terms)
        chosen = [int(group.terms[number]) for number in self._distinctive(group, inside, rows, numbers, newly)]
        if chosen:
            return Left(", ".join(self._terms.terms[term] for term in chosen), left, tuple(chosen))
        items = self.order[group.begin : group.end][inside]
        first = [self._titles[item] for item in items[by_popularity(left, self._popularity[items])[:2]]]
        return Left(first[0] if left == 1 else "like " + " and ".join(first), left)

    def _distinctive(self, group: _Group, inside: Flags, rows: Ints, numbers: Ints, newly: float) -> list[int]:
        """The terms that name the items of these pairs, as their places in the group's."""
        num_terms, left, several = len(group.terms), group.weights[inside].sum(), inside.sum() > 1
        counts = np.bincount(numbers, group.weights[rows], num_terms)
        gain = np.log(np.maximum(counts, 1) * (group.weights.sum() / left) / group.counts)
        equals = 1e-9 * self._common[group.terms]
        chosen: list[int] = []
        while len(chosen) < NUM_TERMS and counts.any():
            score = counts / left * gain
            if chosen:
                score[(gain < CLEARLY) | (counts < newly * left)] = 0
                score[chosen] = 0
            best = int((score + equals).argmax())
            if score[best] <= LEAST:
                break
            chosen.append(best)
            if several:
                covered = np.zeros(group.end - group.begin, dtype=np.bool_)
                covered[rows[numbers == best]] = True
                rest = ~covered[rows]
                rows, numbers = rows[rest], numbers[rest]
                counts = np.bincount(numbers, group.weights[rows], num_terms)
        return chosen

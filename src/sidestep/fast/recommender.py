"""A bundle's graph as a recommender of item numbers: the law of `recommenders.generative.GenerativeRecommender`."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path as Folder
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from sidestep import bundle
from sidestep.bundle import Bundle
from sidestep.data.interactions import NO_TIME, Ints, by_popularity
from sidestep.data.reads import Reads
from sidestep.errors import ArtifactError
from sidestep.fast.session import Array, Session
from sidestep.recommenders.portions import portions
from sidestep.recommenders.step import NamedCluster, Path, RankedRow, Step
from sidestep.sids.flat_trie import FlatTrie, Laid, padded

CLOSE = 1e-5
"""How far a score may be from eager's where the graph is exported."""


@runtime_checkable
class Runs(Protocol):
    """What runs a graph; see `Session`."""

    def run(self, given: dict[str, Array], explain: bool) -> dict[str, Array]: ...


class When(NamedTuple):
    """times: of every item of each history, in milliseconds, `NO_TIME` where unknown; None where all are. at: when each
    answer is wanted, likewise.
    """

    times: Sequence[Ints] | None = None
    at: Sequence[int] | None = None

    def of(self, rows: Sequence[int], history: Array, recent: int) -> dict[str, Array]:
        """What a graph is told of some rows. history: theirs, padded with -1. recent: so many last items are read."""
        times, asked = np.full(history.shape, NO_TIME), np.full((len(rows), 1), NO_TIME)
        if self.times is not None:
            times[history >= 0] = np.concatenate([self.times[row][-recent:] for row in rows])
        if self.at is not None:
            asked[:, 0] = [self.at[row] for row in rows]
        return {"times": times, "asked": asked}


ALWAYS = When()


class GraphRecommender:
    """Ranks items by a graph.

    trie: with all items allowed it is `everything`; filters are laid over it by `Laid.over`. popularity: `[N]`.
    reads: of a history its last items, and perhaps their times.
    """

    def __init__(self, graph: Runs, trie: FlatTrie, popularity: Ints, reads: Reads, num_beams: int) -> None:
        self.trie, self.num_beams = trie, num_beams
        self.everything = Laid.over(trie, np.ones(trie.num_items, dtype=np.bool_))
        self._graph, self._popularity, self.reads = graph, popularity, reads
        self._by_popularity = by_popularity(trie.num_items, popularity)

    @classmethod
    def of_bundle(cls, opened: Bundle, threads: int = 1) -> "GraphRecommender":
        """Raises:
        ArtifactError: parts that do not belong together, or a graph that cannot be read.
        """
        trie = FlatTrie.of(opened.tensors(bundle.TRIE))
        if trie.num_items != opened.meta["num_items"]:
            raise ArtifactError(f"The tree of {str(opened.folder)!r} has other items than its catalogue")
        graph = Session(opened.folder / bundle.GRAPH, threads)
        return cls(graph, trie, opened.popularity, opened.reads, opened.meta["beams"])

    def with_beams(self, num_beams: int) -> "GraphRecommender":
        """The same graph, searched with another number of beams."""
        other = copy(self)
        other.num_beams = num_beams
        return other

    def rank(
        self,
        histories: Sequence[Ints],
        excluded: Sequence[Sequence[int]],
        k: int,
        laid: Laid | None = None,
        explain: bool = False,
        beams: int | None = None,
        when: When = ALWAYS,
    ) -> list[RankedRow]:
        """The k best permitted items of every history, in its order; fewer where fewer are permitted.

        histories: item numbers, oldest first. excluded: the items that are barred for each of them. when: read by a
            model that is told times.
        """
        laid, beams = laid or self.everything, max(beams or self.num_beams, k)
        answers = [RankedRow([], [], None)] * len(histories)
        for row in [number for number, history in enumerate(histories) if not len(history)]:
            answers[row] = self._popular(excluded[row], k, laid)
        lengths = np.array([min(len(history), self.reads.recent) for history in histories], dtype=np.int64)
        for rows in (portion.tolist() for portion in portions(lengths, beams)):
            history = padded([histories[row][-self.reads.recent :] for row in rows])
            closed = laid.closed([excluded[row] for row in rows])
            given = {"history": history, "open": laid.open, "closed": closed, "beams": _of(beams), "answers": _of(k)}
            if self.reads.times:
                given |= when.of(rows, history, self.reads.recent)
            outputs = self._outputs(given, k, explain)
            for place, row in enumerate(rows):
                answers[row] = _row({name: values[place] for name, values in outputs.items()}, explain)
        return answers

    def _outputs(self, given: dict[str, Array], k: int, explain: bool) -> dict[str, Array]:
        """Of k paths, and of as many more as equal the last of them."""
        outputs = self._graph.run({**given, "paths": _of(k)}, explain)
        needed = int(outputs["needed"].max())
        return outputs if needed <= k else self._graph.run({**given, "paths": _of(needed)}, explain)

    def _popular(self, excluded: Sequence[int], k: int, laid: Laid) -> RankedRow:
        allowed = self._by_popularity[laid.items[self._by_popularity]][: k + len(excluded)]
        items = allowed[~np.isin(allowed, np.array(excluded, dtype=np.int64))][:k]
        return RankedRow(items.tolist(), self._popularity[items].astype(np.float64).tolist(), None)


def has_graph(folder: Folder) -> bool:
    """Whether a bundle with a graph lies there."""
    return bundle.is_bundle(folder) and (folder / bundle.GRAPH).is_file()


def open_recommender(folder: Folder, threads: int = 1) -> tuple[Bundle, GraphRecommender]:
    """The verified bundle in a folder, and its graph after it has answered the bundle's questions.

    Raises:
        ArtifactError: see `bundle.read`, or it does not answer as it should.
    """
    opened = bundle.read(folder)
    recommender = GraphRecommender.of_bundle(opened, threads)
    check(opened, recommender)
    return opened, recommender


def check(opened: Bundle, recommender: GraphRecommender, tolerance: float = bundle.TOLERANCE) -> None:
    """Compare the graph's answers with those of the bundle's model at its export. Raises as `bundle.check`."""

    def ask(history: list[int], k: int) -> tuple[list[int], list[float]]:
        [found] = recommender.rank([np.array(history, dtype=np.int64)], [[]], k)
        return found.items, found.scores

    bundle.check(opened, ask, tolerance)


def _of(size: int) -> Array:
    return np.zeros(size, dtype=np.int64)


def _row(outputs: dict[str, Array], explain: bool) -> RankedRow:
    real = int((outputs["items"] >= 0).sum())
    items, scores = outputs["items"][:real].tolist(), outputs["scores"][:real].tolist()
    return RankedRow(items, scores, [_path(outputs, rank) for rank in range(real)] if explain else None)


def _path(outputs: dict[str, Array], rank: int) -> Path:
    steps = []
    for level, (code, log_prob) in enumerate(
        zip(outputs["codes"][rank].tolist(), outputs["log_probs"][rank].tolist(), strict=True), start=1
    ):
        clusters = []
        if f"clusters_{level}" in outputs:
            numbers, probs = outputs[f"clusters_{level}"][rank], outputs[f"cluster_probs_{level}"][rank]
            clusters = list(map(NamedCluster, numbers.tolist(), probs.tolist()))
        steps.append(Step(level, code, log_prob, clusters))
    return steps

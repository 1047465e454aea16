"""Questions with every kind of filter, and the comparison of a graph's answers with those of the search."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import jaxtyping
import numpy as np
import torch

from sidestep.data.interactions import NO_TIME, Ints
from sidestep.data.sequences import pad, question
from sidestep.fast.recommender import GraphRecommender, When
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.sids.flat_trie import Laid

Eager = tuple[GenerativeRecommender, GraphRecommender]
EQUAL, CLOSE = 2e-6, 1e-5
"""Scores nearer than the first are rounded alike or not by chance, and may change places; the second is the promise."""


@contextmanager
def unchecked() -> Iterator[None]:
    """Shapes and types are not checked inside: a size that stands for all sizes is no int."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@dataclass(frozen=True)
class Ask:
    """Some histories that share a filter of allowed items, with what is excluded for each, and times."""

    histories: list[Ints]
    excluded: list[list[int]]
    allowed: Ints | None
    k: int
    when: When


def asks(count: int, num_items: int, longest: int, k: int | None = None, seed: int = 0) -> list[Ask]:
    """`count` histories of 0 to `longest` items, in batches of several sizes."""
    rng = np.random.default_rng(seed)
    found, left = [], count
    while left > 0:
        rows = min(int(rng.choice([1, 2, 5, 17])), left)
        left -= rows
        histories = [rng.integers(0, num_items, rng.integers(0, longest + 1)) for _ in range(rows)]
        barred = rng.choice(["nothing", "seen", "many"])
        excluded: list[list[int]] = [[] for _ in range(rows)]
        if barred == "seen":
            excluded = [history.tolist() for history in histories]
        elif barred == "many":
            excluded = [rng.integers(0, num_items, rng.integers(0, 2 * num_items)).tolist() for _ in range(rows)]
        share = rng.choice([0.05, 0.5, 1.0])
        allowed = None if share == 1.0 else rng.random(num_items) < share
        when = _moments(rng, histories)
        found.append(Ask(histories, excluded, allowed, k or int(rng.choice([1, 3, 10, num_items])), when))
    return found


def _moments(rng: np.random.Generator, histories: Sequence[Ints]) -> When:
    """Times from 1970 to 2060, a few of them not known; of some batches none."""
    begins = rng.integers(0, 2_840_000_000_000, len(histories))
    gaps = [np.cumsum(10 ** rng.uniform(0, 9, len(history) + 1)).astype(np.int64) for history in histories]
    times = [
        np.where(rng.random(len(gap)) < 0.1, NO_TIME, begin + gap) for begin, gap in zip(begins, gaps, strict=True)
    ]
    known = rng.random() < 0.8
    return When([row[:-1] for row in times] if known else None, [int(row[-1]) for row in times] if known else None)


def agree(eager: GenerativeRecommender, graph: GraphRecommender, asked: Sequence[Ask], absolute: bool = False) -> None:
    """The same items in the same order with the same scores, and the same paths. absolute: whether the times of a model
    that is told them count from 1970.
    """
    for ask in asked:
        allowed = None if ask.allowed is None else torch.from_numpy(ask.allowed)
        barred = ItemFilter(pad([np.array(row, dtype=np.int64) for row in ask.excluded]), allowed)
        asked_of_eager = question(ask.histories, eager.reads, ask.when.times, ask.when.at, absolute)
        theirs = eager.rank(asked_of_eager, ask.k, barred, explain=True)
        laid = None if ask.allowed is None else Laid.over(graph.trie, ask.allowed)
        assert theirs.paths is not None
        for row, ours in enumerate(graph.rank(ask.histories, ask.excluded, ask.k, laid, True, when=ask.when)):
            items = theirs.items[row][theirs.items[row] >= 0].tolist()
            scores = theirs.scores[row][: len(items)].numpy()
            np.testing.assert_allclose(ours.scores, scores, rtol=0, atol=CLOSE)
            if ours.items != items:
                same_but_for_equals(ours.items, items, scores)
                continue
            for path, same in zip(ours.paths or [], theirs.paths[row], strict=True):
                assert [step.code for step in path] == [step.code for step in same]
                np.testing.assert_allclose([x.log_prob for x in path], [x.log_prob for x in same], atol=CLOSE)
                for step, other in zip(path, same, strict=True):
                    probs = {each.number: each.probability for each in other.clusters}
                    assert {each.number for each in step.clusters} == set(probs)
                    for each in step.clusters:
                        assert abs(probs[each.number] - each.probability) <= CLOSE


def same_but_for_equals(ours: list[int], theirs: list[int], scores: np.ndarray) -> None:  # type: ignore[type-arg]
    """Items that stand at different places lie within runs of scores that are equal but for rounding."""
    runs = np.cumsum(np.abs(np.diff(scores, prepend=scores[:1])) > EQUAL)
    last = runs[-1]  # its run may go on behind the end of the list
    for run in range(last):
        places = np.flatnonzero(runs == run)
        assert sorted(ours[place] for place in places) == sorted(theirs[place] for place in places)

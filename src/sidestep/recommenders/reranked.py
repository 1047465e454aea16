"""A recommender whose first items are put in a new order by a second look at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.recommenders.recommender import ItemFilter, Recommendations, Servable
from sidestep.recommenders.step import Path


@dataclass(frozen=True)
class Reordering:
    """A new order of candidates.

    places: which candidate comes first, second and so on, from 0; a permutation of every row.
    reasons: why each candidate stands where it does, sentences in the new order, where they were asked for.
    """

    places: Int[Tensor, "B C"]
    reasons: list[list[list[str]]] | None = None


@runtime_checkable
class Reranker(Protocol):
    """Puts the candidates of every row, `NO_ITEM` behind the last, in a better order."""

    def __call__(
        self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"], explain: bool = False
    ) -> Reordering: ...


class RerankedRecommender:
    """The lists of a pre-ranker, whose first `candidates` items a re-ranker puts in its own order; the others follow
    unchanged, and filters have acted before. An answer that is no permutation of the candidates leaves them as they
    are, and so does an empty history, which is answered by popularity.

    Scores belong to places: they are the pre-ranker's, in falling order, for a re-ranker's compare a few candidates
    alone.

    history: how many of the last items the re-ranker reads.
    """

    explains = True

    def __init__(self, searcher: Servable, reranker: Reranker, candidates: int, history: int) -> None:
        self._searcher, self._reranker, self._candidates, self._history = searcher, reranker, candidates, history

    @property
    def pre_ranker(self) -> Servable:
        """The recommender without the second look."""
        return self._searcher

    @property
    def reads(self) -> Reads:
        return self._searcher.reads | Reads(self._history)

    @property
    def num_beams(self) -> int | None:
        return self._searcher.num_beams

    def with_beams(self, num_beams: int) -> "RerankedRecommender":
        searcher = self._searcher.with_beams(num_beams)
        return RerankedRecommender(searcher, self._reranker, self._candidates, self._history)

    @torch.no_grad()
    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """See `Recommender.rank`."""
        searched = batch.latest(self._searcher.reads)
        first = self._searcher.rank(searched, max(k, self._candidates), barred, explain)
        places, kept, reasons = self._places(batch, first.items, first.scores, explain)
        paths = first.paths
        if paths:
            paths = [_moved(row, order)[:k] for row, order in zip(paths, places.tolist(), strict=True)]
        items = first.items.gather(1, places)[:, :k]
        return Recommendations(items, first.scores[:, :k], paths, kept, [row[:k] for row in reasons or []] or None)

    @torch.no_grad()
    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores that `rank` gives these items, were they all that the pre-ranker proposes."""
        scores = self._searcher.score(batch.latest(self._searcher.reads), candidates)
        ordered = scores.sort(dim=1, descending=True, stable=True)
        places, _, _ = self._places(batch, candidates.cpu().gather(1, ordered.indices), ordered.values)
        return torch.empty_like(scores).scatter_(1, ordered.indices.gather(1, places), ordered.values)

    def _places(
        self, batch: SequenceBatch, items: Int[Tensor, "B n"], scores: Float[Tensor, "B n"], explain: bool = False
    ) -> tuple[Int[Tensor, "B n"], Bool[Tensor, " B"], list[list[list[str]]] | None]:
        """Where the items of the new order stand in the old one, whether it is the old one, and the reasons."""
        as_they_are = torch.arange(items.shape[1]).expand_as(items)
        if not len(batch):
            return as_they_are, torch.ones(0, dtype=torch.bool), None
        some = items[:, : self._candidates]
        answer = self._reranker(batch.latest(Reads(self._history)), some, scores[:, : self._candidates], explain)
        chosen = answer.places
        old = as_they_are[:, : some.shape[1]]
        there = some.gather(1, chosen.clamp(0, some.shape[1] - 1)) >= 0
        valid = (chosen.sort(dim=1).values == old).all(1) & (there == (some >= 0)).all(1) & (batch.lengths > 0)
        chosen = torch.where(valid[:, None], chosen, old)
        reasons = answer.reasons
        if reasons is not None:
            reasons = [row if right else [] for row, right in zip(reasons, valid.tolist(), strict=True)]
        return torch.cat([chosen, as_they_are[:, some.shape[1] :]], dim=1), (chosen == old).all(1), reasons


def _moved(row: Sequence[Path], order: Sequence[int]) -> list[Path]:
    """The entries of a row, which may hold fewer than there are places, in a new order."""
    return [row[place] for place in order if place < len(row)]

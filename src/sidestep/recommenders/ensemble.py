"""Several generators as one recommender: each proposes candidates, all score every one of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.recommenders.candidates import best, distinct
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.portions import ROWS_AT_ONCE
from sidestep.recommenders.recommender import ItemFilter, Recommendations


class EnsembleRecommender:
    """Ranks by the mean of the members' log-probabilities of an item, each under its own semantic IDs.

    The beam search of each of the n members proposes `candidates` items (at least k), and every member scores what any
    proposed, in the precision of the search. That is n searches, and n passes over up to n times `candidates` given
    paths. An empty history is answered by popularity. Paths are the first member's.
    """

    explains = True

    def __init__(self, searchers: Sequence[GenerativeRecommender], candidates: int) -> None:
        self._searchers, self._candidates = tuple(searchers), candidates

    def with_beams(self, num_beams: int) -> "EnsembleRecommender":
        """The same, with another number of beams."""
        return EnsembleRecommender([member.with_beams(num_beams) for member in self._searchers], self._candidates)

    @property
    def num_beams(self) -> int:
        return self._searchers[0].num_beams

    @property
    def reads(self) -> Reads:
        return self._searchers[0].reads

    @torch.no_grad()
    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """See `Recommender.rank`."""
        count = max(k, self._candidates)
        proposed = [member.rank(batch, count, barred).items for member in self._searchers]
        candidates = distinct(torch.cat(proposed, dim=1))
        items, scores = best(candidates, self.score(batch, candidates), k)
        paths = self._searchers[0].explained(batch, items) if explain else None
        return Recommendations(items, scores, paths)

    @torch.no_grad()
    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores that `rank` gives these items, as a `CandidateScorer`."""
        parts = []
        for begin in range(0, len(batch), ROWS_AT_ONCE):
            rows = torch.arange(begin, min(begin + ROWS_AT_ONCE, len(batch)))
            some, items = batch.take(rows), candidates[rows]
            scores = [member.score(some, items) for member in self._searchers]
            parts.append(torch.stack(scores).mean(dim=0))
        return torch.cat(parts) if parts else torch.zeros(candidates.shape)

"""Recommenders that score every item of the catalogue."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.recommenders.recommender import ItemFilter, Recommendations
from sidestep.search.scoring import ItemScorer, ItemScores

SCORES_AT_ONCE = 2**24
THOUSAND = Reads(1_000)


class ItemwiseRecommender:
    """Ranks by the scores of an `ItemScorer`, at most `SCORES_AT_ONCE` of them in memory.

    reads: what the scorer reads of a history.
    """

    def __init__(self, scorer: ItemScorer, num_items: int, reads: Reads = THOUSAND) -> None:
        self._scorer, self._num_items, self._reads = scorer, num_items, reads

    num_beams = None
    explains = False

    @property
    def reads(self) -> Reads:
        return self._reads

    def with_beams(self, num_beams: int) -> "ItemwiseRecommender":
        return self

    @torch.no_grad()
    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """The k best items of every history; there is no path to explain."""
        rows = self._rows_at_once
        answers = []
        for begin in range(0, len(batch), rows):
            part = batch.take(slice(begin, begin + rows))
            scores = self._scorer(part)
            if barred is not None:
                allowed = barred.take(torch.arange(begin, begin + len(part))).mask(len(part), self._num_items)
                scores = scores.masked_fill(~allowed.to(scores.device), -torch.inf)
            answers.append(best(scores, k))
        if not answers:
            return Recommendations(torch.empty(0, k, dtype=torch.int64), torch.empty(0, k))
        items, scores = (torch.cat(column).cpu() for column in zip(*answers, strict=True))
        return Recommendations(items, scores)

    @torch.no_grad()
    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores that `rank` gives these items, as a `CandidateScorer`."""
        scorer, parts = ItemScores(self._scorer), [torch.empty(0, candidates.shape[1])]
        for begin in range(0, len(batch), self._rows_at_once):
            rows = slice(begin, begin + self._rows_at_once)
            parts.append(scorer(batch.take(rows), candidates[rows].cpu()))
        return torch.cat(parts)

    @property
    def _rows_at_once(self) -> int:
        return max(SCORES_AT_ONCE // max(self._num_items, 1), 1)


def best(scores: Float[Tensor, "B N"], k: int) -> tuple[Int[Tensor, "B k"], Float[Tensor, "B k"]]:
    """The k highest scores of every row, highest first, equal ones by item number.

    `topk` alone picks among equal scores as it likes. Places without an item hold `NO_ITEM` and `-inf`.
    """
    num_answers = min(k, scores.shape[1])
    last = scores.topk(num_answers, dim=1).values[:, -1:] if num_answers else scores[:, :0]
    above, level = scores > last, scores == last
    vacant = num_answers - above.sum(dim=1, keepdim=True)
    chosen = above | (level & (level.cumsum(dim=1, dtype=torch.int32) <= vacant))
    items = chosen.nonzero()[:, 1].view(len(scores), num_answers)  # each row in order of item number
    kept, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    items = items.gather(1, order).masked_fill(kept == -torch.inf, NO_ITEM)
    missing = (0, k - num_answers)
    pad = torch.nn.functional.pad
    return pad(items, missing, value=NO_ITEM), pad(kept, missing, value=-torch.inf)

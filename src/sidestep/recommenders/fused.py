"""A generator and a scorer of items as one recommender: each proposes candidates, both score all of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.layers.products import fast_products
from sidestep.recommenders.candidates import best, distinct
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.itemwise import SCORES_AT_ONCE, ItemwiseRecommender
from sidestep.recommenders.portions import ROWS_AT_ONCE
from sidestep.recommenders.recommender import ItemFilter, Recommendations
from sidestep.search.scoring import ItemScorer, of_candidates

Opinions = tuple[Tensor, Tensor, Tensor]
"""Candidates `[B, C]`, padded with `NO_ITEM`; the score of each by the generator, and by the scorer."""


class FusedRecommender:
    """Ranks by `(1 - balance) log p(codes) + balance log softmax(item-level score)`.

    The beam search and the scorer propose `candidates` items each (at least k), and both score every one of them. The
    generator's scores come from one set of weights in one precision, that of the searcher, whoever proposed the item.
    An empty history is answered by popularity. Each half reads as many of a history's last items as it was trained on.

    scorer: by its item-level score, on the device of the searcher. scored_history: how many items it reads.
    """

    def __init__(
        self,
        searcher: GenerativeRecommender,
        scorer: ItemScorer,
        balance: float,
        candidates: int,
        scored_history: int,
    ) -> None:
        self._searcher, self._scorer = searcher, scorer
        self.balance, self._candidates, self._scored_history = balance, candidates, scored_history

    explains = True

    def with_beams(self, num_beams: int) -> "FusedRecommender":
        """The same, with another number of beams."""
        searcher = self._searcher.with_beams(num_beams)
        return FusedRecommender(searcher, self._scorer, self.balance, self._candidates, self._scored_history)

    @property
    def num_beams(self) -> int:
        return self._searcher.num_beams

    @property
    def reads(self) -> Reads:
        """What either half reads."""
        return self._searcher.reads | Reads(self._scored_history)

    @torch.no_grad()
    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """See `Recommender.rank`. Where the path has no weight, it is not searched."""
        if self.balance == 1 and not explain:
            return ItemwiseRecommender(self._scores, self._searcher.num_items).rank(batch, k, barred)
        return self.answer(batch, self.opinions(batch, k, barred), k, explain)

    @torch.no_grad()
    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores that `rank` gives these items, as a `CandidateScorer`."""
        candidates = candidates.cpu()
        by_item = of_candidates(self._scores(batch), candidates)
        by_path = self._searcher.score(batch, candidates)
        return self._mixed(candidates, by_path, by_item)

    @torch.no_grad()
    def opinions(self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None) -> Opinions:
        """The candidates of both halves for every history, with the scores of each half."""
        count = max(k, self._candidates)
        proposed = self._searcher.rank(self._read(batch), count, barred)
        rows = max(min(SCORES_AT_ONCE // max(self._searcher.num_items, 1), ROWS_AT_ONCE), 1)
        parts = []
        with fast_products():
            for begin in range(0, len(batch), rows):
                part = torch.arange(begin, min(begin + rows, len(batch)))
                allowed = ItemFilter() if barred is None else barred.take(part)
                searched = Recommendations(proposed.items[part], proposed.scores[part])
                parts.append(self._both(batch.take(part), searched, allowed, count))
        width = max((items.shape[1] for items, _, _ in parts), default=0)
        wide = [[_widened(x, width) for x in part] for part in parts]
        items, by_path, by_item = (torch.cat(column) for column in zip(*wide, strict=True))
        return items, by_path, by_item

    def answer(self, batch: SequenceBatch, opinions: Opinions, k: int, explain: bool = False) -> Recommendations:
        """The k best of the candidates, equal ones by item number."""
        answers = Recommendations(*best(opinions[0], self._mixed(*opinions), k))
        if not explain:
            return answers
        paths = self._searcher.explained(batch, answers.items)
        return Recommendations(answers.items, answers.scores, paths)

    def _mixed(
        self, items: Int[Tensor, "B C"], by_path: Float[Tensor, "B C"], by_item: Float[Tensor, "B C"]
    ) -> Float[Tensor, "B C"]:
        scores = (1 - self.balance) * by_path + self.balance * by_item
        return scores.masked_fill(items < 0, -torch.inf)

    def _both(self, batch: SequenceBatch, searched: Recommendations, barred: ItemFilter, count: int) -> Opinions:
        """The union of two proposals, scored by both halves. Rows without a history keep the order of popularity.

        searched: the proposal of the generator, whose scores are in it.
        """
        by_item = self._scores(batch)
        permitted = by_item.masked_fill(~barred.mask(len(batch), by_item.shape[1]), -torch.inf)
        top = permitted.topk(min(count, by_item.shape[1]), dim=1)
        nearest = top.indices.masked_fill(top.values.isinf(), NO_ITEM)
        items = distinct(torch.cat([searched.items, nearest], dim=1))
        num_searched, empty = searched.items.shape[1], (batch.lengths == 0)[:, None]
        items[:, num_searched:].masked_fill_(empty, NO_ITEM)
        others = self._searcher.score(batch, items[:, num_searched:])
        by_path = torch.cat([searched.scores, others], dim=1)
        return items, by_path, torch.where(empty, by_path, of_candidates(by_item, items))

    def _read(self, batch: SequenceBatch) -> SequenceBatch:
        """The items that the generator reads."""
        return batch.latest(self._searcher.reads)

    def _scores(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        """The scorer's log-probabilities; popularity for an empty history, which is answered by it."""
        scores = self._scorer(batch.latest(Reads(self._scored_history)).to(self._searcher.device)).float().cpu()
        return torch.where((batch.lengths > 0)[:, None], scores.log_softmax(-1), scores)


def _widened(x: Tensor, width: int) -> Tensor:
    value = NO_ITEM if x.dtype == torch.int64 else -torch.inf
    return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=value)

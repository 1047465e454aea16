"""Two opinions on one catalogue: what a generator's paths say, and what an item-level scorer says."""

from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.layers.products import fast_products
from sidestep.recommenders.generative import NAMED_CLUSTERS, GenerativeRecommender, Thinker
from sidestep.recommenders.itemwise import SCORES_AT_ONCE, ItemScorer, ItemwiseRecommender
from sidestep.recommenders.recommender import ItemFilter, Path, Recommendations

ROWS_AT_ONCE = 32

Opinions = tuple[Tensor, Tensor, Tensor]
"""Candidates `[B, C]`, `NO_ITEM` where there is none; the log-probability of each by its path, and by the scorer."""


@runtime_checkable
class PathScorer(Protocol):
    """A generator with the log-probabilities of any item's path."""

    def forced(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Any: ...

    def path_log_probs(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Float[Tensor, "B C L"]: ...


class FusedRecommender:
    """Ranks by `(1 - balance) log p(codes) + balance log softmax(item-level score)`.

    The beam search and the scorer propose `candidates` items each (at least k), and every one of them is scored by
    both, exactly. An empty history is answered by popularity. Each half is shown as many of a history's last items as
    it learnt to read.

    scored_history: how many the scorer reads.
    """

    def __init__(
        self,
        searcher: GenerativeRecommender,
        paths: PathScorer,
        scorer: ItemScorer,
        balance: float,
        candidates: int,
        scored_history: int,
    ) -> None:
        self._searcher, self._paths, self._scorer = searcher, paths, scorer
        self.balance, self._candidates, self._scored_history = balance, candidates, scored_history

    def with_beams(self, num_beams: int) -> "FusedRecommender":
        """The same, with another number of beams."""
        searcher = self._searcher.with_beams(num_beams)
        scored_history = self._scored_history
        return FusedRecommender(searcher, self._paths, self._scorer, self.balance, self._candidates, scored_history)

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
    def opinions(self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None) -> Opinions:
        """What both halves propose for every history, and what each thinks of it."""
        count = max(k, self._candidates)
        found = self._searcher.rank(self._read(batch), count, barred)
        rows = max(min(SCORES_AT_ONCE // max(self._searcher.num_items, 1), ROWS_AT_ONCE), 1)
        parts = []
        with fast_products():
            for begin in range(0, len(batch), rows):
                part = torch.arange(begin, min(begin + rows, len(batch)))
                allowed = ItemFilter() if barred is None else barred.take(part)
                parts.append(self._both(batch.take(part), found.items[part], found.scores[part], allowed, count))
        width = max((items.shape[1] for items, _, _ in parts), default=0)
        wide = [[_widened(x, width) for x in part] for part in parts]
        items, by_path, by_item = (torch.cat(column) for column in zip(*wide, strict=True))
        return items, by_path, by_item

    def answer(self, batch: SequenceBatch, opinions: Opinions, k: int, explain: bool = False) -> Recommendations:
        """The k best of the candidates, equal ones by item number."""
        items, by_path, by_item = opinions
        scores = (1 - self.balance) * by_path + self.balance * by_item
        scores = scores.masked_fill(items < 0, -torch.inf)
        by_number = items.sort(dim=1, stable=True).indices
        order = by_number.gather(1, scores.gather(1, by_number).sort(dim=1, descending=True, stable=True).indices)
        order = order[:, :k]
        answers = Recommendations(items.gather(1, order), scores.gather(1, order))
        if not explain:
            return answers
        return Recommendations(answers.items, answers.scores, self._explained(batch, answers.items))

    def _both(
        self,
        batch: SequenceBatch,
        proposed: Int[Tensor, "B c"],
        scored: Float[Tensor, "B c"],
        barred: ItemFilter,
        count: int,
    ) -> Opinions:
        """The union of two proposals under both opinions. Rows without a history keep the order of popularity."""
        by_item = self._scores(batch)
        permitted = by_item.masked_fill(~barred.mask(len(batch), by_item.shape[1]), -torch.inf)
        best = permitted.topk(min(count, by_item.shape[1]), dim=1)
        nearest = best.indices.masked_fill(best.values.isinf(), NO_ITEM)
        items = torch.cat([proposed, nearest], dim=1)
        ordered, order = items.sort(dim=1, stable=True)
        repeated = torch.zeros_like(items, dtype=torch.bool)
        repeated.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
        items = items.masked_fill(repeated, NO_ITEM)
        items[batch.lengths == 0, proposed.shape[1] :] = NO_ITEM
        empty = (batch.lengths == 0)[:, None]
        own = items[:, proposed.shape[1] :]  # the search gives the probability of what it proposes
        device = self._searcher.device
        own_by_path = self._paths.path_log_probs(self._read(batch).to(device), own.to(device)).sum(2).cpu()
        by_path = torch.cat([scored, own_by_path], dim=1)
        return items, by_path, torch.where(empty, by_path, by_item.gather(1, items.clamp(min=0)))

    def _read(self, batch: SequenceBatch) -> SequenceBatch:
        """What the generator reads of the questions."""
        return batch.latest(self._searcher.reads)

    def _scores(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        """The scorer's log-probabilities; popularity for an empty history, which is answered by it."""
        asked = batch.latest(Reads(self._scored_history)).to(self._searcher.device)
        scores = self._scorer(asked).float().cpu()
        return torch.where((batch.lengths > 0)[:, None], scores.log_softmax(-1), scores)

    def _explained(self, batch: SequenceBatch, items: Int[Tensor, "B k"]) -> list[list[Path]]:
        """The path of every answer, with what its thoughts named."""
        asked = items.masked_fill((batch.lengths == 0)[:, None], NO_ITEM)
        device = self._searcher.device
        with fast_products():
            prediction = self._paths.forced(self._read(batch).to(device), asked.to(device))
            log_probs = prediction.code_log_probs().tolist()
            named = []
            if isinstance(self._paths, Thinker) and hasattr(prediction, "thoughts"):
                for level in range(prediction.codes.shape[1]):
                    probs = self._paths.cluster_probs(level, prediction.thoughts[:, level])
                    top = probs.topk(min(NAMED_CLUSTERS, probs.shape[-1]), dim=-1)
                    named.append((top.indices.tolist(), top.values.tolist()))
        flat = [
            Path(codes, log_probs[n], [clusters[n] for clusters, _ in named], [probs[n] for _, probs in named])
            for n, codes in enumerate(prediction.codes.tolist())
        ]
        counts = (asked >= 0).sum(1).tolist()
        ends = torch.tensor([0, *counts]).cumsum(0).tolist()
        return [flat[begin:end] for begin, end in pairwise(ends)]


def _widened(x: Tensor, width: int) -> Tensor:
    value = NO_ITEM if x.dtype == torch.int64 else -torch.inf
    return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=value)

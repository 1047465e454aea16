"""The weight of neighbours in an item-level score, and of that score beside a path's: tuned on the validation users,
once everything is trained.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.evaluation.metrics import ndcg
from sidestep.recommenders.fused import FusedRecommender, Opinions
from sidestep.recommenders.recommender import ItemFilter, Recommendations, Recommender

BALANCES = tuple(step / 20 for step in range(21))
WEIGHTS = tuple(step / 4 for step in range(9))
"""Neighbours' weights that are tried, 0 the first of them."""


class Replayed:
    """A fused recommender over the same batches again and again: the scores of both halves are computed once, their
    balance is applied anew each time.
    """

    def __init__(self, recommender: FusedRecommender) -> None:
        self._recommender = recommender
        self._kept: list[Opinions] = []
        self._asked = 0

    @property
    def reads(self) -> Reads:
        return self._recommender.reads

    def again(self, balance: float) -> "Replayed":
        """From the first batch on, with another balance."""
        self._recommender.balance, self._asked = balance, 0
        return self

    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        if self._asked == len(self._kept):
            self._kept.append(self._recommender.opinions(batch, k, barred))
        self._asked += 1
        return self._recommender.answer(batch, self._kept[self._asked - 1], k, explain)


@torch.no_grad()
def best_weight(weight: Tensor, ranks: Callable[[], Ints]) -> tuple[float, list[float]]:
    """The weight of the best mean NDCG@10, which it then is, and that of every one of `WEIGHTS`; of equal ones the
    smallest.

    weight: `[1]`, of the model that ranks. ranks: the ranks of the validation targets under the model's current weight.
    """
    found = []
    for value in WEIGHTS:
        weight.fill_(value)
        found.append(float(ndcg(ranks(), 10).mean()))
    best = WEIGHTS[found.index(max(found))]
    weight.fill_(best)
    return best, found


@torch.no_grad()
def best_balance(recommender: FusedRecommender, ranks: Callable[[Recommender], Ints]) -> tuple[float, list[float]]:
    """The balance of the best mean NDCG@10, and that of every one of `BALANCES`; of equal ones the most even.

    ranks: the ranks of the validation targets under a recommender.
    """
    replayed = Replayed(recommender)
    found = [float(ndcg(ranks(replayed.again(balance)), 10).mean()) for balance in BALANCES]
    best = max(zip(found, BALANCES, strict=True), key=lambda pair: (pair[0], -abs(pair[1] - 0.5)))
    return best[1], found

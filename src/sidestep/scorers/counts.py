"""The user's own counts: what they had before, the most often first, or what they had at this hour."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import TrainingInteractions
from sidestep.layers.clock import DAY, HOUR, UNKNOWN


class OwnCounts:
    """The score of an item is its number of occurrences in the history.

    Where users repeat items this is the baseline to beat: it knows no other user but for equal counts, 0 among them,
    which are ordered by popularity in the training part.

    popularity: `[N]`, non-negative.
    """

    def __init__(self, popularity: Ints) -> None:
        distinct, rank = np.unique(popularity, return_inverse=True)
        self._below_one = torch.from_numpy(rank / max(len(distinct), 1))

    @classmethod
    def fit(cls, train: TrainingInteractions, num_items: int) -> "OwnCounts":
        return cls(train.popularity(num_items))

    def __call__(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        return self._counted(batch, (batch.history >= 0).to(self._below_one.dtype))

    def _counted(self, batch: SequenceBatch, weights: Float[Tensor, "B T"]) -> Float[Tensor, "B N"]:
        counts = self._below_one.new_zeros(len(batch), len(self._below_one))
        return counts.scatter_add_(1, batch.history.clamp(min=0).long(), weights) + self._below_one


class OwnCountsByHour(OwnCounts):
    """An occurrence counts `exp(-d / hours)`, with d the hours between its time of the day and that of the request,
    round midnight the short way: what a model that knows the request's time is to be compared with. Where either time
    is not known it counts a whole one. Occurrences that weigh next to nothing still stand above popularity.
    """

    FLOOR = 1e-3
    reads = Reads(1_000, times=True)

    def __init__(self, popularity: Ints, hours: float = 2.0) -> None:
        super().__init__(popularity)
        self.hours = hours
        self._below_one = self._below_one * self.FLOOR

    def __call__(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        assert batch.times is not None
        assert batch.asked is not None
        apart = (batch.times - batch.asked).remainder(DAY)
        apart = torch.minimum(apart, DAY - apart).to(self._below_one.dtype) / HOUR
        known = (batch.times != UNKNOWN) & (batch.asked != UNKNOWN)
        weights = torch.where(known, torch.exp(-apart / self.hours), 1.0)
        return self._counted(batch, weights.clamp(min=self.FLOOR) * (batch.history >= 0))

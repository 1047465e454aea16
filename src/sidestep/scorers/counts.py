"""The user's own counts: what they had before, the most often first."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import TrainingInteractions


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
        counts = self._below_one.new_zeros(len(batch), len(self._below_one))
        real = (batch.history >= 0).to(counts.dtype)
        return counts.scatter_add_(1, batch.history.clamp(min=0).long(), real) + self._below_one

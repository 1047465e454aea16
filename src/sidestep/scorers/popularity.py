"""The first baseline: the most popular items for every user."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import TrainingInteractions


class Popularity:
    """The score of an item is its number of occurrences in the training part, for every history.

    counts: `[N]`, non-negative.
    """

    def __init__(self, counts: Ints) -> None:
        self._counts = torch.from_numpy(counts.astype(np.float64))

    @classmethod
    def fit(cls, train: TrainingInteractions, num_items: int) -> "Popularity":
        return cls(train.popularity(num_items))

    def __call__(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        return self._counts.expand(len(batch), -1)

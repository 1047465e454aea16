"""A recommender that reads times, and keeps what it is given."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.recommenders.recommender import ItemFilter, Recommendations


class Noting:
    """Answers item 0 to everybody."""

    reads = Reads(2, long=1, times=True)
    num_beams = None
    explains = False

    def __init__(self) -> None:
        self.batches: list[SequenceBatch] = []

    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        self.batches.append(batch)
        return Recommendations(torch.zeros(len(batch), k, dtype=torch.int64), torch.zeros(len(batch), k))

    def with_beams(self, num_beams: int) -> "Noting":
        return self

    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        return torch.zeros(candidates.shape)

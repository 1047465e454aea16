"""Training data of what is tuned on pairs: batches of them, with what is no negative of what."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.encoders.segments import Segments
from sidestep.encoders.text_model import States
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.pairs import Pairs

Read = Float[Tensor, "n D"] | States | Segments


@dataclass(frozen=True)
class PairBatch:
    """left, right: what the model reads of n pairs, their vectors, or states or tokens of texts. barred: True where
    `right` j is not a negative of `left` i.
    """

    left: Read
    right: Read
    barred: Bool[Tensor, "n n"]

    def to(self, device: torch.device) -> "PairBatch":
        return PairBatch(self.left.to(device), self.right.to(device), self.barred.to(device))


class PairBatches:
    """One epoch of `steps` batches, drawn in proportion to the pairs' weights and turned at random. A batch is a pure
    function of (seed, step).

    The same item, or one of the same kind, is no negative.

    Args:
        kinds: a number for every item, `[N]`, the same for items that cannot be told apart.
    """

    def __init__(self, pairs: Pairs, kinds: Ints, batch_size: int, steps: int, seed: int) -> None:
        self._pairs, self._size, self._steps, self._seed = pairs, batch_size, steps, seed
        self._kind = kinds
        self._running = np.cumsum(pairs.weight)

    def batches(self, epoch: int) -> Sequence[int]:
        return range(epoch * self._steps, (epoch + 1) * self._steps)

    def load(self, index: int) -> PairBatch:
        left, right = self.draw(index)
        kinds_left, kinds_right = self._kind[left], self._kind[right]
        barred = (kinds_right[:, None] == kinds_right) | (kinds_left[:, None] == kinds_right)
        np.fill_diagonal(barred, False)
        return PairBatch(self.inputs(left, index), self.inputs(right, index), torch.from_numpy(barred))

    def inputs(self, items: Ints, index: int) -> Read:
        """What the model reads of some items in the batch of this number."""
        raise NotImplementedError

    def draw(self, index: int) -> tuple[Ints, Ints]:
        """The items of a batch's pairs, `[n]` each."""
        rng = np.random.default_rng([self._seed, index])
        drawn = np.searchsorted(self._running, rng.random(self._size) * self._running[-1], side="right")
        drawn = np.minimum(drawn, len(self._pairs) - 1)
        ends = np.stack([self._pairs.first[drawn], self._pairs.second[drawn]])
        turned = rng.random(self._size) < 0.5
        return np.where(turned, ends[1], ends[0]), np.where(turned, ends[0], ends[1])


class VectorPairBatches(PairBatches):
    """Batches of pairs of vectors. Items of equal vectors (usually, of the same text) are no negatives."""

    def __init__(self, pairs: Pairs, vectors: ItemVectors, batch_size: int, steps: int, seed: int) -> None:
        super().__init__(pairs, kinds(vectors), batch_size, steps, seed)
        self._values = torch.from_numpy(vectors.values)

    def inputs(self, items: Ints, index: int) -> Float[Tensor, "n D"]:
        return self._values[items]


def kinds(vectors: ItemVectors) -> Ints:
    """A number for every item, `[N]`, the same for equal vectors."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in vectors.values], dtype=np.int64)

"""Training data of a tokenizer: item vectors in random batches, with co-interacted partners where they are wanted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.vectors.graph import Graph
from sidestep.vectors.item_vectors import ItemVectors

FEWEST, SMALLEST = 10, 16
Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class VectorBatch:
    """vectors: of n items, or of n items and then of a partner for each.
    items, partners: the item numbers of such pairs, n each; empty where there are no partners.
    """

    vectors: Float[Tensor, "m D"]
    items: Int[Tensor, " n"]
    partners: Int[Tensor, " n"]

    def to(self, device: torch.device) -> "VectorBatch":
        return VectorBatch(self.vectors.to(device), self.items.to(device), self.partners.to(device))


class VectorBatches:
    """The vectors in random batches; their order, and who is whose partner, are a pure function of (seed, epoch).

    An epoch has at least `FEWEST` batches, unless they would hold less than `SMALLEST` vectors each: a small catalogue
    would otherwise be trained for a few dozen steps in all.

    Args:
        edges: the co-occurrence graph to draw partners from, in proportion to how often two items meet. An item
            without a neighbour is its own partner.
    """

    def __init__(self, vectors: ItemVectors, batch_size: int, seed: int, edges: Graph | None = None) -> None:
        self._values = torch.from_numpy(vectors.values)
        self._batch_size = min(batch_size, max(len(self._values) // FEWEST, SMALLEST))
        self._seed, self._edges = seed, edges

    def batches(self, epoch: int) -> list[Indices]:
        """Item numbers of every batch of an epoch, `[n, 1]`, beside their partners' where there are any, `[n, 2]`.
        The batches are as equal in size as can be.
        """
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._values))
        columns = [order] if self._edges is None else [order, draw_partners(self._edges, rng)[order]]
        return np.array_split(np.stack(columns, axis=1), -(-len(order) // self._batch_size))

    def load(self, index: Indices) -> VectorBatch:
        items = torch.from_numpy(index)
        pairs = items if index.shape[1] == 2 else items[:0].expand(0, 2)
        return VectorBatch(self._values[items.T.flatten()], pairs[:, 0], pairs[:, 1])


def draw_partners(edges: Graph, rng: np.random.Generator) -> Indices:
    """A neighbour of every item, `[N]`, in proportion to the edges' weights; where it has none, the item itself."""
    num_items = edges.shape[0]
    running = np.concatenate([[0.0], np.cumsum(edges.data, dtype=np.float64)])
    low, high = running[edges.indptr[:-1]], running[edges.indptr[1:]]
    drawn = low + rng.random(num_items) * (high - low)
    entry = np.searchsorted(running, drawn, side="right") - 1
    last = np.maximum(edges.indptr[1:] - 1, 0)
    entry = np.minimum(np.maximum(entry, edges.indptr[:-1]), last)  # rounding never leaves an item's own row
    alone = edges.indptr[:-1] == edges.indptr[1:]
    partners = edges.indices[np.where(alone, 0, entry)] if edges.nnz else np.zeros(num_items, dtype=np.int64)
    return np.where(alone, np.arange(num_items), partners).astype(np.int64)

"""Training data of a tokenizer: item vectors in random batches, optionally with a co-interacted partner per item."""

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
    """vectors: of n items; with partners, of the n items followed by their n partners.
    items, partners: the item numbers of the n pairs; empty without partners.
    """

    vectors: Float[Tensor, "m D"]
    items: Int[Tensor, " n"]
    partners: Int[Tensor, " n"]

    def to(self, device: torch.device) -> "VectorBatch":
        return VectorBatch(self.vectors.to(device), self.items.to(device), self.partners.to(device))


class VectorBatches:
    """The vectors in random batches. Their order and the choice of partners are a pure function of (seed, epoch).

    An epoch has at least `FEWEST` batches, unless they would hold less than `SMALLEST` vectors each: otherwise a small
    catalogue would be trained for only a few dozen steps.

    Args:
        edges: the co-occurrence graph to draw partners from, in proportion to how often two items co-occur. An item
            without a neighbour is its own partner.
    """

    def __init__(self, vectors: ItemVectors, batch_size: int, seed: int, edges: Graph | None = None) -> None:
        self._values = torch.from_numpy(vectors.values)
        self._batch_size = min(batch_size, max(len(self._values) // FEWEST, SMALLEST))
        self._seed, self._edges = seed, edges

    def batches(self, epoch: int) -> list[Indices]:
        """Item numbers of every batch of an epoch, `[n, 1]`, or `[n, 2]` with their partners.
        Batch sizes differ by at most 1.
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
    """A neighbour of every item, `[N]`, drawn in proportion to the edge weights; the item itself if it has none."""
    num_items = edges.shape[0]
    running = np.concatenate([[0.0], np.cumsum(edges.data, dtype=np.float64)])
    low, high = running[edges.indptr[:-1]], running[edges.indptr[1:]]
    drawn = low + rng.random(num_items) * (high - low)
    entry = np.searchsorted(running, drawn, side="right") - 1
    last = np.maximum(edges.indptr[1:] - 1, 0)
    entry = np.minimum(np.maximum(entry, edges.indptr[:-1]), last)  # keeps a rounded draw within the item's own row
    alone = edges.indptr[:-1] == edges.indptr[1:]
    partners = edges.indices[np.where(alone, 0, entry)] if edges.nnz else np.zeros(num_items, dtype=np.int64)
    return np.where(alone, np.arange(num_items), partners).astype(np.int64)

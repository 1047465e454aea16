"""Item-kNN: what was consumed by those who consumed what you did."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from scipy import sparse
from torch import Tensor

from sidestep.config import Section
from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import TrainingInteractions
from sidestep.vectors.graph import Graph

ITEMS_AT_ONCE = 4_096


class ItemKNNConfig(Section):
    """neighbours: similarities kept per item. half_life: positions after which a history item counts half; None
    lets all of them count alike.
    """

    neighbours: int = Field(default=100, ge=1)
    half_life: float | None = Field(default=None, gt=0)


class ItemKNN:
    """Item-based top-N recommendation with cosine similarity (Deshpande & Karypis, ACM TOIS 2004, section 4.1).

        sim(i, j) = |users of both| / sqrt(|users of i| |users of j|),  i != j, the nearest kept per j
        score(i)  = sum over the history's items j of decay(age of j) sim(i, j)

    Every occurrence in the history counts. Items that no history item is similar to follow after all others, in
    order of popularity, so an empty history is answered by popularity.

    similar: row j holds the items nearest to j. counts: training popularity, `[N]`.
    """

    def __init__(self, similar: Graph, counts: Ints, half_life: float | None = None) -> None:
        self._similar, self._half_life = similar, half_life
        distinct, rank = np.unique(counts, return_inverse=True)
        # In [-1, 0), below every similarity, and apart in float32 however large the counts are.
        self._fallback = ((rank - len(distinct)) / len(distinct)).astype(np.float32)

    @classmethod
    def fit(cls, train: TrainingInteractions, num_items: int, config: ItemKNNConfig | None = None) -> "ItemKNN":
        config = config or ItemKNNConfig()
        similar = similarities(train, num_items, config.neighbours)
        return cls(similar, train.popularity(num_items), config.half_life)

    def __call__(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        history, lengths = batch.history.cpu().numpy(), batch.lengths.cpu().numpy()
        row, position = np.nonzero(history >= 0)
        age = lengths[row] - 1 - position
        weight = np.ones(len(row)) if self._half_life is None else 0.5 ** (age / self._half_life)
        shape = (len(history), self._similar.shape[0])
        taken = sparse.coo_array((weight.astype(np.float32), (row, history[row, position])), shape=shape).tocsr()
        scores = (taken @ self._similar).toarray()
        return torch.from_numpy(np.where(scores > 0, scores, self._fallback))


def similarities(train: TrainingInteractions, num_items: int, neighbours: int) -> Graph:
    """Cosine between the columns of the binary user-item matrix: row j holds the `neighbours` items nearest to j.

    Equal similarities are ordered by item number. Float32 `[N, N]`.
    """
    pairs = np.unique(train.users * num_items + train.items)
    who, what = pairs // num_items, pairs % num_items
    shape = (train.num_users, num_items)
    taken = sparse.csr_array(sparse.coo_array((np.ones(len(pairs), np.float32), (who, what)), shape=shape))
    length = np.sqrt(np.bincount(what, minlength=num_items))
    inverse = np.divide(1, length, out=np.zeros(num_items), where=length > 0).astype(np.float32)
    unit = sparse.csr_array(taken @ sparse.diags_array(inverse))
    transposed = sparse.csr_array(unit.T)
    blocks: list[Any] = [
        _nearest(sparse.csr_array(transposed[begin : begin + ITEMS_AT_ONCE] @ unit), begin, neighbours)
        for begin in range(0, num_items, ITEMS_AT_ONCE)
    ]
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _nearest(block: Graph, first: int, neighbours: int) -> Graph:
    """The largest entries of every row of a block whose row 0 is item `first`; an item is no neighbour of itself."""
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    other = row + first != block.indices
    row, column, value = row[other], block.indices[other], block.data[other]
    order = np.lexsort((column, -value, row))
    begins = np.searchsorted(row[order], np.arange(block.shape[0]))
    kept = order[np.arange(len(order)) - begins[row[order]] < neighbours]
    return sparse.csr_array((value[kept], (row[kept], column[kept])), shape=block.shape)

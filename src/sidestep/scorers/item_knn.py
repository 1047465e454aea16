"""Item-kNN: scores from the similarity of items to those of the history."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import TrainingInteractions
from sidestep.vectors.graph import Graph

ITEMS_AT_ONCE = 4_096
NEIGHBOURS_AT_ONCE = 2**22


class ItemKNNConfig(Section):
    """neighbours: similarities kept per item. half_life: positions after which the weight of a history item halves;
    None gives all of them the same weight.
    """

    neighbours: int = Field(default=100, ge=1)
    half_life: float | None = Field(default=None, gt=0)


class ItemKNN(nn.Module):
    """Item-based top-N recommendation with cosine similarity (Deshpande & Karypis, ACM TOIS 2004, section 4.1).

        sim(i, j) = |users of both| / sqrt(|users of i| |users of j|),  i != j, the nearest kept per j
        score(i)  = sum over the history's items j of decay(age of j) sim(i, j)

    Every occurrence in the history counts. Items that are similar to no history item follow all others, in order of
    popularity, so that the list for an empty history is that of popularity. There are no neighbours before `learn`.

    counts: training popularity, `[N]`. near, similarity: row j holds the items nearest to j and their similarities,
        padded with 0.
    """

    near: Int[Tensor, "N M"]
    similarity: Float[Tensor, "N M"]
    fallback: Float[Tensor, " N"]

    def __init__(self, counts: Ints, config: ItemKNNConfig | None = None) -> None:
        super().__init__()
        self.config = config or ItemKNNConfig()
        shape = (len(counts), self.config.neighbours)
        self.register_buffer("near", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("similarity", torch.zeros(shape))
        distinct, rank = np.unique(counts, return_inverse=True)
        # In [-1, 0), below every similarity, and distinct in float32 for counts of any size.
        below = ((rank - len(distinct)) / max(len(distinct), 1)).astype(np.float32)
        self.register_buffer("fallback", torch.from_numpy(below), persistent=False)

    @classmethod
    def fit(cls, train: TrainingInteractions, num_items: int, config: ItemKNNConfig | None = None) -> "ItemKNN":
        return cls(train.popularity(num_items), config).learn(train)

    def learn(self, train: TrainingInteractions) -> "ItemKNN":
        """Compute every item's neighbours from the training part."""
        similar = similarities(train, len(self.near), self.config.neighbours)
        row = np.repeat(np.arange(len(self.near)), np.diff(similar.indptr))
        place = np.arange(similar.nnz) - similar.indptr[row]
        near, similarity = np.zeros(self.near.shape, np.int32), np.zeros(self.near.shape, np.float32)
        near[row, place], similarity[row, place] = similar.indices, similar.data
        self.near.copy_(torch.from_numpy(near))
        self.similarity.copy_(torch.from_numpy(similarity))
        return self

    def forward(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        scores = self.evidence(batch)
        return torch.where(scores > 0, scores, self.fallback)

    def evidence(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        """The similarity scores without popularity; 0 for an item without a similar history item."""
        scores = self.similarity.new_zeros(len(batch), len(self.near))
        rows = max(NEIGHBOURS_AT_ONCE // max(batch.history.shape[1] * self.config.neighbours, 1), 1)
        for begin in range(0, len(batch), rows):
            part = batch.take(slice(begin, begin + rows)).to(self.near.device)
            age = part.lengths[:, None] - 1 - torch.arange(part.history.shape[1], device=self.near.device)
            weight = (part.history >= 0).float()
            if self.config.half_life is not None:
                weight *= 0.5 ** (age.clamp(min=0) / self.config.half_life)
            taken = part.history.clamp(min=0)
            near, similarity = self.near[taken].long(), self.similarity[taken] * weight[:, :, None]
            scores[begin : begin + rows].scatter_add_(1, near.flatten(1), similarity.flatten(1))
        return scores


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
    """The largest entries of every row of a block whose row 0 is item `first`, without the item itself."""
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    other = row + first != block.indices
    row, column, value = row[other], block.indices[other], block.data[other]
    order = np.lexsort((column, -value, row))
    begins = np.searchsorted(row[order], np.arange(block.shape[0]))
    kept = order[np.arange(len(order)) - begins[row[order]] < neighbours]
    return sparse.csr_array((value[kept], (row[kept], column[kept])), shape=block.shape)

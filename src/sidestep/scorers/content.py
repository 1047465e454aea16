"""SASRec whose item embeddings have a free part and a part computed from the item's vector, for items with few data."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.scorers.sasrec import SASRec
from sidestep.scorers.sequential import BaselineConfig


class ContentSASRec(SASRec):
    """An item is `e_i + W x_i`, with x_i its vector, centred and scaled; the same for inputs and outputs.

    vectors: `[N, V]`.
    """

    vectors: Float[Tensor, "N V"]

    def __init__(self, popularity: Ints, config: BaselineConfig, vectors: Float[Tensor, "N V"]) -> None:
        super().__init__(popularity, config)
        centred = vectors.float() - vectors.float().mean(dim=0)
        scale = centred.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
        self.register_buffer("vectors", centred / scale, persistent=False)
        self.projection = nn.Linear(vectors.shape[1], config.width, bias=False)
        nn.init.normal_(self.projection.weight, std=0.02 / math.sqrt(vectors.shape[1]))

    def read(self, items: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        out: Tensor = self.item_embedding(items) + self.projection(self.vectors[items])
        return out

    def embeddings(self) -> Float[Tensor, "N D"]:
        out: Tensor = self.item_embedding.weight + self.projection(self.vectors)
        return out

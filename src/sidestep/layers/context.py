"""Histories without encoder blocks: every layer of the decoder attends to the items as they are."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sidestep.layers.attention import RelativeBias
from sidestep.layers.dropout import Dropout


class LazyContext(nn.Module):
    """Stands in an encoder's place (OneLive, arXiv 2602.08612; OneRec-V2): the memory of all decoder layers is
    `RMSNorm(x)`. Items do not see each other, so every position can be a target. Their order is told by a bias of the
    cross-attention, by how many items ago each was seen, in T5's buckets.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.bias = RelativeBias(num_heads, causal=True)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B S D"], real: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        out: Tensor = self.dropout(self.norm(x))
        return out

    def by_recency(self, seen: Bool[Tensor, "B Q M"]) -> Float[Tensor, "B Q H M"]:
        """What is added to the products of a query and the positions, of which it sees the first ones."""
        last = seen.sum(dim=2, keepdim=True) - 1
        distance = (torch.arange(seen.shape[2], device=seen.device) - last).clamp(-self.bias.max_distance, 0)
        biases: Tensor = self.bias.weight[self.bias.bucket_of[distance + self.bias.max_distance]]
        return biases.transpose(2, 3)

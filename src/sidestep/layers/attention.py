"""T5's attention (Raffel et al. 2020, arXiv 1910.10683): unscaled products, no biases, a learned bias for every
bucket of relative distance. Fused through `scaled_dot_product_attention`.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class RelativeBias(nn.Module):
    """The additive attention bias of a stack, shared by its layers.

    Half of the buckets hold exact distances, the other half grow logarithmically up to `max_distance`. A causal stack
    looks back only, so all its buckets serve the past.
    """

    def __init__(self, num_heads: int, causal: bool, num_buckets: int = 32, max_distance: int = 128) -> None:
        super().__init__()
        self.causal, self.num_buckets, self.max_distance = causal, num_buckets, max_distance
        self.weight = nn.Parameter(torch.zeros(num_buckets, num_heads))

    def buckets(self, distance: Int[Tensor, "Q S"]) -> Int[Tensor, "Q S"]:
        """Bucket of every signed distance (key position minus query position)."""
        if self.causal:
            offset, num_buckets = torch.zeros_like(distance), self.num_buckets
            distance = (-distance).clamp(min=0)
        else:
            num_buckets = self.num_buckets // 2
            offset = (distance > 0).long() * num_buckets
            distance = distance.abs()
        exact = num_buckets // 2
        growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (growth * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
        return offset + torch.where(distance < exact, distance, far)

    def forward(self, queries: Int[Tensor, " Q"], keys: Int[Tensor, " S"]) -> Float[Tensor, "H Q S"]:
        return self.weight[self.buckets(keys[None, :] - queries[:, None])].permute(2, 0, 1)


class Attention(nn.Module):
    """Multi-head attention whose keys and values may be computed once and used many times."""

    def __init__(self, width: int, num_heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        inner = num_heads * head_width
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        nn.init.normal_(self.query.weight, std=(width * head_width) ** -0.5)
        nn.init.normal_(self.key.weight, std=width**-0.5)
        nn.init.normal_(self.value.weight, std=width**-0.5)
        nn.init.normal_(self.out.weight, std=inner**-0.5)

    def keys_values(self, x: Float[Tensor, "B S D"]) -> tuple[Float[Tensor, "B H S d"], Float[Tensor, "B H S d"]]:
        return self._heads(self.key(x)), self._heads(self.value(x))

    def forward(
        self,
        x: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B H S d"],
        values: Float[Tensor, "B H S d"],
        mask: Float[Tensor, "#B #H Q S"] | Bool[Tensor, "#B #H Q S"] | None,
    ) -> Float[Tensor, "B Q D"]:
        """A float mask is added to the products, a boolean one is True where a query may look."""
        if mask is not None and mask.is_floating_point():
            mask = mask.to(keys.dtype)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            self._heads(self.query(x)), keys, values, attn_mask=mask, dropout_p=dropout, scale=1.0
        )
        mixed = mixed.transpose(1, 2).flatten(2)
        out: Tensor = self.out(mixed)
        return out

    def _heads(self, x: Float[Tensor, "B S inner"]) -> Float[Tensor, "B H S d"]:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

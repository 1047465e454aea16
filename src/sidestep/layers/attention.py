"""T5's attention (Raffel et al. 2020, arXiv 1910.10683): unscaled products, no biases, a learned bias for every
bucket of relative distance.

Written as explicit products: PyTorch's fused attention has no CPU kernel for a learned bias or for dropout, and takes
about three times as long for heads of width 64 and a few dozen positions.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.layers.dropout import Dropout
from sidestep.layers.gathered import product
from sidestep.layers.state import KeysValues, PendingPair, Remembered


class RelativeBias(nn.Module):
    """The additive attention bias of a stack, shared by its layers.

    Half of the buckets hold exact distances, the others grow logarithmically up to `max_distance`. A causal stack
    attends only to earlier positions, so all its buckets cover the past.

    bucket_of: the bucket of every distance from `-max_distance` to `max_distance`; further ones share the last bucket.
    """

    bucket_of: Int[Tensor, " _"]

    def __init__(self, num_heads: int, causal: bool, num_buckets: int = 32, max_distance: int = 128) -> None:
        super().__init__()
        self.causal, self.num_buckets, self.max_distance = causal, num_buckets, max_distance
        self.weight = nn.Parameter(torch.zeros(num_buckets, num_heads))
        all_distances = torch.arange(-max_distance, max_distance + 1)
        self.register_buffer("bucket_of", self.buckets(all_distances), persistent=False)

    def buckets(self, distance: Int[Tensor, "*Q"]) -> Int[Tensor, "*Q"]:
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
        distance = (keys[None, :] - queries[:, None]).clamp(-self.max_distance, self.max_distance)
        return self.weight[self.bucket_of[distance + self.max_distance]].permute(2, 0, 1)


class OutputGate(nn.Module):
    """What lets each head's output through, `sigmoid(x W)`: one number a head, or one an element (OneLive, arXiv
    2602.08612; Qiu et al. 2025, arXiv 2505.06708). W starts at 0, a gate of 1/2 everywhere.

    One number a head commutes with folded projections (`CrossAttention.remember`), one an element does not.
    """

    def __init__(self, width: int, num_heads: int, head_width: int) -> None:
        super().__init__()
        self.num_heads, self.by_head = num_heads, head_width == 1
        self.projection = nn.Linear(width, num_heads * head_width, bias=False)
        nn.init.zeros_(self.projection.weight)

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows H _"]:
        gate: Tensor = self.projection(x).sigmoid()
        return gate.view(*x.shape[:-1], self.num_heads, -1)


class QKNorm(nn.Module):
    """Queries and keys are RMS-normed with learnt gains, their products divided by `sqrt(d)`, so that none is larger
    than `sqrt(d) max |g_q g_k|` (OneLive, arXiv 2602.08612).
    """

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.query, self.key = (nn.RMSNorm(head_width, eps=1e-6) for _ in range(2))
        self.scale = head_width**-0.5

    def of_query(self, query: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        normed: Tensor = self.query(query)
        return normed * self.scale


@dataclass(frozen=True)
class AttentionParts:
    """What the attentions of a model have beyond T5's."""

    gate: Literal["none", "head", "element"] = "none"
    qk_norm: bool = False

    def output_gate(self, width: int, num_heads: int, head_width: int) -> OutputGate | None:
        if self.gate == "none":
            return None
        return OutputGate(width, num_heads, 1 if self.gate == "head" else head_width)

    def norm(self, head_width: int) -> QKNorm | None:
        return QKNorm(head_width) if self.qk_norm else None


T5 = AttentionParts()


class Attention(nn.Module):
    """The four projections of multi-head attention, and the split into heads.

    gate, norm: of the outputs, and of queries and keys; None for T5's.
    """

    def __init__(self, width: int, num_heads: int, head_width: int, dropout: float, parts: AttentionParts = T5) -> None:
        super().__init__()
        self.num_heads, self.head_width = num_heads, head_width
        inner = num_heads * head_width
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.query.weight, std=(width * head_width) ** -0.5)
        nn.init.normal_(self.key.weight, std=width**-0.5)
        nn.init.normal_(self.value.weight, std=width**-0.5)
        nn.init.normal_(self.out.weight, std=inner**-0.5)
        self.gate, self.norm = parts.output_gate(width, num_heads, head_width), parts.norm(head_width)

    def keys_values(self, x: Float[Tensor, "B S D"]) -> KeysValues:
        """`[B, H, S, d]` each."""
        keys, values = self._keys(x), self._heads(self.value(x))
        return keys.transpose(1, 2).contiguous(), values.transpose(1, 2).contiguous()

    def forward(
        self,
        x: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B H S d"],
        values: Float[Tensor, "B H S d"],
        mask: Float[Tensor, "#B #H #Q S"],
        pending: PendingPair | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """The mask is added to the products. pending: where the gradients of keys and values are gathered."""
        query = self._query(x).transpose(1, 2)
        scores = _product(query, keys.transpose(2, 3)) if pending is None else product(query, keys, pending[0], True)
        probs = self.dropout((scores + mask).softmax(-1))
        mixed = _product(probs, values) if pending is None else product(probs, values, pending[1], False)
        return self._output(x, mixed.transpose(1, 2))

    def _query(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows H d"]:
        query = self._heads(self.query(x))
        return query if self.norm is None else self.norm.of_query(query)

    def _keys(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows H d"]:
        keys = self._heads(self.key(x))
        return keys if self.norm is None else self.norm.key(keys)

    def _output(self, x: Float[Tensor, "*rows D"], mixed: Float[Tensor, "*rows H d"]) -> Float[Tensor, "*rows D"]:
        """The heads' outputs for the inputs x, together."""
        if self.gate is not None:
            mixed = mixed * self.gate(x)
        out: Tensor = self.out(mixed.flatten(-2))
        return out

    def _heads(self, x: Float[Tensor, "*rows inner"]) -> Float[Tensor, "*rows H d"]:
        return x.reshape(*x.shape[:-1], self.num_heads, self.head_width)


class SelfAttention(Attention):
    """Self-attention of a stack. In a search, a beam attends to the few tokens on its own path."""

    def step(
        self,
        x: Float[Tensor, "B W D"],
        path: list[KeysValues],
        bias: Float[Tensor, "S H"],
    ) -> tuple[Float[Tensor, "B W D"], KeysValues]:
        """One new token for every beam, after the tokens of its path.

        path: keys and values of each earlier token, `[B, W or 1, H, d]` each. bias: of every token, the new one last.
        Computed as products of single rows; a batched matrix product is slower here.
        """
        own = self._keys(x), self._heads(self.value(x))
        if not path:  # it attends to itself with a share of 1
            return self._output(x, own[1]), own
        query, path = self._query(x), [*path, own]
        scores = torch.stack([(query * keys).sum(-1) for keys, _ in path])
        probs = (scores + bias[:, None, None]).softmax(0).to(query.dtype)[..., None]
        mixed = probs[0] * path[0][1]
        for share, (_, values) in zip(probs[1:], path[1:], strict=True):
            mixed = mixed.addcmul_(share, values)
        return self._output(x, mixed), own

    def alone(self, x: Float[Tensor, "B W D"]) -> Float[Tensor, "B W D"]:
        """`step` of tokens that are alone on their paths, and that no later token looks back at: no query and no key
        is needed, since a token attends to itself with a share of 1.
        """
        return self._output(x, self._heads(self.value(x)))


class CrossAttention(Attention):
    """Attention of many queries of one user to an encoded history."""

    def remember(self, encoded: Float[Tensor, "B M D"], queries: int | None) -> Remembered:
        """The part of the attention that all queries of a user share.

        A score is (W_q x) . (W_k m) = x . (W_q^T W_k m), and an output W_o (W_v m). With W_q and W_o folded into the M
        positions, a query costs 2 H M D multiply-adds instead of 2 H d (D + M), and a position 2 H d D more. They are
        folded if this is cheaper for the expected number of `queries` per user; None means many. Only linear maps can
        be folded: not with normed queries and keys, nor with a gate for each element.
        """
        width, batch, memory = self.query.in_features, encoded.shape[0], encoded.shape[1]
        product = width * self.head_width
        own = product / queries if queries else 0
        linear = self.norm is None and (self.gate is None or self.gate.by_head)
        if not linear or _holds(memory * (width - self.head_width + own) >= product):
            keys, values = self.keys_values(encoded)
            return Remembered(keys, values, folded=False)
        keys, values = self._heads(self.key(encoded)), self._heads(self.value(encoded))
        keys = torch.einsum("bmhd,hdw->bhmw", keys, self.query.weight.view(self.num_heads, -1, width))
        values = torch.einsum("bmhd,whd->bhmw", values, self.out.weight.view(width, self.num_heads, -1))
        shape = (batch, self.num_heads * memory, width)
        return Remembered(keys.reshape(shape), values.reshape(shape), folded=True)

    def remember_table(self, table: Float[Tensor, "N D"]) -> Remembered:
        """Keys and values of items that no user owns, `[N, H, d]` each: an item is projected once for all users."""
        return Remembered(self._keys(table), self._heads(self.value(table)), folded=False)

    def look(
        self, x: Float[Tensor, "B Q D"], remembered: Remembered, mask: Float[Tensor, "B #Q *H M"]
    ) -> Float[Tensor, "B Q D"]:
        """The mask, one for all heads or one for each, is added to the products."""
        keys, values, pending = remembered.keys, remembered.values, remembered.pending
        by_head = mask if mask.dim() == 4 else mask[:, :, None]
        if not remembered.folded:
            return self(x, keys, values, by_head.transpose(1, 2), pending)
        scores = x @ keys.transpose(1, 2) if pending is None else product(x, keys, pending[0], True)
        scores = scores.view(*x.shape[:2], self.num_heads, mask.shape[-1]) + by_head
        shares = self.dropout(scores.softmax(-1))
        probs = (shares if self.gate is None else shares * self.gate(x)).flatten(2)
        return probs @ values if pending is None else product(probs, values, pending[1], False)


def _holds(condition: bool | torch.SymBool) -> bool:
    """Whether a condition on shapes is true; while a graph is captured, for all shapes that it permits or for some."""
    if isinstance(condition, bool):
        return condition
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return not statically_known_true(torch.sym_not(condition))  # type: ignore[no-untyped-call]


class RowProduct(torch.autograd.Function):
    """`row @ matrix` for many single rows, `[..., 1, x] @ [..., x, y]`.

    The gradient of each matrix is an outer product. Thousands of them take ten times as long as one batched product
    than as a broadcast multiplication.
    """

    @staticmethod
    def forward(ctx: Any, row: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(row, matrix)
        return row @ matrix

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        row, matrix = ctx.saved_tensors
        return grads[0] @ matrix.transpose(-1, -2), row.transpose(-1, -2) * grads[0]


def _product(rows: Float[Tensor, "B H Q x"], matrix: Float[Tensor, "B H x y"]) -> Float[Tensor, "B H Q y"]:
    if rows.shape[2] > 1 or not torch.is_grad_enabled():
        return rows @ matrix
    product: Tensor = RowProduct.apply(rows.to(matrix.dtype), matrix)  # type: ignore[no-untyped-call]
    return product

"""T5's encoder and decoder stacks: pre-norm blocks with RMS norm and a ReLU feed-forward, one relative bias a stack."""

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.layers.attention import Attention, RelativeBias
from sidestep.layers.state import Cache, KeysValues, Memory, lay_out


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.inner.weight, std=width**-0.5)
        nn.init.normal_(self.out.weight, std=inner**-0.5)

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        out: Tensor = self.out(self.dropout(torch.relu(self.inner(x))))
        return out


class EncoderBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, head_width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(width, num_heads, head_width, dropout)
        self.feed_forward_norm = nn.RMSNorm(width, eps=1e-6)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B S D"], mask: Float[Tensor, "#B H S S"]) -> Float[Tensor, "B S D"]:
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, *self.attention.keys_values(normed), mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Encoder(nn.Module):
    """Encodes histories, looking both ways (the paper's T5) or back only (every position can then be a target)."""

    def __init__(
        self, width: int, num_heads: int, head_width: int, inner: int, num_layers: int, dropout: float, causal: bool
    ) -> None:
        super().__init__()
        self.causal = causal
        self.bias = RelativeBias(num_heads, causal)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, num_heads, head_width, inner, dropout) for _ in range(num_layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B S D"], real: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """`real` is False at padding, which nobody looks at."""
        positions = torch.arange(x.shape[1], device=x.device)
        seen = real[:, None, None, :]
        if self.causal:
            seen = seen & (positions[None, :] <= positions[:, None])
        mask = self.bias(positions, positions).masked_fill(~seen, torch.finfo(torch.float32).min)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.dropout(self.norm(x))
        return out


class DecoderBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, head_width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(width, num_heads, head_width, dropout)
        self.cross_norm = nn.RMSNorm(width, eps=1e-6)
        self.cross = Attention(width, num_heads, head_width, dropout)
        self.feed_forward_norm = nn.RMSNorm(width, eps=1e-6)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        rows: Float[Tensor, "R S D"],
        cache: Cache,
        layer: int,
        causal: Float[Tensor, "1 H S past"],
        remembered: KeysValues,
        seen: Bool[Tensor, "B 1 QS M"],
    ) -> tuple[Float[Tensor, "R S D"], KeysValues]:
        """The block's output, and the row's own keys and values up to and with the new tokens."""
        normed = self.attention_norm(rows)
        own = cache.extended(layer, self.attention.keys_values(normed))
        rows = rows + self.dropout(self.attention(normed, *own, causal))
        side_by_side = lay_out(self.cross_norm(rows), seen.shape[0])
        rows = rows + self.dropout(self.cross(side_by_side, *remembered, seen).reshape(rows.shape))
        rows = rows + self.dropout(self.feed_forward(self.feed_forward_norm(rows)))
        return rows, own


class Decoder(nn.Module):
    """Decodes several rows per user (targets while training, beams while searching) over one encoded history."""

    def __init__(
        self, width: int, num_heads: int, head_width: int, inner: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.bias = RelativeBias(num_heads, causal=True)
        self.blocks = nn.ModuleList(
            DecoderBlock(width, num_heads, head_width, inner, dropout) for _ in range(num_layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def _blocks(self) -> Iterable[DecoderBlock]:
        return cast(Iterable[DecoderBlock], self.blocks)

    def remember(self, encoded: Float[Tensor, "B M D"], mask: Bool[Tensor, "B Q M"]) -> Memory:
        """Cross-attention keys and values of every layer, once per user."""
        return Memory([block.cross.keys_values(encoded) for block in self._blocks()], mask)

    def forward(
        self, x: Float[Tensor, "B Q S D"], memory: Memory, cache: Cache
    ) -> tuple[Float[Tensor, "B Q S D"], Cache]:
        """Decode S new tokens of every row behind those in the cache.

        Returns the normed outputs and the cache that also holds the new tokens.
        """
        batch, per_user, new, _ = x.shape
        past = cache.length
        keys = torch.arange(past + new, device=x.device)
        mask = self.bias(keys[past:], keys)
        mask = mask.masked_fill(keys[None, :] > keys[past:, None], torch.finfo(torch.float32).min)[None]
        seen = memory.mask.expand(batch, per_user, -1).repeat_interleave(new, dim=1)[:, None]
        rows = self.dropout(x).flatten(0, 1)
        kept: list[KeysValues] = []
        for layer, block in enumerate(self._blocks()):
            rows, own = block(rows, cache, layer, mask, memory.keys_values[layer], seen)
            kept.append(own)
        out: Tensor = self.dropout(self.norm(rows)).unflatten(0, (batch, per_user))
        return out, Cache(kept)


def first_positions(visible: Int[Tensor, "B Q"], width: int) -> Bool[Tensor, "B Q M"]:
    """True at the first `visible` of `width` memory positions."""
    return torch.arange(width, device=visible.device) < visible[:, :, None]

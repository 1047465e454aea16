"""T5's encoder and decoder stacks: pre-norm blocks with RMS norm and a ReLU feed-forward, one relative bias a stack."""

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sidestep.layers.attention import T5, Attention, AttentionParts, CrossAttention, RelativeBias, SelfAttention
from sidestep.layers.dropout import Dropout
from sidestep.layers.state import BeamCache, Cache, KeysValues, Lookup, Memory, Remembered, additive

CLOSED = -2.0
"""Bias of a gate at the start: it lets .12 through."""


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.dropout = Dropout(dropout)
        nn.init.normal_(self.inner.weight, std=width**-0.5)
        nn.init.normal_(self.out.weight, std=inner**-0.5)

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        out: Tensor = self.out(self.dropout(self.inner(x).relu_()))
        return out


class EncoderBlock(nn.Module):
    def __init__(
        self, width: int, num_heads: int, head_width: int, inner: int, dropout: float, parts: AttentionParts = T5
    ) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(width, num_heads, head_width, dropout, parts)
        self.feed_forward_norm = nn.RMSNorm(width, eps=1e-6)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B S D"], mask: Float[Tensor, "#B H S S"]) -> Float[Tensor, "B S D"]:
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, *self.attention.keys_values(normed), mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Encoder(nn.Module):
    """Encodes histories, bidirectional (the paper's T5) or causal (every position can then be a target)."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_width: int,
        inner: int,
        num_layers: int,
        dropout: float,
        causal: bool,
        parts: AttentionParts = T5,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.bias = RelativeBias(num_heads, causal)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, num_heads, head_width, inner, dropout, parts) for _ in range(num_layers)
        )
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "B S D"], real: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """`real` is False at padding, which is masked."""
        positions = torch.arange(x.shape[1], device=x.device)
        seen = real[:, None, None, :]
        if self.causal:
            seen = seen & (positions[None, :] <= positions[:, None])
        mask = self.bias(positions, positions) + additive(seen)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.dropout(self.norm(x))
        return out


class DecoderBlock(nn.Module):
    def __init__(
        self, width: int, num_heads: int, head_width: int, inner: int, dropout: float, parts: AttentionParts = T5
    ) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, num_heads, head_width, dropout, parts)
        self.cross_norm = nn.RMSNorm(width, eps=1e-6)
        self.cross = CrossAttention(width, num_heads, head_width, dropout, parts)
        self.feed_forward_norm = nn.RMSNorm(width, eps=1e-6)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B P S D"],
        cache: Cache,
        layer: int,
        causal: Float[Tensor, "1 H S past"],
        remembered: Remembered,
        mask: Float[Tensor, "B PS *H M"],
        lookup: Lookup | None = None,
    ) -> tuple[Float[Tensor, "B P S D"], KeysValues]:
        """The block's output, and every target's own keys and values including the new tokens."""
        rows = self.attention_norm(x).flatten(0, 1)
        own = cache.extended(layer, self.attention.keys_values(rows))
        x = x + self.dropout(self.attention(rows, *own, causal)).view(x.shape)
        return self._look(x.flatten(1, 2), remembered, mask, lookup).view(x.shape), own

    def step(
        self,
        x: Float[Tensor, "B W D"],
        path: list[KeysValues],
        bias: Float[Tensor, "S H"],
        remembered: Remembered,
        mask: Float[Tensor, "B 1 *H M"],
        lookup: Lookup | None = None,
    ) -> tuple[Float[Tensor, "B W D"], list[KeysValues]]:
        """The block's output, and the path with the new token."""
        attended, own = self.attention.step(self.attention_norm(x), path, bias)
        return self._look(x + attended, remembered, mask, lookup), [*path, own]

    def alone(
        self, x: Float[Tensor, "B W D"], remembered: Remembered, mask: Float[Tensor, "B 1 *H M"]
    ) -> Float[Tensor, "B W D"]:
        """`step` of tokens that are alone on their paths, and that no later token looks back at."""
        return self._look(x + self.attention.alone(self.attention_norm(x)), remembered, mask, None)

    def _look(
        self, x: Float[Tensor, "B Q D"], remembered: Remembered, mask: Float[Tensor, "B _ *H M"], lookup: Lookup | None
    ) -> Float[Tensor, "B Q D"]:
        """Cross-attention and feed-forward: all tokens of a user attend to the same history."""
        x = x + self.dropout(self._attend(self.cross_norm(x), remembered, mask, lookup))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def _attend(
        self, x: Float[Tensor, "B Q D"], remembered: Remembered, mask: Float[Tensor, "B _ *H M"], lookup: Lookup | None
    ) -> Float[Tensor, "B Q D"]:
        """What the tokens read of the history. A plain block looks nothing up."""
        return self.cross.look(x, remembered, mask)


class RecallBlock(DecoderBlock):
    """A decoder block that looks items up beside the encoded history (GLASS, arXiv 2602.05663, the gated fusion):

        Z = (1 - g) Z_s + g Z_r,  g = sigmoid(W [Z_s; Z_r] + b) in R^D

    with Z_s the cross-attention to the encoded history and Z_r that to the items looked up. Where there are none, g is
    0 exactly, and the block is a plain one.
    """

    def __init__(
        self, width: int, num_heads: int, head_width: int, inner: int, dropout: float, parts: AttentionParts = T5
    ) -> None:
        super().__init__(width, num_heads, head_width, inner, dropout, parts)
        self.recall = CrossAttention(width, num_heads, head_width, dropout, parts)
        self.gate = nn.Linear(2 * width, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, CLOSED)

    def _attend(
        self, x: Float[Tensor, "B Q D"], remembered: Remembered, mask: Float[Tensor, "B _ *H M"], lookup: Lookup | None
    ) -> Float[Tensor, "B Q D"]:
        short = super()._attend(x, remembered, mask, lookup)
        if lookup is None:
            return short
        places = lookup.places
        own, asking = (short, x) if places is None else (short[:, places], x[:, places])
        found = self.recall.look(asking, lookup.remembered, lookup.mask)
        gate = self.gate(torch.cat([own, found], dim=-1)).sigmoid() * lookup.found[:, :, None]
        mixed = ((1 - gate) * own + gate * found).to(short.dtype)
        return mixed if places is None else short.index_copy(1, places, mixed)


class Decoder(nn.Module):
    """Decodes several rows per user (targets while training, beams while searching) over one encoded history.

    block: the kind of block that it is made of.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_width: int,
        inner: int,
        num_layers: int,
        dropout: float,
        block: type[DecoderBlock] = DecoderBlock,
        parts: AttentionParts = T5,
    ) -> None:
        super().__init__()
        self.bias = RelativeBias(num_heads, causal=True)
        shape = (width, num_heads, head_width, inner, dropout, parts)
        self.blocks = nn.ModuleList(block(*shape) for _ in range(num_layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.dropout = Dropout(dropout)

    def _blocks(self) -> Iterable[DecoderBlock]:
        return cast(Iterable[DecoderBlock], self.blocks)

    def remember(
        self, encoded: Float[Tensor, "B M D"], seen: Bool[Tensor, "B Q M"], queries: int | None = None
    ) -> Memory:
        """The keys and values of the histories for every layer, computed once per user.

        queries: expected number of tokens that attend to each history, None for many; only decides which computation is
            cheaper.
        """
        return Memory([block.cross.remember(encoded, queries) for block in self._blocks()], additive(seen))

    def remember_older(self, items: Float[Tensor, "B M D"], queries: int | None = None) -> list[Remembered]:
        """The keys and values of items that may be looked up, for every layer of `RecallBlock`s."""
        return [block.recall.remember(items, queries) for block in cast(Iterable[RecallBlock], self.blocks)]

    def remember_table(self, items: Float[Tensor, "N D"]) -> list[Remembered]:
        """The same of items that all users share."""
        return [block.recall.remember_table(items) for block in cast(Iterable[RecallBlock], self.blocks)]

    def recall_weights(self) -> list[Tensor]:
        """All that a table of `remember_table` depends on besides the items."""
        looking = [block.recall for block in cast(Iterable[RecallBlock], self.blocks)]
        return [projection.weight for recall in looking for projection in (recall.key, recall.value)]

    def forward(
        self, x: Float[Tensor, "B P S D"], memory: Memory, cache: Cache
    ) -> tuple[Float[Tensor, "B P S D"], Cache]:
        """Decode S new tokens of every target after those in the cache.

        Returns the normed outputs and the cache including the new tokens.
        """
        past, new = cache.length, x.shape[2]
        positions = torch.arange(past + new, device=x.device)
        causal = self.bias(positions[past:], positions) + additive(positions[None, :] <= positions[past:, None])
        mask = memory.mask.repeat_interleave(new, dim=1)
        lookups = memory.lookups(past, new)
        x = self.dropout(x)
        kept: list[KeysValues] = []
        for layer, block in enumerate(self._blocks()):
            x, own = block(x, cache, layer, causal[None], memory.layers[layer], mask, lookups[layer])
            kept.append(own)
        return self.dropout(self.norm(x)), Cache(kept)

    def step(
        self, x: Float[Tensor, "B W D"], memory: Memory, cache: BeamCache
    ) -> tuple[Float[Tensor, "B W D"], BeamCache]:
        """Decode one new token of every beam; in eval mode equal to `forward`."""
        assert not self.training
        positions = torch.arange(cache.length + 1, device=x.device)
        bias = self.bias(positions[-1:], positions)[:, 0].T
        lookups = memory.lookups(cache.length, 1)
        kept: list[list[KeysValues]] = []
        for layer, block in enumerate(self._blocks()):
            x, path = block.step(x, cache.path(layer), bias, memory.layers[layer], memory.mask, lookups[layer])
            kept.append(path)
        return self.norm(x), BeamCache(kept)

    def alone(self, x: Float[Tensor, "B W D"], memory: Memory) -> Float[Tensor, "B W D"]:
        """`step` of tokens that are alone on their paths, and that no later token looks back at."""
        assert not self.training
        assert memory.recall is None
        for layer, block in enumerate(self._blocks()):
            x = block.alone(x, memory.layers[layer], memory.mask)
        out: Tensor = self.norm(x)
        return out

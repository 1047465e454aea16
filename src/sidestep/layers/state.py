"""What a decoder remembers between steps: the encoded history and the keys and values of the tokens so far."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Remembered:
    """A history as one layer's cross-attention sees it.

    taken_over: whether the queries' and outputs' projections are in here. Keys and values are `[B, H * M, D]` each
        then, `[B, H, M, d]` otherwise.
    """

    keys: Tensor
    values: Tensor
    taken_over: bool

    def take(self, rows: Int[Tensor, " n"]) -> "Remembered":
        return replace(self, keys=self.keys[rows], values=self.values[rows])


@dataclass(frozen=True)
class Memory:
    """The encoded history, as every decoder layer sees it.

    mask: 0 where query row q of user b may look and a number near the lowest elsewhere, `[B, Q or 1, M]`.
    """

    layers: list[Remembered]
    mask: Float[Tensor, "B Q M"]

    def take(self, rows: Int[Tensor, " n"]) -> "Memory":
        """The histories of some rows."""
        return Memory([layer.take(rows) for layer in self.layers], self.mask[rows])


@dataclass
class Cache:
    """Self-attention keys and values of the tokens of every target so far, per layer `[B * P, H, S, d]`."""

    keys_values: list[KeysValues] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens so far."""
        return self.keys_values[0][0].shape[2] if self.keys_values else 0

    def extended(self, layer: int, new: KeysValues) -> KeysValues:
        """The keys and values of one layer with new tokens behind the old ones."""
        if layer < len(self.keys_values):
            keys, values = self.keys_values[layer]
            return torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)
        return new


@dataclass(frozen=True)
class BeamCache:
    """Self-attention keys and values of the tokens, codes and thoughts alike, on every beam's path.

    layers: per layer and token `[B, W or 1, H, d]` each; a token that all beams of a user share is kept once.
    parents: the beams to go on from, `[B, W]`, where they are not yet picked out of `layers`. That happens when the
        next token is decoded, and so never for the last one.
    """

    layers: list[list[KeysValues]] = field(default_factory=list)
    parents: Int[Tensor, "B W"] | None = None

    @property
    def length(self) -> int:
        """Tokens so far."""
        return len(self.layers[0]) if self.layers else 0

    def select(self, parents: Int[Tensor, "B W"]) -> "BeamCache":
        """Beam w of user b goes on from beam `parents[b, w]`."""
        if self.parents is not None:
            parents = self.parents.gather(1, parents)
        return replace(self, parents=parents)

    def take(self, rows: Int[Tensor, " n"]) -> "BeamCache":
        """The beams of some rows."""
        layers = [[(keys[rows], values[rows]) for keys, values in layer] for layer in self.layers]
        return BeamCache(layers, None if self.parents is None else self.parents[rows])

    def path(self, layer: int) -> list[KeysValues]:
        """The tokens of one layer, from the first one on."""
        if not self.layers:
            return []
        return [(self._picked(keys), self._picked(values)) for keys, values in self.layers[layer]]

    def _picked(self, x: Float[Tensor, "B _ H d"]) -> Float[Tensor, "B _ H d"]:
        if self.parents is None or x.shape[1] == 1:
            return x
        firsts = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
        return x.flatten(0, 1)[self.parents + firsts]


def first_positions(visible: Int[Tensor, "B Q"], width: int) -> Bool[Tensor, "B Q M"]:
    """True at the first `visible` of `width` memory positions."""
    return torch.arange(width, device=visible.device) < visible[:, :, None]


def additive(seen: Bool[Tensor, "*rows M"]) -> Float[Tensor, "*rows M"]:
    """0 where one may look, the lowest number elsewhere."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, torch.finfo(torch.float32).min)

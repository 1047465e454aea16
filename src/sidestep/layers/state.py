"""A decoder's state between steps: the encoded history and the keys and values of the tokens so far."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from sidestep.layers.gathered import Pending, gathered

KeysValues = tuple[Tensor, Tensor]
PendingPair = tuple[Pending, Pending]
"""Where the gradients of keys, and of values, are gathered."""


@dataclass(frozen=True)
class Remembered:
    """Keys and values of a history for one layer's cross-attention.

    folded: whether the query and output projections are folded in. Keys and values are then `[B, H * M, D]` each,
        otherwise `[B, H, M, d]`; a table of items, of no user, has `[N, H, d]`.
    pending: where their gradients are gathered; None where each pass that reads them adds its own.
    """

    keys: Tensor
    values: Tensor
    folded: bool
    pending: PendingPair | None = None

    def take(self, rows: Int[Tensor, " n"]) -> "Remembered":
        return replace(self, keys=self.keys[rows], values=self.values[rows], pending=None)

    def gathered(self) -> "Remembered":
        """The same for several passes, whose gradients reach keys and values as one product in the end. Folded ones
        are read by so many queries in each pass that their gradients are no larger than what they are made of.
        """
        if self.folded or not self.keys.requires_grad:
            return self
        (keys, of_keys), (values, of_values) = gathered(self.keys), gathered(self.values)
        return replace(self, keys=keys, values=values, pending=(of_keys, of_values))

    def of_users(self, rows: Int[Tensor, "B M"]) -> "Remembered":
        """The rows of a table that every user's M items have, as the user's own keys and values."""
        shape = (*rows.shape, *self.keys.shape[1:])
        keys, values = (embedding(rows, x.flatten(1)).view(shape) for x in (self.keys, self.values))
        return replace(self, keys=keys.transpose(1, 2), values=values.transpose(1, 2))


class Lookup(NamedTuple):
    """What some of a layer's Q queries look up.

    places: the queries that look something up; None where all of the Q do. mask: which of the M items each of them
    attends to, additive. found: False where a query has none, so that nothing of this reaches it.
    """

    remembered: Remembered
    places: Int[Tensor, " n"] | None
    mask: Float[Tensor, "B n M"]
    found: Bool[Tensor, "B n"]


@dataclass(frozen=True)
class Recall:
    """Items that tokens look up beside the encoded history, for every decoder layer.

    seen: True where query row q of user b attends to an item. opens: the position of the first token that looks
    something up; those before it see none of this.
    """

    layers: list[Remembered]
    seen: Bool[Tensor, "B Q M"]
    opens: int = 0

    def lookups(self, past: int, new: int) -> list[Lookup | None]:
        """What the `new` tokens of every query row look up that come after `past` ones, for every layer."""
        blind = min(max(self.opens - past, 0), new)
        if blind == new:
            return [None for _ in self.layers]
        seen = self.seen.repeat_interleave(new - blind, dim=1)
        places = torch.arange(self.seen.shape[1] * new, device=seen.device).view(-1, new)[:, blind:].flatten()
        mask, found = additive(seen), seen.any(dim=2)
        return [Lookup(layer, places if blind else None, mask, found) for layer in self.layers]


@dataclass(frozen=True)
class Memory:
    """The encoded history, for every decoder layer.

    mask: `[B, Q or 1, M]`, 0 where query row q of user b may attend, and a number near the lowest elsewhere; or one for
        each head, `[B, Q or 1, H, M]`, with a bias.
    recall: what is looked up besides, for a decoder of `RecallBlock`s.
    """

    layers: list[Remembered]
    mask: Float[Tensor, "B Q *H M"]
    recall: Recall | None = None

    def take(self, rows: Int[Tensor, " n"]) -> "Memory":
        """The histories of some rows. What is looked up is of one step, and not taken along."""
        return Memory([layer.take(rows) for layer in self.layers], self.mask[rows])

    def gathered(self) -> "Memory":
        """The same for several passes: see `Remembered.gathered`."""
        return replace(self, layers=[layer.gathered() for layer in self.layers])

    def lookups(self, past: int, new: int) -> list[Lookup | None]:
        """What the `new` tokens of every query row look up that come after `past` ones, for every layer."""
        return [None for _ in self.layers] if self.recall is None else self.recall.lookups(past, new)


@dataclass
class Cache:
    """Self-attention keys and values of the tokens of every target so far, per layer `[B * P, H, S, d]`."""

    keys_values: list[KeysValues] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens so far."""
        return self.keys_values[0][0].shape[2] if self.keys_values else 0

    def first(self, count: int) -> "Cache":
        """The first `count` tokens."""
        return Cache([(keys[:, :, :count], values[:, :, :count]) for keys, values in self.keys_values])

    def extended(self, layer: int, new: KeysValues) -> KeysValues:
        """The keys and values of one layer with new tokens behind the old ones."""
        if layer < len(self.keys_values):
            keys, values = self.keys_values[layer]
            return torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)
        return new


@dataclass(frozen=True)
class BeamCache:
    """Self-attention keys and values of the tokens, codes and thoughts alike, on every beam's path.

    layers: per layer and token `[B, W or 1, H, d]` each; a token that all beams of a user share is stored once.
    parents: `[B, W]`, the selected beams, if they are not yet gathered from `layers`. They are gathered when the next
        token is decoded, so never after the last one.
    """

    layers: list[list[KeysValues]] = field(default_factory=list)
    parents: Int[Tensor, "B W"] | None = None

    @property
    def length(self) -> int:
        """Tokens so far."""
        return len(self.layers[0]) if self.layers else 0

    def select(self, parents: Int[Tensor, "B W"]) -> "BeamCache":
        """Beam w of user b continues beam `parents[b, w]`."""
        if self.parents is not None:
            parents = self.parents.gather(1, parents)
        return replace(self, parents=parents)

    def take(self, rows: Int[Tensor, " n"]) -> "BeamCache":
        """The beams of some rows."""
        layers = [[(keys[rows], values[rows]) for keys, values in layer] for layer in self.layers]
        return BeamCache(layers, None if self.parents is None else self.parents[rows])

    def path(self, layer: int) -> list[KeysValues]:
        """Keys and values of the tokens of one layer, in order."""
        if not self.layers:
            return []
        return [(self._picked(keys), self._picked(values)) for keys, values in self.layers[layer]]

    def _picked(self, x: Float[Tensor, "B _ H d"]) -> Float[Tensor, "B _ H d"]:
        if self.parents is None or x.shape[1] == 1:
            return x
        return x.flatten(0, 1)[self._places]

    @cached_property
    def _places(self) -> Int[Tensor, "B W"]:
        """Where the selected beams stand, all beams of the rows counted one after the other; the same for all layers
        and tokens.
        """
        assert self.parents is not None
        width = self.layers[0][-1][0].shape[1]
        return self.parents + torch.arange(self.parents.shape[0], device=self.parents.device)[:, None] * width


def first_positions(visible: Int[Tensor, "B Q"], width: int) -> Bool[Tensor, "B Q M"]:
    """True at the first `visible` of `width` memory positions."""
    return torch.arange(width, device=visible.device) < visible[:, :, None]


def additive(seen: Bool[Tensor, "*rows M"]) -> Float[Tensor, "*rows M"]:
    """An additive attention mask: 0 where `seen`, the lowest number elsewhere."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, torch.finfo(torch.float32).min)

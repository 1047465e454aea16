"""What a decoder remembers between steps: the encoded history and the keys and values of the tokens so far."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Memory:
    """The encoded history, seen through each decoder layer's keys and values, which are computed once per user.

    keys_values: per layer, `[B, H, M, d]` each.
    mask: True where query row q of user b may look, `[B, Q or 1, M]`.
    """

    keys_values: list[KeysValues]
    mask: Bool[Tensor, "B Q M"]


@dataclass
class Cache:
    """Self-attention keys and values of the tokens decoded so far, per layer `[B * Q, H, S, d]`."""

    keys_values: list[KeysValues] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens decoded so far."""
        return self.keys_values[0][0].shape[2] if self.keys_values else 0

    def extended(self, layer: int, new: KeysValues) -> KeysValues:
        """The keys and values of one layer with new tokens behind the old ones."""
        if layer < len(self.keys_values):
            keys, values = self.keys_values[layer]
            return torch.cat([keys, new[0]], 2), torch.cat([values, new[1]], 2)
        return new

    def select(self, parents: Int[Tensor, "B W"]) -> "Cache":
        """The cache of chosen rows: row w of user b goes on from row `parents[b, w]`."""
        batch = parents.shape[0]
        chosen: list[KeysValues] = []
        for keys, values in self.keys_values:
            per_user = keys.shape[0] // batch
            rows = (parents + torch.arange(batch, device=parents.device)[:, None] * per_user).flatten()
            chosen.append((keys[rows], values[rows]))
        return Cache(chosen)


def lay_out(x: Float[Tensor, "R S D"], batch: int) -> Float[Tensor, "B QS D"]:
    """Rows that belong to the same user side by side, so that they share one set of cross-attention keys."""
    return x.reshape(batch, -1, x.shape[-1])

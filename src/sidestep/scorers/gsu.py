"""General search units: which items of a long history a ranker looks at for a target (SIM, arXiv 2006.05639; QARM V2).

Each gives a relevance `[B, T]` to the items of a history `[B, T]`, which is padded with -1; `-inf` means never.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Search(Protocol):
    def relevance(self, history: Int[Tensor, "B T"], targets: Int[Tensor, " B"]) -> Float[Tensor, "B T"]: ...


@dataclass(frozen=True)
class Recent:
    """The last items, whatever the target."""

    def relevance(self, history: Int[Tensor, "B T"], targets: Int[Tensor, " B"]) -> Float[Tensor, "B T"]:
        return _by_place(history)


@dataclass(frozen=True)
class Nearest:
    """SIM's soft search: the largest inner products with the target's vector; of equal ones, the later. vectors:
    `[N, D]`.
    """

    vectors: Float[Tensor, "N D"]

    def relevance(self, history: Int[Tensor, "B T"], targets: Int[Tensor, " B"]) -> Float[Tensor, "B T"]:
        products = (self.vectors[history.clamp(min=0)] * self.vectors[targets][:, None]).sum(2)
        return (products + 1e-6 * _by_place(history)).masked_fill(history < 0, -torch.inf)


@dataclass(frozen=True)
class SameGroup:
    """SIM's hard search: the last items of the target's group, such as its category or its first code.

    groups: `[N]`, -1 for an item without one, which finds nothing and is not found.
    """

    groups: Int[Tensor, " N"]

    def relevance(self, history: Int[Tensor, "B T"], targets: Int[Tensor, " B"]) -> Float[Tensor, "B T"]:
        of_history, of_target = self.groups[history.clamp(min=0)], self.groups[targets][:, None]
        return _by_place(history).masked_fill((of_history != of_target) | (of_target < 0), -torch.inf)


def found(search: Search, history: Int[Tensor, "B T"], targets: Int[Tensor, " B"], k: int) -> Int[Tensor, "B k"]:
    """The k most relevant items of each history, in the history's order, padded in front with -1."""
    k = min(k, history.shape[1])
    values, places = search.relevance(history, targets).topk(k, dim=1)
    places = torch.where(values > -torch.inf, places, -1).sort(dim=1).values
    return history.gather(1, places.clamp(min=0)).masked_fill(places < 0, -1)


def _by_place(history: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    place = torch.arange(history.shape[1], dtype=torch.float32, device=history.device)
    return place.expand(history.shape).masked_fill(history < 0, -torch.inf)

"""Items that several have proposed: each once, and the best of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.sequences import NO_ITEM


def distinct(items: Int[Tensor, "B C"]) -> Int[Tensor, "B C"]:
    """Every item of a row at its first place alone, `NO_ITEM` at the others."""
    ordered, order = items.sort(dim=1, stable=True)
    repeated = torch.zeros_like(items, dtype=torch.bool)
    repeated.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
    return items.masked_fill(repeated, NO_ITEM)


def best(
    items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"], k: int
) -> tuple[Int[Tensor, "B k"], Float[Tensor, "B k"]]:
    """The k best items with their scores, equal ones by item number."""
    by_number = items.sort(dim=1, stable=True).indices
    order = by_number.gather(1, scores.gather(1, by_number).sort(dim=1, descending=True, stable=True).indices)[:, :k]
    return items.gather(1, order), scores.gather(1, order)

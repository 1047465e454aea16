"""Equations of re-rankers."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def listwise(scores: Float[Tensor, "B C"], places: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """The cross-entropy of the candidate that was taken (ListNet's top-one probability, Cao et al., ICML 2007, eq. 6,
    with one relevant item).

        L = - mean over rows of log softmax(scores)[place]

    scores: `-inf` where there is no candidate. places: of the item that was taken, from 0.
    """
    return torch.nn.functional.cross_entropy(scores, places)

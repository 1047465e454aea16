"""Equations of re-rankers."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.losses.preference import clipped


def listwise(scores: Float[Tensor, "B C"], places: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """The cross-entropy of the candidate that was taken (ListNet's top-one probability, Cao et al., ICML 2007, eq. 6,
    with one relevant item).

        L = - mean over rows of log softmax(scores)[place]

    scores: `-inf` where there is no candidate. places: of the item that was taken, from 0.
    """
    return torch.nn.functional.cross_entropy(scores, places)


def dapo(
    new: Float[Tensor, "n T"],
    old: Float[Tensor, "n T"],
    advantages: Float[Tensor, " n"],
    written: Bool[Tensor, "n T"],
    low: float,
    high: float,
) -> Float[Tensor, ""]:
    """Policy gradient with a clip that is wider upwards, averaged over words (DAPO, Yu et al. 2025, arXiv 2503.14476).

        J = 1 / sum_i |o_i| sum_i sum_t min(rho A_i, clip(rho, 1 - low, 1 + high) A_i),  rho = exp(new - old)

    Returns -J. new, old: log-probabilities of each word under the policy, and under the one that wrote it. written:
    False at padding.
    """
    gain = clipped((new - old).exp(), advantages[:, None], low, high)
    return -(gain * written).sum() / written.sum().clamp(min=1)


def words(log_probs: Float[Tensor, "n T"], weights: Float[Tensor, "n T"]) -> Float[Tensor, ""]:
    """Supervised words, each with its own weight (GR2's `L = -l_r sum log P(trace) - l_o sum log P(ranking)`).

    L = - sum(weights log_probs) / sum(weights)
    """
    return -(log_probs * weights).sum() / weights.sum().clamp(min=1e-9)

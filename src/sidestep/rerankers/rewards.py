"""Rewards of a re-ranked list with one relevant item (GR2, arXiv 2602.07774), and what a group of them is worth."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Reward = Literal["conditional", "unconditional", "rank", "ndcg"]


def rank(before: Int[Tensor, "*B"], after: Int[Tensor, "*B"], candidates: int) -> Float[Tensor, "*B"]:
    """`R_rank = (rank before - rank after) / candidates`; ranks from 1."""
    return (before - after) / candidates


def ndcg(after: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """`1 / log2(1 + rank after)`."""
    return 1 / torch.log2(1 + after.float())


def unconditional(ranked: Float[Tensor, "*B"], formed: Bool[Tensor, "*B"], alpha: float) -> Float[Tensor, "*B"]:
    """`R = R_rank + alpha R_fmt`. Where all outputs of a group are well formed it changes no advantage."""
    return ranked + alpha * formed


def conditional(
    before: Int[Tensor, "*B"], after: Int[Tensor, "*B"], formed: Bool[Tensor, "*B"], alpha: float, candidates: int
) -> Float[Tensor, "*B"]:
    """`R_rank + alpha R_fmt` where the answer rises, or stands first and stays there; `R_rank` elsewhere.

    The paper pays alpha at `rank before = 1` whatever becomes of the answer, and so for demoting it; here it must stay.
    """
    better = (after < before) | ((before == 1) & (after == 1))
    return rank(before, after, candidates) + alpha * (formed & better)


def advantages(rewards: Float[Tensor, "B G"]) -> Float[Tensor, "B G"]:
    """`A = (R - mean) / std` within each group; 0 where all rewards of a group are the same, which teaches nothing."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    spread = rewards.std(dim=1, keepdim=True, correction=0)
    return torch.where(spread > 1e-6, centred / spread.clamp(min=1e-6), 0.0)

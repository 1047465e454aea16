"""Losses that move a generator towards what a reward prefers among its own paths, and no further from where it started
than they allow. G paths a row; places without a path are left out, and rewards there may be anything.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

SMALL = 1e-6


def advantages(rewards: Float[Tensor, "B G"], real: Bool[Tensor, "B G"]) -> Float[Tensor, "B G"]:
    """GRPO (Shao et al. 2024, arXiv 2402.03300, sec. 4.1.2): A_i = (r_i - mean) / (sd + 1e-6) within each row.

    0 where there is no path, and in a row whose rewards are all equal.
    """
    count = real.sum(dim=1, keepdim=True).clamp(min=1)
    best = rewards.masked_fill(~real, -torch.inf).amax(dim=1, keepdim=True)
    behind = (rewards - best).where(real, 0)  # exactly 0 where all are equal, which a rounded mean is not
    centred = (behind - behind.sum(dim=1, keepdim=True) / count).where(real, 0)
    sd = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return centred / (sd + SMALL)


def clipped(
    ratio: Float[Tensor, "*n"], advantage: Float[Tensor, "*#n"], low: float, high: float
) -> Float[Tensor, "*n"]:
    """PPO's gain of each action, min(rho A, clip(rho, 1 - low, 1 + high) A) (Schulman et al. 2017, arXiv 1707.06347,
    eq. 7, where low and high are one number).
    """
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def grpo(
    log_probs: Float[Tensor, "B G L"],
    reference: Float[Tensor, "B G L"],
    advantage: Float[Tensor, "B G"],
    real: Bool[Tensor, "B G"],
    clip: float,
    cap: float,
) -> Float[Tensor, ""]:
    """L = -mean min(rho A, clip(rho, 1 - clip, 1 + clip) A), code by code, with rho = pi / pi_ref; the mean over codes.

    Where A < 0 nothing of this bounds rho from above, and a path that became likely is pushed down as hard as it is
    likely: there rho is at most `cap`, and its gradient that of `cap log pi` (OneRec's early clipping).
    """
    behind = log_probs.detach() - math.log(cap)
    base = torch.where(advantage[:, :, None] < 0, torch.maximum(reference, behind), reference)
    ratio = torch.exp(torch.where(real[:, :, None], log_probs - base, 0))
    return -_mean(clipped(ratio, advantage[:, :, None], clip, clip).mean(dim=2), real)


def dpo(
    log_probs: Float[Tensor, "B G L"],
    reference: Float[Tensor, "B G L"],
    rewards: Float[Tensor, "B G"],
    real: Bool[Tensor, "B G"],
    beta: float,
) -> Float[Tensor, ""]:
    """DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7) between the best and the worst path of each row:

        L = -log sigmoid(beta (log pi/pi_ref (best) - log pi/pi_ref (worst))),

    the mean over the rows whose rewards differ.
    """
    best = rewards.masked_fill(~real, -torch.inf).argmax(dim=1, keepdim=True)
    worst = rewards.masked_fill(~real, torch.inf).argmin(dim=1, keepdim=True)
    moved = torch.where(real[:, :, None], log_probs - reference, 0).sum(dim=2)
    margin = beta * (moved.gather(1, best) - moved.gather(1, worst))
    differ = (rewards.gather(1, best) > rewards.gather(1, worst)) & real.any(dim=1, keepdim=True)
    return _mean(-F.logsigmoid(margin), differ)


def distil(
    log_probs: Float[Tensor, "B G L"], rewards: Float[Tensor, "B G"], real: Bool[Tensor, "B G"], tau: float
) -> Float[Tensor, ""]:
    """Cross-entropy of the paths among each other with softmax(r / tau) as the target: what a reward can teach without
    reinforcement. The mean over the rows.
    """
    wanted = (rewards / tau).masked_fill(~real, -torch.inf).softmax(dim=1)
    paths = torch.where(real[:, :, None], log_probs, 0).sum(dim=2).masked_fill(~real, -torch.inf)
    some = real.any(dim=1)
    terms = torch.where(real, wanted * paths.log_softmax(dim=1), 0)[some]
    return -terms.sum() / some.sum().clamp(min=1)


def kl(
    log_probs: Float[Tensor, "B G L"], reference: Float[Tensor, "B G L"], real: Bool[Tensor, "B G"]
) -> Float[Tensor, ""]:
    """How far the generator is from the reference on these paths, code by code: exp(d) - d - 1 with d = log pi_ref/pi,
    which is never negative and 0 where they agree (Schulman 2020, k3; GRPO, eq. 4).
    """
    apart = torch.where(real[:, :, None], reference - log_probs, 0)
    return _mean((apart.exp() - apart - 1).mean(dim=2), real)


def _mean(values: Float[Tensor, "B G"], real: Bool[Tensor, "B G"]) -> Float[Tensor, ""]:
    return values.where(real, 0).sum() / real.sum().clamp(min=1)

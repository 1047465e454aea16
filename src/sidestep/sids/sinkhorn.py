"""Balance by assignment: a bias for every code, with which the largest sum of logit and bias uses all codes alike."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

COARSEST = 1.0
"""Where the smoothing starts, in standard deviations of the logits; it halves until it is `eps`."""


@torch.no_grad()
def biases(logits: Float[Tensor, "N K"], eps: float, iterations: int) -> Float[Tensor, " K"]:
    """The duals of the codes in Sinkhorn's problem (Cuturi 2013; for codes: LC-Rec, arXiv 2311.09049, sec. 3.2.2)

        max_Q sum_nk Q_nk z_nk + eps H(Q)  with  sum_k Q_nk = 1,  sum_n Q_nk = N / K,

    by alternating scaling, in double precision. The solution is Q_nk = softmax_k((z_nk + b_k) / eps), so
    a code of any item, old or new, is the largest of z + b. The mean of b is 0.

    eps: in standard deviations of the logits, reached in halves from a coarser one, each with all `iterations`.
    """
    num_items, num_codes = logits.shape
    z, bias = logits.double(), logits.new_zeros(num_codes, dtype=torch.float64)
    spread = float(z.std()) if z.numel() > 1 else 0.0
    if not spread > 0:
        return bias.to(logits.dtype)
    smoothing, tiny = max(COARSEST, eps), torch.finfo(z.dtype).tiny
    while True:
        width = smoothing * spread
        tilted = z + bias
        shares = torch.exp((tilted - tilted.amax(dim=1, keepdim=True)) / width)
        scale = torch.ones_like(bias)
        for _ in range(iterations):  # products of a matrix with a vector: one exponential of each logit a smoothing
            rows = 1 / (shares @ scale).clamp(min=tiny)
            scale = num_items / num_codes / (shares.T @ rows).clamp(min=tiny)
        bias = bias + width * scale.log()
        if smoothing <= eps:
            return (bias - bias.mean()).to(logits.dtype)
        smoothing = max(smoothing / 2, eps)


@torch.no_grad()
def plan(logits: Float[Tensor, "N K"], bias: Float[Tensor, " K"], eps: float) -> Float[Tensor, "N K"]:
    """Q of `biases`."""
    z = logits.double()
    return torch.softmax((z + bias.double()) / (max(eps, 1e-12) * z.std().clamp(min=1e-300)), dim=1)


@torch.no_grad()
def balanced(logits: Float[Tensor, "N K"], eps: float, iterations: int) -> Int[Tensor, " N"]:
    """The code of every item, the largest of its logits with the codes' `biases`."""
    return (logits + biases(logits, eps, iterations)).argmax(dim=1)

"""Losses of tokenizers: reconstruction, quantisation, uniformity (S2GR, section 4.2.2) and diversity (GR2)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def reconstruct(outputs: Float[Tensor, "n D"], inputs: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """S2GR eq. 8: ||x - x_hat||^2, the mean over the n vectors."""
    return (inputs - outputs).square().sum(-1).mean()


def quantise(
    residuals: Sequence[Float[Tensor, "n d"]], codewords: Sequence[Float[Tensor, "n d"]], commitment: float
) -> Float[Tensor, ""]:
    """S2GR eq. 9: sum over levels of commitment * ||r - sg(e)||^2 + ||e - sg(r)||^2, the mean over the n vectors.

    The first term pulls the encoder towards the codewords, the second the codewords towards their residuals. S2GR gives
    both the same weight; TIGER's commitment is 0.25.
    """
    losses = [
        commitment * (residual - codeword.detach()).square().sum(-1) + (codeword - residual.detach()).square().sum(-1)
        for residual, codeword in zip(residuals, codewords, strict=True)
    ]
    return torch.stack(losses).sum(0).mean()


def codeword_distances(codewords: Float[Tensor, "K d"]) -> Float[Tensor, "K K"]:
    """S2GR eq. 10: D_ij = ||e_i - e_j||^2."""
    norms = codewords.square().sum(-1)
    return (norms[:, None] - 2 * codewords @ codewords.T + norms).clamp(min=0)


def uniformity_scale(codewords: Float[Tensor, "K d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """delta and mu of eqs 11 and 12, fitted to a codebook: the 25th percentile of D_ij, i < j, and 1 / its median.

    Fixed numbers would make the loss vanish or dominate as the encoder's scale changes. For a single codeword, delta is
    0 and mu is 1.
    """
    size = len(codewords)
    if size < 2:
        return codewords.new_zeros(()), codewords.new_ones(())
    row, column = torch.triu_indices(size, size, offset=1, device=codewords.device)
    distances = codeword_distances(codewords.detach())[row, column]
    ordered = distances.sort().values  # torch.quantile takes at most 2^24 values, which 6,000 codewords exceed
    quarter, middle = ordered[(len(ordered) - 1) // 4], ordered[(len(ordered) - 1) // 2]
    return quarter, 1 / middle.clamp(min=torch.finfo(middle.dtype).tiny)


def uniform(codewords: Float[Tensor, "K d"], delta: Float[Tensor, ""], mu: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """S2GR eqs 11 and 12: log(1 + sum over P of exp(-mu D_ij)), P = {(i, j): i != j, D_ij <= delta}.

    P holds ordered pairs, so each unordered pair counts twice, as the paper writes it.
    """
    distances = codeword_distances(codewords)
    near = (distances <= delta).fill_diagonal_(False)
    return torch.log1p(torch.exp(-mu * distances[near]).sum())


def soft_usage(distances: Float[Tensor, "n K"]) -> Float[Tensor, " K"]:
    """Differentiable usage of each code: the mean over the n residuals of softmax_j(-d_j / s).

    s is the mean distance to the nearest codeword, so that the sharpness of the softmax is independent of the encoder's
    scale.
    """
    scale = distances.detach().min(dim=1).values.mean().clamp(min=torch.finfo(distances.dtype).tiny)
    return torch.softmax(-distances / scale, dim=1).mean(0)


def diversity(usage: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """GR2 stage 1a (arXiv 2602.07774): C sum_j p_j^2, 1 if all C codes are used equally, C if only one is used."""
    return len(usage) * usage.square().sum()


def unevenness(logits: Float[Tensor, "n K"]) -> Float[Tensor, ""]:
    """log K - H(mean over the n rows of softmax(z)): 0 if all codes are used alike, log K if a single one is used."""
    log_shares = torch.logsumexp(logits.log_softmax(dim=1), dim=0) - math.log(len(logits))
    return math.log(logits.shape[1]) + (log_shares.exp() * log_shares).sum()

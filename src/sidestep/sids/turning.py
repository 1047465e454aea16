"""A turn of logits that no loss of cosines sees, after which the largest coordinate tells more items apart."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.sids.kmeans import kmeans
from sidestep.sids.sinkhorn import balanced

ROUNDS, SMOOTHING, ITERATIONS = 4, 0.1, 3
"""At most so many turns, and the balanced assignment between them."""


@torch.no_grad()
def turn(logits: Float[Tensor, "N K"], generator: torch.Generator) -> Float[Tensor, "K K"]:
    """An orthogonal R for which the coordinate of `R z` that is an item's code is large, for the mean item.

    Cosines between logits are the same after any R, so training leaves open where the axes lie, and with them which
    code is the largest. In turn, each item takes an axis, at first that of its cluster of k-means, then its code by the
    balanced assignment, without which an axis that is nobody's stays nobody's; and R is the turn that brings directions
    nearest to their axes (the Procrustes problem, as in ITQ, Gong & Lazebnik, CVPR 2011).
    """
    size = logits.shape[1]
    directions = F.normalize(logits.double(), dim=1)
    best = torch.eye(size, dtype=torch.float64, device=logits.device)
    reached = _reached(directions, balanced(directions, SMOOTHING, ITERATIONS))
    codes = kmeans(directions.float(), size, generator, max_iterations=ROUNDS).assignment
    for _ in range(ROUNDS):
        sums = torch.zeros(size, size, dtype=torch.float64, device=logits.device).index_add_(0, codes, directions)
        left, _, right = torch.linalg.svd(sums)
        turned = directions @ (left @ right).T
        codes = balanced(turned, SMOOTHING, ITERATIONS)
        now = _reached(turned, codes)
        if now <= reached:
            break
        best, reached = left @ right, now
    return best.to(logits.dtype)


def _reached(directions: Float[Tensor, "N K"], codes: Int[Tensor, " N"]) -> float:
    return float(directions.gather(1, codes[:, None]).mean())

"""Product quantisation as levels of the residual loop: every level quantises its own block of dimensions.

These IDs have no hierarchy: the meaning of a code does not depend on the codes before it. They are the control for the
hierarchical ones.
"""

from collections.abc import Sequence
from itertools import accumulate, chain

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.sids.fsq import moments
from sidestep.sids.kmeans import blocks, cluster_means, kmeans, nearest

OPQ_ITERATIONS = 50
LEAST_VARIANCE = 1e-9  # relative to the largest variance; smaller ones are rounding
OPQ_SAMPLE = 65_536  # vectors that a rotation is learnt from, as in faiss


class Block(nn.Module):
    """One block of a product quantiser (Jegou et al., 2011): k-means on some of the dimensions.

    codewords: `[K, d]`, zero outside of the block, so that subtracting one leaves the other dimensions unchanged.

    Args:
        dimensions: the dimensions of the block.
    """

    codewords: Tensor

    def __init__(self, size: int, width: int, dimensions: slice) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.register_buffer("codewords", torch.zeros(size, width))

    def __len__(self) -> int:
        return len(self.codewords)

    @torch.no_grad()
    def assign(self, residuals: Float[Tensor, "B d"]) -> Int[Tensor, " B"]:
        """The nearest code of every residual within the block, which is also the nearest overall. Pure."""
        return nearest(residuals[:, self.dimensions], self.codewords[:, self.dimensions])[0]

    @torch.no_grad()
    def initialize(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> None:
        """Set the codewords by k-means. With fewer than K distinct residuals, the last codeword repeats."""
        centroids = kmeans(residuals[:, self.dimensions].contiguous(), len(self), generator).centroids
        self.codewords.zero_()
        self.codewords[:, self.dimensions] = centroids[torch.arange(len(self)).clamp(max=len(centroids) - 1)]


def product_levels(width: int, sizes: Sequence[int]) -> list[Block]:
    """A block for each size: consecutive dimensions, in numbers that differ by at most 1. Needs one dimension each."""
    return [Block(size, width, block) for size, block in zip(sizes, _cuts(width, len(sizes)), strict=True)]


@torch.no_grad()
def opq_rotation(
    vectors: Float[Tensor, "N D"], sizes: Sequence[int], generator: torch.Generator
) -> Float[Tensor, "D D"]:
    """The rotation R for which `product_levels(D, sizes)` restores vectors @ R best. Alternates between codewords for a
    given R (one step of k-means in every block) and R for given codewords (the Procrustes problem): non-parametric OPQ
    (Ge et al., 2013, alg. 1), initialised with parametric OPQ (`_balanced_axes`). The inverse is @ R.T.

    Learnt from at most `OPQ_SAMPLE` vectors, drawn at random.
    """
    if len(vectors) > OPQ_SAMPLE:
        vectors = vectors[torch.randperm(len(vectors), generator=generator)[:OPQ_SAMPLE].to(vectors.device)]
    cuts = _cuts(vectors.shape[1], len(sizes))
    rotation = _balanced_axes(vectors, cuts)
    turned = vectors @ rotation
    books = [
        kmeans(turned[:, cut].contiguous(), size, generator, max_iterations=5).centroids
        for cut, size in zip(cuts, sizes, strict=True)
    ]
    for _ in range(OPQ_ITERATIONS):
        cross = torch.zeros_like(rotation, dtype=torch.float64)
        for number, cut in enumerate(cuts):
            part = turned[:, cut].contiguous()
            codes = nearest(part, books[number])[0]
            books[number] = cluster_means(part, codes, books[number])
            for block in blocks(*vectors.shape):
                cross[:, cut] += vectors[block].double().T @ books[number][codes[block]].double()
        left, _, right = torch.linalg.svd(cross)
        rotation = (left @ right).to(vectors.dtype)
        turned = vectors @ rotation
    return rotation


def _cuts(width: int, number: int) -> list[slice]:
    """The dimensions in `number` blocks, the wider ones first."""
    assert 1 <= number <= width
    widths = [width // number + (block < width % number) for block in range(number)]
    ends = list(accumulate(widths))
    return [slice(end - size, end) for end, size in zip(ends, widths, strict=True)]


def _balanced_axes(vectors: Float[Tensor, "N D"], cuts: Sequence[slice]) -> Float[Tensor, "D D"]:
    """The principal axes, allocated to the blocks so that the products of their variances are similar: the axis of the
    next largest variance goes to the block with room whose product is smallest (Ge et al., sec. 3.2.2).
    """
    variances, axes = torch.linalg.eigh(moments(vectors)[1])
    # Only ratios matter. Relative to the smallest variance every logarithm is positive, so products grow.
    least = variances[-1].clamp(min=torch.finfo(variances.dtype).tiny) * LEAST_VARIANCE
    logarithms = (variances.clamp(min=least) / least).log().tolist()
    allocated: list[list[int]] = [[] for _ in cuts]
    products = [0.0] * len(cuts)
    for axis in reversed(range(len(logarithms))):
        roomy = [number for number, cut in enumerate(cuts) if len(allocated[number]) < cut.stop - cut.start]
        block = min(roomy, key=products.__getitem__)
        allocated[block].append(axis)
        products[block] += logarithms[axis]
    return axes[:, list(chain(*allocated))].to(vectors.dtype)

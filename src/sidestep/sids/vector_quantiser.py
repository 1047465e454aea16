"""A quantiser of the item vectors themselves: nothing is trained by gradient, every level is fitted once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.layers.products import fast_products
from sidestep.sids.kmeans import blocks
from sidestep.sids.product import opq_rotation
from sidestep.sids.residual import ResidualQuantiser


class VectorQuantiser(nn.Module):
    """RQ-KMeans, Res-KmeansFSQ, PQ and OPQ: a quantiser without encoder and decoder. Its latents are the vectors, for
    OPQ multiplied by a rotation that is fitted to the blocks of its levels.

    Args:
        width: D, dimensions of an item vector; the levels' codewords are as wide.
        quantiser: the levels.
        turned: learn OPQ's rotation before the levels are fitted.
    """

    rotation: Tensor

    def __init__(self, width: int, quantiser: ResidualQuantiser, turned: bool = False) -> None:
        super().__init__()
        self.quantiser, self.turned = quantiser, turned
        self.register_buffer("rotation", torch.eye(width))

    @torch.no_grad()
    def learn(self, vectors: Float[Tensor, "N D"], generator: torch.Generator) -> None:
        """Fit the rotation (OPQ), then level by level. The same generator state gives the same levels."""
        with fast_products():
            if self.turned:
                sizes = [len(level) for level in self.quantiser.levels]
                self.rotation.copy_(opq_rotation(vectors, sizes, generator))
            self.quantiser.initialize(self.encode(vectors), generator)

    @torch.no_grad()
    def encode(self, vectors: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The latents: the input of the first level."""
        return vectors @ self.rotation if self.turned else vectors

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Latents, such as sums of codewords, as vectors; the inverse of `encode`."""
        return latents @ self.rotation.T if self.turned else latents

    @torch.no_grad()
    def assign(self, vectors: Float[Tensor, "N D"]) -> Int[Tensor, "N L"]:
        """The codes of any vectors, old or new. Pure: the same vectors give the same codes."""
        codes = vectors.new_empty((len(vectors), len(self.quantiser.levels)), dtype=torch.int64)
        with fast_products():
            for rows in blocks(*vectors.shape):
                codes[rows] = self.quantiser.assign(self.encode(vectors[rows]))
        return codes

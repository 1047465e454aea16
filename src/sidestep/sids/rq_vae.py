"""RQ-VAE: an encoder, a residual quantiser and a decoder that restores the vector from the codewords."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.layers.products import fast_products
from sidestep.sids.residual import Quantised, ResidualQuantiser

ENCODE_ROWS = 1024  # vectors encoded at once without gradient; their hidden layers stay in the cache


@dataclass(frozen=True)
class Reconstruction:
    """inputs: the standardised vectors x. outputs: the decoder's x_hat. quantised: codes and codewords between them."""

    inputs: Float[Tensor, "B D"]
    outputs: Float[Tensor, "B D"]
    quantised: Quantised


class RQVAE(nn.Module):
    """TIGER sec. 3.1 (arXiv 2305.05065), S2GR sec. 4.2.2 (arXiv 2601.18664).

    Vectors are first standardised by the mean and the scale of the vectors given to `standardise_by`: raw embeddings of
    length 1 are so small that the codebooks collapse. All dimensions share one scale, so that distances keep their
    proportions; with one scale per dimension, the small dimensions of LSA, mostly noise, would count like the first.

    Args:
        width: D, dimensions of an item vector.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        quantiser: the levels of codebooks, of width `code_width`.
        code_width: d, dimensions of a codeword.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, hidden: Sequence[int], quantiser: ResidualQuantiser, code_width: int) -> None:
        super().__init__()
        self.encoder = _mlp([width, *hidden, code_width])
        self.decoder = _mlp([code_width, *reversed(hidden), width])
        self.quantiser = quantiser
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))

    def standardise_by(self, vectors: Float[Tensor, "N D"]) -> None:
        """Set the mean of every dimension, and as the scale the root of the mean variance over dimensions, or 1 where
        all vectors are equal.
        """
        mean, scale = mean_and_scale(vectors, self.mean.device)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def standardise(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return (vectors - self.mean) / self.scale

    def forward(self, vectors: Float[Tensor, "B D"]) -> Reconstruction:
        inputs = self.standardise(vectors)
        quantised = self.quantiser(self.encoder(inputs))
        return Reconstruction(inputs, self.decoder(quantised.total), quantised)

    @torch.no_grad()
    def encode(self, vectors: Float[Tensor, "N D"]) -> Float[Tensor, "N d"]:
        """z = E(x) of any number of vectors, in blocks."""
        with fast_products():
            return torch.cat([self.encoder(self.standardise(block)) for block in self._blocks(vectors)])

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "N d"]) -> Float[Tensor, "N D"]:
        """Latents, such as sums of codewords, as vectors on the scale of the catalogue's own."""
        with fast_products():
            outputs = torch.cat([self.decoder(block) for block in self._blocks(latents)])
        return outputs * self.scale + self.mean

    @torch.no_grad()
    def assign(self, vectors: Float[Tensor, "N D"]) -> Int[Tensor, "N L"]:
        """The codes of any vectors, old or new, by plain distances. Pure: the same vectors give the same codes."""
        codes = vectors.new_empty(
            (len(vectors), len(self.quantiser.levels)), dtype=torch.int64, device=self.mean.device
        )
        with fast_products():  # into one table: small results between large ones would keep the allocator's memory
            for begin in range(0, len(vectors), ENCODE_ROWS):
                rows = slice(begin, begin + ENCODE_ROWS)
                codes[rows] = self.quantiser.assign(self.encode(vectors[rows]))
        return codes

    def _blocks(self, vectors: Float[Tensor, "N D"]) -> Iterator[Tensor]:
        for begin in range(0, len(vectors), ENCODE_ROWS):
            yield vectors[begin : begin + ENCODE_ROWS].to(self.mean.device)


def mean_and_scale(
    vectors: Float[Tensor, "N D"], device: torch.device | None = None
) -> tuple[Float[Tensor, " D"], Float[Tensor, ""]]:
    """The mean of every dimension, and the root of the mean variance over dimensions, or 1 where all vectors are equal;
    in double precision. device: where it is computed, block by block.
    """
    blocks = range(0, len(vectors), ENCODE_ROWS)
    total = torch.zeros(vectors.shape[1], dtype=torch.float64, device=device)
    for begin in blocks:
        total += vectors[begin : begin + ENCODE_ROWS].to(total.device).double().sum(0)
    mean = total / len(vectors)
    parts = (vectors[begin : begin + ENCODE_ROWS].to(total.device).double() - mean for begin in blocks)
    scale = (torch.stack([part.square().sum() for part in parts]).sum() / vectors.numel()).sqrt()
    same = scale <= 1e-6 * mean.abs().max()  # indistinguishable from rounding in float32
    return mean, torch.where(same, torch.ones_like(scale), scale)


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])

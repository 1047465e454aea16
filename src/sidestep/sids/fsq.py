"""A level whose code is a row of bits: each is the side of a hyperplane on which a residual lies."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.sids.kmeans import blocks

ITQ_ITERATIONS = 50  # of Gong and Lazebnik (2011), sec. 2.2
LEARNING_STEPS = 1000
LEARNING_BATCH = 1024
LEARNING_RATE = 3e-2
HIDDEN = 64  # of a public re-build of QARM V2, which found 128 worse
LEAST_GAP = 1e-6  # relative to the longest residual: smaller differences of projections may be rounding


@runtime_checkable
class Directions(Protocol):
    """The directions `[d, b]` along which residuals are split in two, b <= d."""

    def __call__(
        self, residuals: Float[Tensor, "N d"], bits: int, generator: torch.Generator
    ) -> Float[Tensor, "d b"]: ...


def itq(residuals: Float[Tensor, "N d"], bits: int, generator: torch.Generator) -> Float[Tensor, "d b"]:
    """The first `bits` principal axes, rotated within their span so that the projections are as near as possible to +-1
    times a common scale: iterative quantisation (Gong and Lazebnik, 2011, sec. 2.2). Orthonormal.

    The generator draws the initial rotation.
    """
    mean, covariance = moments(residuals)
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -bits:]
    projected = torch.cat([(residuals[block].double() - mean) @ axes for block in blocks(*residuals.shape)])
    drawn = torch.randn(bits, bits, generator=generator, dtype=torch.float64).to(axes.device)
    turn = torch.linalg.qr(drawn).Q
    for _ in range(ITQ_ITERATIONS):
        signs = torch.where(projected @ turn > 0, 1.0, -1.0).double()
        left, _, right = torch.linalg.svd(projected.T @ signs)
        turn = left @ right
    return (axes @ turn).to(residuals.dtype)


def autoencoder(residuals: Float[Tensor, "N d"], bits: int, generator: torch.Generator) -> Float[Tensor, "d b"]:
    """Directions learnt by gradient, starting from those of `itq`: round(sigmoid(r W)), QARM V2's third level, must
    restore the residual through a linear decoder; the gradient of the rounding is straight-through (FSQ: Mentzer et
    al., 2023, arXiv 2309.15505, sec. 3.1). QARM V2 (arXiv 2602.08559) does not state how it obtains W.

    The generator draws the batches.
    """
    start = itq(residuals, bits, generator)
    weights, decoder = start.clone(), start.T.clone()
    _learn(residuals, [weights], decoder, lambda inputs: inputs @ weights, generator)
    return weights


def hidden_layer(
    residuals: Float[Tensor, "N d"], bits: int, generator: torch.Generator
) -> tuple[Float[Tensor, "d h"], Float[Tensor, " h"], Float[Tensor, "h b"]]:
    """As `autoencoder`, with round(sigmoid(relu(r A + a) W)): A, a and W. The generator draws the start, too."""
    width = residuals.shape[1]
    first, last, decoder = (
        torch.randn(rows, columns, generator=generator).to(residuals) * (2 / rows) ** 0.5
        for rows, columns in ((width, HIDDEN), (HIDDEN, bits), (bits, width))
    )
    bias = residuals.new_zeros(HIDDEN)
    mean, spread = _learn(
        residuals, [first, bias, last], decoder, lambda inputs: (inputs @ first + bias).relu() @ last, generator
    )
    return first / spread, bias - mean / spread @ first, last


def _learn(
    residuals: Float[Tensor, "N d"],
    encoder: list[Tensor],
    decoder: Float[Tensor, "b d"],
    project: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n b"]],
    generator: torch.Generator,
) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """Learn the parameters of an encoder and a linear decoder in their place.

    Returns the mean and the spread that the inputs of `project` were standardised with.
    """
    residuals = residuals.detach()
    mean, covariance = (moment.to(residuals.dtype) for moment in moments(residuals))
    spread = covariance.diagonal().mean().sqrt()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    learnt = [parameter.requires_grad_() for parameter in (*encoder, decoder)]
    with torch.enable_grad():
        optimiser = torch.optim.Adam(learnt, lr=LEARNING_RATE)
        for step in range(LEARNING_STEPS):
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / LEARNING_STEPS)
            rows = torch.randint(len(residuals), (min(LEARNING_BATCH, len(residuals)),), generator=generator)
            inputs = (residuals[rows.to(residuals.device)] - mean) / spread
            soft = torch.sigmoid(project(inputs))
            rounded = soft + (soft.round() - soft).detach()
            loss = (inputs - (2 * rounded - 1) @ decoder).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    for parameter in learnt:
        parameter.requires_grad_(False)
    return mean, spread


class FSQ(nn.Module):
    """Binary finite scalar quantisation: the third level of QARM V2's Res-KmeansFSQ (arXiv 2602.08559, sec. B).

    A residual is projected on `bits` directions, and each projection is compared with its median over the residuals
    that the level was fitted to, so that every bit halves them. The code is the bits read as one number; the most
    significant bit belongs to the direction of largest variance. The codeword of a code is the affine function of its
    bits that restores the residuals best; its error is at most that of a zero codeword, so a further level never
    increases the total error.

    codewords: `[2^bits, d]`, also for codes that no residual has.
    directions: `[d, bits]`. thresholds: `[bits]`.

    Args:
        bits: at most `width`.
        width: d, dimensions of a residual.
        fit: the source of the directions: `itq`, or `autoencoder` (learnt).
    """

    codewords: Tensor
    directions: Tensor
    thresholds: Tensor

    def __init__(self, bits: int, width: int, fit: Directions = itq) -> None:
        super().__init__()
        assert 0 <= bits <= width
        self.bits, self.fit = bits, fit
        self.register_buffer("codewords", torch.zeros(2**bits, width))
        self.register_buffer("directions", torch.zeros(width, bits))
        self.register_buffer("thresholds", torch.zeros(bits))

    def __len__(self) -> int:
        return len(self.codewords)

    def features(self, residuals: Float[Tensor, "B d"]) -> Float[Tensor, "B f"]:
        """What is projected on the directions."""
        return residuals

    def find(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> Float[Tensor, "f bits"]:
        """The directions, of any length and in any order."""
        return self.fit(residuals, self.bits, generator)

    @torch.no_grad()
    def assign(self, residuals: Float[Tensor, "B d"]) -> Int[Tensor, " B"]:
        """The code of every residual from its sides of the hyperplanes, not from distances. Pure."""
        values = 2 ** torch.arange(self.bits - 1, -1, -1, device=residuals.device)
        return ((self.features(residuals) @ self.directions > self.thresholds) * values).sum(1)

    @torch.no_grad()
    def initialize(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> None:
        """Fit directions, thresholds and codewords to all residuals."""
        if not self.bits:
            self.codewords.copy_(residuals.double().mean(0, keepdim=True))
            return
        directions = self.find(residuals, generator)
        directions = directions / directions.norm(dim=0).clamp(min=torch.finfo(directions.dtype).tiny)
        features = self.features(residuals)
        order = (features @ directions).var(0, correction=0).argsort(descending=True, stable=True)
        self.directions.copy_(directions[:, order])
        self.thresholds.copy_(_medians(features @ self.directions, features.norm(dim=1).max()))
        self.codewords.copy_(_decoded(residuals, self.assign(residuals), self.bits))


class HiddenFSQ(FSQ):
    """`FSQ` of a hidden layer's numbers instead of the residuals themselves: its hyperplanes are bent. Everything else
    holds of it, too: every bit halves the residuals, and codewords are affine in the bits.

    first: `[d, HIDDEN]`. bias: `[HIDDEN]`. directions: `[HIDDEN, bits]`.
    """

    first: Tensor
    bias: Tensor

    def __init__(self, bits: int, width: int) -> None:
        super().__init__(bits, width)
        self.register_buffer("first", torch.zeros(width, HIDDEN))
        self.register_buffer("bias", torch.zeros(HIDDEN))
        self.register_buffer("directions", torch.zeros(HIDDEN, bits))

    def features(self, residuals: Float[Tensor, "B d"]) -> Float[Tensor, "B f"]:
        return (residuals @ self.first + self.bias).relu()

    def find(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> Float[Tensor, "f bits"]:
        first, bias, directions = hidden_layer(residuals, self.bits, generator)
        self.first.copy_(first)
        self.bias.copy_(bias)
        return directions


def moments(rows: Float[Tensor, "N d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Mean and covariance in double precision."""
    width = rows.shape[1]
    total, squares = rows.new_zeros(width, dtype=torch.float64), rows.new_zeros(width, width, dtype=torch.float64)
    for block in blocks(*rows.shape):
        total += rows[block].double().sum(0)
    mean = total / len(rows)
    for block in blocks(*rows.shape):
        centred = rows[block].double() - mean
        squares += centred.T @ centred
    return mean, squares / len(rows)


def _medians(projected: Float[Tensor, "N b"], largest: Float[Tensor, ""]) -> Float[Tensor, " b"]:
    """A number between the median of every column and the next larger entry. The median itself would be the projection
    of some residual, whose side would then depend on rounding.

    largest: length of the longest residual.
    """
    ordered = projected.sort(dim=0).values
    medians = ordered[(len(ordered) - 1) // 2]
    least = LEAST_GAP * largest
    above = torch.where(ordered > medians + least, ordered, torch.inf).amin(0)
    return torch.where(above.isinf(), medians + least, (medians + above) / 2)


def _decoded(residuals: Float[Tensor, "N d"], codes: Int[Tensor, " N"], bits: int) -> Float[Tensor, "K d"]:
    """The codeword of every code: the affine function of its bits, fitted to the residuals by least squares.

    Accumulated in blocks of residuals. A bit that never varies contributes nothing.
    """
    patterns = _design(torch.arange(2**bits, device=codes.device), bits)
    gram = residuals.new_zeros(bits + 1, bits + 1, dtype=torch.float64)
    cross = residuals.new_zeros(bits + 1, residuals.shape[1], dtype=torch.float64)
    for block in blocks(*residuals.shape):
        rows = patterns[codes[block]]
        gram += rows.T @ rows
        cross += rows.T @ residuals[block].double()
    weights = torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ cross
    return (patterns @ weights).to(residuals.dtype)


def _design(codes: Int[Tensor, " n"], bits: int) -> Float[Tensor, "n b1"]:
    """The bits of every code as -1 and 1, the most significant first, and a last column of ones."""
    places = torch.arange(bits - 1, -1, -1, device=codes.device)
    signs = (codes[:, None] >> places & 1) * 2.0 - 1
    return torch.cat([signs, torch.ones_like(signs[:, :1])], dim=1).double()

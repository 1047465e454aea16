"""One level of a residual quantiser, and the tricks that may be handed to it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep import losses
from sidestep.sids.kmeans import blocks, cluster_means, kmeans, nearest, squared_distances

USAGE_DECAY = 0.99


@runtime_checkable
class Balancer(Protocol):
    """Bends the distances by which codes are chosen while training; never the final assignment."""

    def __call__(self, distances: Float[Tensor, "B K"], usage: Float[Tensor, " K"]) -> Float[Tensor, "B K"]: ...


@runtime_checkable
class Estimator(Protocol):
    """How the gradient passes the quantiser: its value is `quantised`, its gradient reaches `inputs`."""

    def __call__(self, inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]: ...


def straight_through(inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    """The quantised value with the gradient of the identity (Bengio et al., 2013; van den Oord et al., 2017)."""
    return inputs + (quantised - inputs).detach()


@dataclass(frozen=True)
class LoadBalance:
    """S2GR eqs 13 and 14: seldom used codes look nearer than they are, often used ones farther.

    dmax: the largest share by which a distance is changed. It must stay below 1, where an unused code would have
        distance 0 from everything.
    """

    dmax: float
    eps: float = 1e-8

    def __post_init__(self) -> None:
        assert 0 <= self.dmax < 1

    def factors(self, usage: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """Eq. 13: f_k = clip((u_mean - u_k) / (u_mean + eps), -dmax, dmax)."""
        mean = usage.mean()
        return ((mean - usage) / (mean + self.eps)).clamp(-self.dmax, self.dmax)

    def __call__(self, distances: Float[Tensor, "B K"], usage: Float[Tensor, " K"]) -> Float[Tensor, "B K"]:
        """Eq. 14: d'_k = d_k (1 - f_k)."""
        return distances * (1 - self.factors(usage))


class Codebook(nn.Module):
    """A table of codewords, and how residuals choose among them (S2GR eq. 6).

    codewords: `[K, d]`, trained.
    usage: `[K]` how often each code was chosen lately, u_k of eq. 13: a running mean over training batches.
    delta, mu: what eqs 11 and 12 measure distances between codewords by; see `rescale`.
    """

    usage: Tensor
    delta: Tensor
    mu: Tensor

    def __init__(self, size: int, width: int, balancer: Balancer | None = None) -> None:
        super().__init__()
        self.codewords = nn.Parameter(torch.zeros(size, width))
        self.register_buffer("usage", torch.ones(size))
        self.register_buffer("delta", torch.zeros(()))
        self.register_buffer("mu", torch.ones(()))
        self.balancer = balancer

    def __len__(self) -> int:
        return len(self.codewords)

    def forward(self, residuals: Float[Tensor, "B d"]) -> tuple[Int[Tensor, " B"], Float[Tensor, "B d"]]:
        """The code chosen for every residual and its codeword. While training, the balancer has its say and the
        usage is counted.
        """
        with torch.no_grad():
            codes = self._choose(residuals) if self.training else self.assign(residuals)
        return codes, self.codewords[codes]

    def assign(self, residuals: Float[Tensor, "B d"]) -> Int[Tensor, " B"]:
        """The nearest code of every residual by plain distance. Pure."""
        return nearest(residuals, self.codewords.detach())[0]

    def _choose(self, residuals: Float[Tensor, "B d"]) -> Int[Tensor, " B"]:
        codes = self._balanced(residuals, self.usage)
        self.usage.lerp_(codes.bincount(minlength=len(self)).to(self.usage.dtype), 1 - USAGE_DECAY)
        return codes

    def _balanced(self, residuals: Float[Tensor, "B d"], usage: Float[Tensor, " K"]) -> Int[Tensor, " B"]:
        """The nearest codes by the balancer's distances; by plain ones where there is none."""
        if self.balancer is None:
            return self.assign(residuals)
        bend = self.balancer
        tables = (squared_distances(residuals[block], self.codewords) for block in blocks(len(residuals), len(self)))
        return torch.cat([bend(table, usage).argmin(dim=1) for table in tables])

    def rescale(self) -> None:
        """Fit delta and mu to the codewords as they stand now."""
        delta, mu = losses.uniformity_scale(self.codewords)
        self.delta.copy_(delta)
        self.mu.copy_(mu)

    @torch.no_grad()
    def initialize(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> None:
        """Place the codewords by k-means on all residuals. Where fewer are distinct, the last codewords repeat."""
        centroids = kmeans(residuals, len(self), generator).centroids
        rows = torch.arange(len(self)).clamp(max=len(centroids) - 1)
        self.codewords.copy_(centroids[rows])
        self.usage.fill_(1.0)

    @torch.no_grad()
    def refit(self, residuals: Float[Tensor, "N d"]) -> None:
        """One balanced k-means step on all residuals: count how often each code is nearest, choose again by the
        balancer's distances, move every codeword to the mean of what it then stands for.

        Codewords taught by gradient alone lag behind the encoder; and the balance bends only what is trained, whereas
        the mean carries it over to the plain distances of the final assignment.
        """
        usage = self.assign(residuals).bincount(minlength=len(self)).to(self.usage.dtype)
        self.codewords.copy_(cluster_means(residuals, self._balanced(residuals, usage), self.codewords))

    @torch.no_grad()
    def revive(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> int:
        """Move every code that no residual is nearest to onto a residual, drawn in proportion to its squared error.

        Returns how many codes were dead.
        """
        codes, errors = nearest(residuals, self.codewords)
        dead = (codes.bincount(minlength=len(self)) == 0).nonzero().flatten()
        dead = dead[: int((errors > 0).sum())]
        if len(dead):
            running = errors.double().cumsum(0)
            drawn = torch.rand(len(dead), generator=generator, dtype=torch.float64).to(running.device) * running[-1]
            chosen = torch.searchsorted(running, drawn, right=True).clamp(max=len(residuals) - 1)
            self.codewords[dead] = residuals[chosen]
            self.usage[dead] = self.usage.mean()
        return len(dead)

"""One level of a residual quantiser, and its options: balancer, start, learning rule, treatment of dead codes."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn

from sidestep.losses import tokenizing
from sidestep.sids.kmeans import balanced_kmeans, blocks, cluster_means, kmeans, nearest, squared_distances
from sidestep.sids.together import summed, together

USAGE_DECAY = 0.99


@runtime_checkable
class Balancer(Protocol):
    """Changes the distances by which codes are chosen in training. The final assignment uses plain distances."""

    def __call__(self, distances: Float[Tensor, "B K"], usage: Float[Tensor, " K"]) -> Float[Tensor, "B K"]: ...


@dataclass(frozen=True)
class LoadBalance:
    """S2GR eqs 13 and 14: reduces the distance to rarely used codes and increases it to often used ones.

    dmax: the largest relative change of a distance. It must be below 1: at 1, an unused code would have distance 0 from
        every residual.
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


@runtime_checkable
class Start(Protocol):
    """Initial codewords of a table: at most `size` rows, computed from all residuals or drawn at random."""

    def __call__(
        self, residuals: Float[Tensor, "N d"], size: int, generator: torch.Generator
    ) -> Float[Tensor, "K d"]: ...


def kmeans_start(residuals: Float[Tensor, "N d"], size: int, generator: torch.Generator) -> Float[Tensor, "K d"]:
    """The centroids of k-means: RQ-KMeans, and the start of GR2 (arXiv 2602.07774, stage 1a)."""
    return kmeans(residuals, size, generator).centroids


def balanced_start(residuals: Float[Tensor, "N d"], size: int, generator: torch.Generator) -> Float[Tensor, "K d"]:
    """The centroids of k-means with clusters of equal size. The final assignment, by plain distance, is less even."""
    return balanced_kmeans(residuals, size, generator).centroids


def random_start(residuals: Float[Tensor, "N d"], size: int, generator: torch.Generator) -> Float[Tensor, "K d"]:
    """Uniform in [-1/K, 1/K], independent of the residuals: the start of van den Oord et al.'s code and its successors.
    Most codes are then never chosen; it serves as a baseline.
    """
    drawn = torch.rand(size, residuals.shape[1], generator=generator).to(residuals)
    return (2 * drawn - 1) / size


@dataclass(frozen=True)
class MovingAverage:
    """Codewords learn as moving averages of their residuals (van den Oord et al., 2017, appendix A.1), without
    gradient: N_k <- g N_k + (1 - g) n_k, m_k <- g m_k + (1 - g) sum of the n_k residuals, e_k = m_k / N_k.

    Computed as e_k + (1 - g) (sum - n_k e_k) / N_k, which is equal and needs no m_k: a codeword that k-means, `refit`
    or `revive` has moved is not pulled back by earlier sums. Unused codewords do not move.

    decay: g, in GR2 .95 to .99. N_k is the codebook's `usage`. The batches of several processes count as one.
    """

    decay: float

    def __post_init__(self) -> None:
        assert 0 <= self.decay < 1

    def __call__(
        self,
        codewords: Float[Tensor, "K d"],
        usage: Float[Tensor, " K"],
        residuals: Float[Tensor, "B d"],
        codes: Int[Tensor, " B"],
    ) -> Float[Tensor, "K d"]:
        """The codewords after a batch. usage: N_k, this batch already counted."""
        pull = summed(torch.zeros_like(codewords).index_add_(0, codes, residuals - codewords[codes]))
        return codewords + (1 - self.decay) * pull / usage.clamp(min=torch.finfo(usage.dtype).tiny)[:, None]


@runtime_checkable
class DeadCodes(Protocol):
    """Treatment of codes that no residual chooses."""

    def after_batch(self, codebook: "Codebook", residuals: Float[Tensor, "B d"], errors: Float[Tensor, " B"]) -> None:
        """errors: squared distance of every residual of a training batch to its codeword."""
        ...

    def between_epochs(self, codebook: "Codebook", residuals: Float[Tensor, "N d"], generator: torch.Generator) -> int:
        """residuals: of all items. Returns the number of dead codes."""
        ...


@dataclass(frozen=True)
class Leave:
    """Dead codes stay dead."""

    def after_batch(self, codebook: "Codebook", residuals: Float[Tensor, "B d"], errors: Float[Tensor, " B"]) -> None:
        pass

    def between_epochs(self, codebook: "Codebook", residuals: Float[Tensor, "N d"], generator: torch.Generator) -> int:
        return int((codebook.assign(residuals).bincount(minlength=len(codebook)) == 0).sum())


@dataclass(frozen=True)
class Revive(Leave):
    """Between epochs, every code that is nearest to no residual moves onto a residual, drawn in proportion to its
    squared error.
    """

    def between_epochs(self, codebook: "Codebook", residuals: Float[Tensor, "N d"], generator: torch.Generator) -> int:
        codes, errors = nearest(residuals, codebook.codewords.detach())
        dead = (codes.bincount(minlength=len(codebook)) == 0).nonzero().flatten()
        dead = dead[: int((errors > 0).sum())]
        if len(dead):
            running = errors.double().cumsum(0)
            drawn = torch.rand(len(dead), generator=generator, dtype=torch.float64).to(running.device) * running[-1]
            codebook.move(dead, residuals[torch.searchsorted(running, drawn, right=True).clamp(max=len(residuals) - 1)])
        return len(dead)


@dataclass(frozen=True)
class Reset(Leave):
    """GR2 stage 1a: a code that was idle for `idle_batches` training batches in a row moves onto the input of the batch
    with the largest error; several idle codes take the inputs of largest error, one each. The batches of several
    processes count as one.
    """

    idle_batches: int

    def after_batch(self, codebook: "Codebook", residuals: Float[Tensor, "B d"], errors: Float[Tensor, " B"]) -> None:
        idle = (codebook.idle >= self.idle_batches).nonzero().flatten()
        if len(idle):  # the same in all processes, whose counts are one
            errors, residuals = _worst(errors, residuals, len(idle))
            worst = errors.argsort(descending=True, stable=True)
            worst = worst[errors[worst] > 0][: len(idle)]
            codebook.move(idle[: len(worst)], residuals[worst])


def _worst(
    errors: Float[Tensor, " B"], residuals: Float[Tensor, "B d"], count: int
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n d"]]:
    """The `count` inputs of largest error of every process, in all of them; of one alone, all inputs."""
    if not together():
        return errors, residuals
    kept = errors.argsort(descending=True, stable=True)[:count]
    own = torch.zeros(count, residuals.shape[1] + 1, dtype=residuals.dtype, device=residuals.device)
    own[: len(kept)] = torch.cat([errors[kept, None], residuals[kept]], dim=1)  # an error of 0 is passed over
    every = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, own)
    table = torch.cat(every)
    return table[:, 0], table[:, 1:]


class Codebook(nn.Module):
    """A table of codewords and the assignment of residuals to them (S2GR eq. 6).

    codewords: `[K, d]`, trained by gradient, or a buffer that `learning` updates.
    usage: `[K]`, recent use of each code, u_k of eq. 13: a running mean over training batches. The batches that several
        processes have in a step count as one, so that they learn what one process learns from all of them.
    idle: `[K]`, training batches since each code was last chosen.
    delta, mu: scales of the distances between codewords in eqs 11 and 12; see `rescale`.

    Args:
        balancer: changes the distances in training.
        learning: update rule of the codewords; None for gradients.
        start: initial codewords.
        dead_codes: treatment of codes that no residual chooses.
    """

    codewords: Tensor
    usage: Tensor
    idle: Tensor
    delta: Tensor
    mu: Tensor

    def __init__(
        self,
        size: int,
        width: int,
        balancer: Balancer | None = None,
        *,
        learning: MovingAverage | None = None,
        start: Start = kmeans_start,
        dead_codes: DeadCodes = Revive(),
    ) -> None:
        super().__init__()
        if learning is None:
            self.codewords = nn.Parameter(torch.zeros(size, width))
        else:
            self.register_buffer("codewords", torch.zeros(size, width))
        self.register_buffer("usage", torch.ones(size))
        # Saved only where a resumed training needs it.
        self.register_buffer("idle", torch.zeros(size, dtype=torch.int64), persistent=isinstance(dead_codes, Reset))
        self.register_buffer("delta", torch.zeros(()))
        self.register_buffer("mu", torch.ones(()))
        self.balancer, self.learning, self.start, self.dead_codes = balancer, learning, start, dead_codes

    def __len__(self) -> int:
        return len(self.codewords)

    def forward(self, residuals: Float[Tensor, "B d"]) -> tuple[Int[Tensor, " B"], Float[Tensor, "B d"]]:
        """The code and the codeword of every residual. In training, the balancer changes the distances, the usage is
        counted, and codewords that learn without gradient are updated after the look-up.
        """
        with torch.no_grad():
            codes = self._balanced(residuals, self.usage) if self.training else self.assign(residuals)
        codewords = self.codewords[codes]
        if self.training:
            self._after_batch(residuals.detach(), codes, codewords.detach())
        return codes, codewords

    def assign(self, residuals: Float[Tensor, "B d"]) -> Int[Tensor, " B"]:
        """The nearest code of every residual by plain distance. Pure."""
        return nearest(residuals, self.codewords.detach())[0]

    @torch.no_grad()
    def _after_batch(
        self, residuals: Float[Tensor, "B d"], codes: Int[Tensor, " B"], codewords: Float[Tensor, "B d"]
    ) -> None:
        counts = summed(codes.bincount(minlength=len(self)))
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        self.usage.lerp_(counts.to(self.usage.dtype), 1 - (self.learning.decay if self.learning else USAGE_DECAY))
        if self.learning is not None:
            self.codewords.copy_(self.learning(self.codewords, self.usage, residuals, codes))
        self.dead_codes.after_batch(self, residuals, (residuals - codewords).square().sum(1))

    def _balanced(self, residuals: Float[Tensor, "B d"], usage: Float[Tensor, " K"]) -> Int[Tensor, " B"]:
        """The nearest codes by the balancer's distances, or by plain distances without a balancer."""
        if self.balancer is None:
            return self.assign(residuals)
        bend = self.balancer
        tables = (squared_distances(residuals[block], self.codewords) for block in blocks(len(residuals), len(self)))
        return torch.cat([bend(table, usage).argmin(dim=1) for table in tables])

    def rescale(self) -> None:
        """Fit delta and mu to the current codewords."""
        delta, mu = tokenizing.uniformity_scale(self.codewords)
        self.delta.copy_(delta)
        self.mu.copy_(mu)

    @torch.no_grad()
    def initialize(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> None:
        """Set the codewords to those of `start`. Where it gives fewer than K, the last one repeats."""
        initial = self.start(residuals, len(self), generator)
        self.codewords.copy_(initial[torch.arange(len(self)).clamp(max=len(initial) - 1)])
        self.usage.fill_(1.0)
        self.idle.zero_()

    @torch.no_grad()
    def refit(self, residuals: Float[Tensor, "N d"]) -> None:
        """One balanced k-means step on all residuals: count how often each code is nearest, assign again by the
        balancer's distances, move every codeword to the mean of its residuals.

        Codewords trained by gradient alone lag behind the encoder, and the balancer acts in training only. Moving the
        codewords to the means carries the balance over to the plain distances of the final assignment.
        """
        usage = self.assign(residuals).bincount(minlength=len(self)).to(self.usage.dtype)
        self.codewords.copy_(cluster_means(residuals, self._balanced(residuals, usage), self.codewords))

    @torch.no_grad()
    def revive(self, residuals: Float[Tensor, "N d"], generator: torch.Generator) -> int:
        """Between epochs: apply `dead_codes` to the codes that are nearest to no residual.

        Returns the number of dead codes.
        """
        return self.dead_codes.between_epochs(self, residuals, generator)

    @torch.no_grad()
    def move(self, codes: Int[Tensor, " n"], residuals: Float[Tensor, "n d"]) -> None:
        """Set codewords to residuals and their usage to the average."""
        self.codewords[codes] = residuals
        self.usage[codes] = self.usage.mean()
        self.idle[codes] = 0

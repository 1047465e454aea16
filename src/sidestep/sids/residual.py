"""The residual loop: for each level, assign, subtract, keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.sids.codebook import Codebook
from sidestep.sids.estimators import Estimator, straight_through


@runtime_checkable
class Level(Protocol):
    """One level of a quantiser: a codebook, FSQ's bits, or a block of a product quantiser.

    codewords: `[K, d]`, the vector behind each code, which is subtracted from a residual.
    """

    if TYPE_CHECKING:  # from Python 3.12 on `isinstance` does not see the buffers of a module

        @property
        def codewords(self) -> Tensor: ...

    def __len__(self) -> int:
        """K, the number of codes."""
        ...

    def assign(self, residuals: Tensor) -> Tensor:
        """The code of every residual, `[B, d]` -> `[B]`. Pure."""
        ...

    def initialize(self, residuals: Tensor, generator: torch.Generator) -> None:
        """Fit the level to all residuals, `[N, d]`."""
        ...


@dataclass(frozen=True)
class Quantised:
    """Inputs and outputs of every level, coarse to fine.

    codes: one code per level.
    residuals: r_0 .. r_{L-1}, the input of each level.
    codewords: the codeword that each level subtracts.
    total: z_hat, the sum of the codewords, with the estimator's gradient towards the input.
    """

    codes: Int[Tensor, "B L"]
    residuals: list[Float[Tensor, "B d"]]
    codewords: list[Float[Tensor, "B d"]]
    total: Float[Tensor, "B d"]


class ResidualQuantiser(nn.Module):
    """Levels, each of which quantises the residual of the levels before it (S2GR eqs 6 and 7)."""

    def __init__(self, levels: Sequence[nn.Module], estimator: Estimator = straight_through) -> None:
        super().__init__()
        self.levels = cast(Sequence[Level], nn.ModuleList(levels))
        self.estimator = estimator

    @property
    def codebooks(self) -> Sequence[Codebook]:
        """The levels of a quantiser that is trained by gradient, all of which are codebooks."""
        books = [level for level in self.levels if isinstance(level, Codebook)]
        assert len(books) == len(self.levels)
        return books

    def forward(self, inputs: Float[Tensor, "B d"]) -> Quantised:
        """Codewords are subtracted without gradient: a level's loss moves only its own codeword and the input."""
        residual = inputs
        codes, residuals, codewords = [], [], []
        for level in self.codebooks:
            chosen, codeword = level(residual)
            codes.append(chosen)
            residuals.append(residual)
            codewords.append(codeword)
            residual = residual - codeword.detach()
        total = torch.stack(codewords).sum(0)
        return Quantised(torch.stack(codes, dim=1), residuals, codewords, self.estimator(inputs, total))

    @torch.no_grad()
    def assign(self, inputs: Float[Tensor, "B d"]) -> Int[Tensor, "B L"]:
        """Codes by plain distances. Pure: the same inputs give the same codes, and the usage is not counted."""
        residual, codes = inputs, []
        for level in self.levels:
            codes.append(level.assign(residual))
            residual = residual - level.codewords[codes[-1]]
        return torch.stack(codes, dim=1)

    @torch.no_grad()
    def initialize(self, inputs: Float[Tensor, "N d"], generator: torch.Generator) -> None:
        """Fit level by level, each on all residuals of the levels before it."""
        for level in self.levels:
            level.initialize(inputs, generator)
            inputs = inputs - level.codewords[level.assign(inputs)]

    @torch.no_grad()
    def upkeep(self, inputs: Float[Tensor, "N d"], generator: torch.Generator) -> list[int]:
        """Level by level, revive dead codes and, where the level has a balancer, refit it.

        Returns the number of dead codes at each level.
        """
        dead = []
        for level in self.codebooks:
            dead.append(level.revive(inputs, generator))
            if level.balancer is not None:
                level.refit(inputs)
            inputs = inputs - level.codewords[level.assign(inputs)]
        return dead

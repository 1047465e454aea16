"""The residual loop: for each level, assign, subtract, keep."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.sids.codebook import Codebook, Estimator, straight_through


@dataclass(frozen=True)
class Quantised:
    """What every level saw and chose, coarse to fine.

    codes: one code per level.
    residuals: r_0 .. r_{L-1}, what each level was given.
    codewords: what each level took away from it.
    total: z_hat, their sum, with the estimator's gradient towards the input.
    """

    codes: Int[Tensor, "B L"]
    residuals: list[Float[Tensor, "B d"]]
    codewords: list[Float[Tensor, "B d"]]
    total: Float[Tensor, "B d"]


class ResidualQuantiser(nn.Module):
    """Levels of codebooks, each given what the levels before it left over (S2GR eqs 6 and 7)."""

    def __init__(self, levels: Sequence[Codebook], estimator: Estimator = straight_through) -> None:
        super().__init__()
        self.levels: Sequence[Codebook] = nn.ModuleList(levels)  # type: ignore[assignment]
        self.estimator = estimator

    def forward(self, inputs: Float[Tensor, "B d"]) -> Quantised:
        """Codewords are subtracted without gradient: a level's loss moves its own codeword and the input, no other."""
        residual = inputs
        codes, residuals, codewords = [], [], []
        for level in self.levels:
            chosen, codeword = level(residual)
            codes.append(chosen)
            residuals.append(residual)
            codewords.append(codeword)
            residual = residual - codeword.detach()
        total = torch.stack(codewords).sum(0)
        return Quantised(torch.stack(codes, dim=1), residuals, codewords, self.estimator(inputs, total))

    @torch.no_grad()
    def assign(self, inputs: Float[Tensor, "B d"]) -> Int[Tensor, "B L"]:
        """Codes by plain distances. Pure: the same inputs give the same codes, and nothing is counted."""
        residual, codes = inputs, []
        for level in self.levels:
            codes.append(level.assign(residual))
            residual = residual - level.codewords[codes[-1]]
        return torch.stack(codes, dim=1)

    @torch.no_grad()
    def initialize(self, inputs: Float[Tensor, "N d"], generator: torch.Generator) -> None:
        """K-means on the full residual set, level by level."""
        for level in self.levels:
            level.initialize(inputs, generator)
            inputs = inputs - level.codewords[level.assign(inputs)]

    @torch.no_grad()
    def upkeep(self, inputs: Float[Tensor, "N d"], generator: torch.Generator) -> list[int]:
        """Level by level, put dead codes back to work and, where the level is balanced, refit it.

        Returns how many codes were dead at each level.
        """
        dead = []
        for level in self.levels:
            dead.append(level.revive(inputs, generator))
            if level.balancer is not None:
                level.refit(inputs)
            inputs = inputs - level.codewords[level.assign(inputs)]
        return dead

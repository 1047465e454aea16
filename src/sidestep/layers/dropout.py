"""Dropout with random numbers that are cheap on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_STEPS = 2**16


class Dropout(nn.Module):
    """`nn.Dropout` with 16 random bits per element, so that four elements share one draw of the global generator. On a
    CPU, PyTorch's own draws take a fifth of a training step.

    The probability is rounded to the nearest 1/65,536. The kept elements are divided by the kept share, in x's
    precision.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        return x * _kept(x, min(round(self.p * _STEPS), _STEPS - 1))


def _kept(x: Tensor, dropped: int) -> Tensor:
    """0 for `dropped` of 65,536 elements, the inverse of the kept share for the others; shaped as x."""
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    return (bits >= dropped - _STEPS // 2).to(x.dtype).mul_(_STEPS / (_STEPS - dropped))

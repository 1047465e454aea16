"""How the gradient passes a quantiser, whose choice of a codeword has none."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@runtime_checkable
class Estimator(Protocol):
    """How the gradient passes the quantiser: its value is `quantised`, its gradient reaches `inputs`."""

    def __call__(self, inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]: ...


def straight_through(inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    """The quantised value with the gradient of the identity (Bengio et al., 2013; van den Oord et al., 2017)."""
    return inputs + (quantised - inputs).detach()


def rotation(inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    """The rotation trick (Fifty et al., 2024, arXiv 2410.06424, sec. 4.2): q = lambda R e with lambda and R held fixed.

    R turns the input e into the direction of q, lambda = |q| / |e| stretches it, and the gradient is turned back with
    them: it has to the input the angle that it had to the codeword. As two Householder reflections,
    R = I - 2 r r^T + 2 q' e'^T, where e' = e / |e|, q' = q / |q| and r = (e' + q') / |e' + q'|, so no matrix is made.
    Where e or q is zero there is nothing to turn, and the gradient is that of the identity.
    """
    with torch.no_grad():
        turnable = (inputs.norm(dim=1) > 0) & (quantised.norm(dim=1) > 0)
        scale = quantised.norm(dim=1, keepdim=True) / inputs.norm(dim=1, keepdim=True)
        start, end = F.normalize(inputs, dim=1), F.normalize(quantised, dim=1)
        middle = F.normalize(start + end, dim=1)
    turned = inputs - 2 * _dot(inputs, middle) * middle + 2 * _dot(inputs, start) * end
    turned = torch.where(turnable[:, None], scale.nan_to_num(0.0, 0.0) * turned, inputs)
    return turned + (quantised - turned).detach()  # takes away what rounding left


def _dot(left: Float[Tensor, "B d"], right: Float[Tensor, "B d"]) -> Float[Tensor, "B 1"]:
    return (left * right).sum(dim=1, keepdim=True)

"""Gradient estimators of a quantiser, whose choice of a codeword has no gradient."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@runtime_checkable
class Estimator(Protocol):
    """A tensor with the value of `quantised` and a gradient towards `inputs`."""

    def __call__(self, inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]: ...


def straight_through(inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    """The quantised value with the gradient of the identity (Bengio et al., 2013; van den Oord et al., 2017)."""
    return inputs + (quantised - inputs).detach()


def rotation(inputs: Float[Tensor, "B d"], quantised: Float[Tensor, "B d"]) -> Float[Tensor, "B d"]:
    """The rotation trick (Fifty et al., 2024, arXiv 2410.06424, sec. 4.2): q = lambda R e with lambda and R held fixed.

    R turns the input e into the direction of q, lambda = |q| / |e| scales it, and the gradient is turned back with
    them: its angle to the input equals its angle to the codeword. As two Householder reflections,
    R = I - 2 r r^T + 2 q' e'^T, where e' = e / |e|, q' = q / |q| and r = (e' + q') / |e' + q'|, so no matrix is built.
    Where e or q is zero, the gradient is that of the identity.
    """
    with torch.no_grad():
        turnable = (inputs.norm(dim=1) > 0) & (quantised.norm(dim=1) > 0)
        scale = quantised.norm(dim=1, keepdim=True) / inputs.norm(dim=1, keepdim=True)
        start, end = F.normalize(inputs, dim=1), F.normalize(quantised, dim=1)
        middle = F.normalize(start + end, dim=1)
    turned = inputs - 2 * _dot(inputs, middle) * middle + 2 * _dot(inputs, start) * end
    turned = torch.where(turnable[:, None], scale.nan_to_num(0.0, 0.0) * turned, inputs)
    return turned + (quantised - turned).detach()  # removes the rounding error


def _dot(left: Float[Tensor, "B d"], right: Float[Tensor, "B d"]) -> Float[Tensor, "B 1"]:
    return (left * right).sum(dim=1, keepdim=True)

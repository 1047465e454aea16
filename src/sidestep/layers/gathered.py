"""Products of many rows with one matrix, made in several passes, whose gradient with respect to the matrix is one
product in the end.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Pending = list[tuple[Tensor, Tensor]]
"""For every pass that went back already, the factors `[..., Q, M]` and `[..., Q, d]` of its gradient `[..., M, d]`."""


def gathered(matrix: Float[Tensor, "*heads M d"]) -> tuple[Float[Tensor, "*heads M d"], Pending]:
    """The matrix as `product` takes it, and where the passes leave their factors."""
    pending: Pending = []
    shared: Tensor = Gathered.apply(matrix, pending)  # type: ignore[no-untyped-call]
    return shared, pending


def product(
    rows: Float[Tensor, "*heads Q x"], matrix: Float[Tensor, "*heads M d"], pending: Pending, transposed: bool
) -> Float[Tensor, "*heads Q y"]:
    """`rows @ matrix`, or `rows @ matrix^T`, with a matrix of `gathered`."""
    return GatheredProduct.apply(rows.to(matrix.dtype), matrix, pending, transposed)  # type: ignore[no-untyped-call]


class Gathered(torch.autograd.Function):
    """The identity. Its backward pass runs once those of all products are done: they return no gradient of the matrix,
    as large as a whole history for every few rows, but leave its two factors.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, pending: Pending) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.pending = pending
        return matrix.view_as(matrix)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        if not ctx.pending:
            return grads[0], None
        left, right = (torch.cat(factors, dim=-2) for factors in zip(*ctx.pending, strict=True))
        ctx.pending.clear()  # so that a second pass through a kept graph begins anew
        total = left.transpose(-1, -2) @ right
        return total if grads[0] is None else total + grads[0], None


class GatheredProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor, pending: Pending, transposed: bool) -> Tensor:
        ctx.save_for_backward(rows, matrix)
        ctx.pending, ctx.transposed = pending, transposed
        return rows @ (matrix.transpose(-1, -2) if transposed else matrix)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        rows, matrix = ctx.saved_tensors
        ctx.pending.append((grads[0], rows) if ctx.transposed else (rows, grads[0]))
        return grads[0] @ (matrix if ctx.transposed else matrix.transpose(-1, -2)), None, None, None

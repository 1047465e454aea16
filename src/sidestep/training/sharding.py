"""Weights, gradients and optimiser states in shards, one for each process: FSDP2, `torch.distributed.fsdp`.

Accelerate 1.15 would do this on GPUs only: its state takes an FSDP plugin for `MULTI_GPU` and its like, and for
processes on CPUs passes over it and wraps the model with DDP. So PyTorch is called here, on either.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class Sharded:
    """A model whose parameters are divided among the processes between steps.

    module: what is trained; a forward gathers its parameters, and a backward leaves each process the mean gradient of
        its own shard. whole: the model as it was given, for validation and for what follows training; it holds its
        parameters only inside `gathered` and after `end`.

    Memory of each of n processes, for P parameters in float32 and AdamW: 16 P / n bytes, and in a step 8 P more.
    """

    def __init__(self, model: nn.Module, device: torch.device, size: int) -> None:
        self.whole, self.module = model, copy.deepcopy(model)
        fully_shard(self.module, mesh=init_device_mesh(device.type, (size,)))
        self._release()

    def state(self) -> dict[str, Tensor]:
        """The state of the whole model. All processes must call it."""
        return {name: full(value) for name, value in self.module.state_dict().items()}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """`whole` holds the trained weights. All processes must enter it."""
        self._gather()
        try:
            yield
        finally:
            self._release()

    def end(self) -> None:
        """`whole` holds the trained weights from now on."""
        self._gather()

    @torch.no_grad()
    def _gather(self) -> None:
        trained = self.module.state_dict()
        for name, parameter in self.whole.named_parameters(remove_duplicate=False):
            parameter.data = full(trained[name])
        for name, buffer in self.whole.named_buffers():
            if name in trained:
                buffer.copy_(trained[name])

    def _release(self) -> None:
        for value in self.whole.parameters():
            value.data = value.data.new_empty(0)


def full(value: Tensor) -> Tensor:
    """A tensor as one process would hold it; collective where it is in shards."""
    whole: Tensor = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.detach()


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """The state of every parameter by its number, as one process would hold it; collective where it is in shards."""
    states: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {number: {name: full(value) for name, value in state.items()} for number, state in states.items()}


def divided_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in the shards of another one of its shape; itself, where the other is in none."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)

"""The processes that train one model together. The loop and the stages read the ranks here; only this file depends
on Accelerate and on torchrun's environment.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, reduce, wait_for_everyone
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(days=7)
"""How long processes wait for one of them. What runs before a training may take hours; a dead process is noticed at
once, since its connection closes.
"""
LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets in the environment of its processes."""


def keep_to_each(model: nn.Module, tables: Sequence[str] = ()) -> None:
    """Let DDP leave to each process the parameters in `tables`, of which it has rows of its own, and the catalogue's
    constants, alike everywhere: buffers that are not saved, as long as the catalogue, and those of 16-bit integers,
    which gloo cannot send.
    """
    saved = model.state_dict(keep_vars=True)
    names = [name for name, buffer in model.named_buffers() if buffer.dtype == torch.int16 or name not in saved]
    names += [*tables, *(f".{name}" for name in tables)]  # DDP calls the model's own parameters by both
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Processes:
    """rank: number of this process, from 0. size: number of processes. device: for tensors of collective operations."""

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"

    @classmethod
    def launched(cls) -> "Processes":
        """The processes that torchrun or `accelerate launch` started; otherwise a single process. This does not join a
        group, so it works before any training, but `mean` and `wait` need `joined`.
        """
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @classmethod
    def joined(cls, accelerator: Accelerator) -> "Processes":
        """The group that an accelerator has joined."""
        return cls(accelerator.process_index, accelerator.num_processes, accelerator.device)

    @property
    def is_first(self) -> bool:
        """Whether this process writes the common files."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of a number over all processes. All of them must call it."""
        if self.size == 1:
            return value
        return float(reduce(torch.tensor(value, dtype=torch.float64, device=self.device), "mean"))

    def of_first(self, value: bool) -> bool:
        """The first process's value. All of them must call it."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.uint8, device=self.device)
        distributed.broadcast(told, src=0)
        return bool(told)

    def wait(self) -> None:
        """Return once all processes have called it."""
        if self.size > 1:
            wait_for_everyone()

    def first_alone(self, work: Callable[[], str]) -> str:
        """What `work` returns in the first process, in all of them, once it has returned there. It joins the group."""
        PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        outcome = [work() if self.is_first else ""]
        broadcast_object_list(outcome)
        return outcome[0]

"""The processes that train one model together. The loop and the stages read the ranks here; only this file depends
on Accelerate and on torchrun's environment.
"""

import os
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import reduce, wait_for_everyone


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

    def wait(self) -> None:
        """Return once all processes have called it."""
        if self.size > 1:
            wait_for_everyone()

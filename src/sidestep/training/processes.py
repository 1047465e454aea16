"""The processes that train one model together, as one of them sees them. The loop and the stages ask this object for
ranks; only this file knows that Accelerate, and torchrun's environment below it, answer.
"""

import os
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import reduce, wait_for_everyone


@dataclass(frozen=True)
class Processes:
    """rank: number of this process, from 0. size: how many there are. device: where their tensors meet."""

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"

    @classmethod
    def launched(cls) -> "Processes":
        """As torchrun and `accelerate launch` started them; one process where neither did. No group is joined yet, so
        this is known before any training, but `mean` and `wait` need `joined`.
        """
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @classmethod
    def joined(cls, accelerator: Accelerator) -> "Processes":
        """The group that an accelerator has joined."""
        return cls(accelerator.process_index, accelerator.num_processes, accelerator.device)

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all of them hold."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of a number over all processes, the same in each of them. All must call it."""
        if self.size == 1:
            return value
        return float(reduce(torch.tensor(value, dtype=torch.float64, device=self.device), "mean"))

    def wait(self) -> None:
        """Return once all processes have come here."""
        if self.size > 1:
            wait_for_everyone()

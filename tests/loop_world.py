"""A small model, data and objective for the training loop."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sidestep.training.loop import Hooks, Result, fit
from sidestep.training.optim import TrainConfig


@dataclass
class Rows:
    """A batch of numbers that knows how to move."""

    x: Tensor

    def to(self, device: torch.device) -> "Rows":
        return Rows(self.x.to(device))


class Data:
    """Forty rows in batches of five, in an order that follows from the epoch; may pull the plug at a given load."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
        self.loads, self.fail_at = 0, fail_at

    def batches(self, epoch: int) -> list[Tensor]:
        return list(torch.randperm(40, generator=torch.Generator().manual_seed(epoch)).split(5))

    def load(self, index: Tensor) -> Rows:
        self.loads += 1
        if self.loads == self.fail_at:
            raise KeyboardInterrupt
        return Rows(self.rows[index])


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 1))


def objective(model: nn.Module, batch: Rows) -> dict[str, Tensor]:
    total = ((model(batch.x)[:, 0] - batch.x.sum(1)) ** 2).mean()
    return {"squared": total.detach(), "total": total}


CONFIG = TrainConfig(epochs=5, batch_size=5, lr=1e-2, warmup_steps=3, checkpoint_seconds=0.0, patience=0)


def run(net: nn.Module, folder: Path | None, data: Data | None = None, config: TrainConfig = CONFIG) -> Result:
    return fit(
        net, objective, data or Data(), config, seed=7, folder=folder, hooks=Hooks(score=lambda: careless_score(net))
    )


def careless_score(net: nn.Module) -> float:
    torch.rand(3)  # a careless validation that draws from the global random state
    return float(next(net.parameters()).abs().sum())

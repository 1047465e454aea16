"""The objective of a generator and a scorer that are trained together."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sidestep.data.sequences import SequenceBatch
from sidestep.generators.fused import FusedPrediction
from sidestep.objectives.scoring import item_loss
from sidestep.scorers.sequential import BaselineConfig


def fused(
    model: nn.Module, batch: SequenceBatch, codes: Callable[..., dict[str, Tensor]], baseline: BaselineConfig
) -> dict[str, Tensor]:
    """The generator's own total, and the scorer's loss. codes: the generator's objective."""
    prediction: FusedPrediction = model(batch)
    generated = codes(lambda _: prediction.codes, batch)
    items = torch.stack([item_loss(tower, baseline) for tower in prediction.items]).sum()
    return {**generated, "items": items.detach(), "total": generated["total"] + items}

"""Weights that a stage has learnt, as an artifact."""

from typing import Any

from torch import nn

from sidestep import artifact
from sidestep.pipeline.run import Run
from sidestep.training.processes import Processes


def save_weights(run: Run, name: str, model: nn.Module, settings: dict[str, Any], parents: dict[str, str]) -> None:
    """Write them; of several processes of one training, the first alone does."""
    if not Processes.launched().is_first:  # all processes hold the same weights
        return
    tensors = {key: value.detach().cpu().numpy() for key, value in model.state_dict().items()}
    artifact.save(run.path(name), "weights", tensors=tensors, config=settings, parents=parents)

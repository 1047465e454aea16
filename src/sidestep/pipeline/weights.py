"""Weights that a stage has learnt, as an artifact."""

from typing import Any

from torch import nn

from sidestep import artifact
from sidestep.pipeline.run import Run
from sidestep.training.item_tables import ItemTables, array
from sidestep.training.processes import Processes


def save_weights(run: Run, name: str, model: nn.Module, settings: dict[str, Any], parents: dict[str, str]) -> None:
    """Write them, whole; of several processes of one training, the first alone does, and the others send it their rows
    of tables of items.
    """
    tables, tensors = ItemTables.of_several(model), model.state_dict()
    if tables is not None:
        arrays = tables.saved(tensors, tables.names)
    else:
        arrays = {name: array(value) for name, value in tensors.items()}
    if Processes.launched().is_first:
        artifact.save(run.path(name), "weights", tensors=arrays, config=settings, parents=parents)

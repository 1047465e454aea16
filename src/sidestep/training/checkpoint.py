"""The state from which a run resumes with identical results, as safetensors: no pickle is written or read.

The random state is not part of it, because the loop seeds every step from (seed, step, rank).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sidestep import artifact
from sidestep.errors import ArtifactError
from sidestep.training.averaging import Average
from sidestep.training.item_tables import ItemTables
from sidestep.training.optim import prolongs
from sidestep.training.sharding import divided_like


@dataclass
class Progress:
    """The position of a run. `step` counts optimiser steps over all epochs, `batch` the steps of this epoch."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int = -1
    worse: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Restored:
    """best: weights of the best validation. totals: loss sums of the current epoch. world: processes that saved it."""

    progress: Progress
    best: dict[str, Tensor] | None
    totals: dict[str, float]
    world: int

    def among(self, world: int, steps_per_epoch: int) -> "Restored":
        """The same place in the data for another number of processes, which take other batches of an epoch at once: the
        batches that were done are the first ones of its order. Where they are no whole number of steps, up to
        `world - 1` batches are done again.

        steps_per_epoch: of the new number.
        """
        if world == self.world:
            return self
        old = self.progress
        batch = old.batch * self.world // world
        share = batch / old.batch if old.batch else 0.0
        progress = replace(old, batch=batch, step=old.epoch * steps_per_epoch + batch)
        return Restored(progress, self.best, {name: total * share for name, total in self.totals.items()}, world)


def named(
    model: Mapping[str, Tensor],
    optimizer: Mapping[int, Mapping[str, Tensor]],
    best: Mapping[str, Tensor] | None,
    average: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names in it. model, optimizer: their states."""
    tensors = {f"model/{name}": value for name, value in model.items()}
    tensors |= {f"best/{name}": value for name, value in (best or {}).items()}
    tensors |= {f"average/{name}": value for name, value in (average or {}).items()}
    for number, state in optimizer.items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    return tensors


def of_tables(names: Iterable[str], tables: ItemTables, optimizer: torch.optim.Optimizer) -> list[str]:
    """Those of the names in a checkpoint whose tensors have a row for every item, as the tables have."""
    numbers = tables.numbers(optimizer)
    parts = {f"{kind}/{name}" for kind in ("model", "best", "average") for name in tables.names}
    states = {f"optimizer/{number}" for number in numbers}
    own = [name.rpartition("/") for name in names]
    return ["".join(name) for name in own if "".join(name) in parts or (name[0] in states and name[2] != "step")]


def save(
    folder: Path, tensors: artifact.Tensors, progress: Progress, totals: dict[str, float], run: dict[str, object]
) -> None:
    """Write a checkpoint. tensors: those of `named`, whole. totals: loss sums of the current epoch. run: identifies the
    run.
    """
    meta = {"progress": asdict(progress), "totals": totals}
    artifact.save(folder, "checkpoint", tensors=tensors, meta=meta, config=run)


def restore(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: dict[str, object],
    average: Average | None = None,
    tables: ItemTables | None = None,
) -> Restored:
    """Load a checkpoint into the model, the optimiser and the moving average of the weights, where there is one. It may
    be of a shorter training that this one prolongs, and of another number of processes, whose `Restored.among` goes on.
    Of `tables`, only this process's rows are read into memory.

    Raises:
        ArtifactError: the checkpoint belongs to a run with other settings, or was modified.
    """
    saved = artifact.load(folder, "checkpoint", mapped=tables is not None)
    old = {**saved.manifest.config, "world": run["world"]}
    if old != run and not prolongs(old, run):
        changed = sorted(key for key in run if old.get(key) != run[key])
        raise ArtifactError(
            f"The checkpoint in {str(folder)!r} belongs to a run with other settings ({', '.join(changed)}); "
            "use the same settings, choose another run folder, or start over with --force"
        )
    tensors = {name: torch.from_numpy(value) for name, value in saved.tensors.items()}
    if tables is not None:
        tensors |= {name: tables.own(tensors[name]) for name in of_tables(tensors, tables, optimizer)}
        tensors = {name: value.clone() for name, value in tensors.items()}  # out of the mapped file
    own = model.state_dict()
    weights = _below("model/", tensors)
    model.load_state_dict({name: divided_like(value, own.get(name, value)) for name, value in weights.items()})
    content = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    content["state"] = {}
    for name, value in _below("optimizer/", tensors).items():
        number, _, key = name.partition("/")
        state = content["state"].setdefault(int(number), {})
        state[key] = value.reshape(()) if key == "step" else divided_like(value, parameters[int(number)])
    optimizer.load_state_dict(content)
    if average is not None:
        average.load(_below("average/", tensors))
    best = _below("best/", tensors)
    world = int(saved.manifest.config["world"])
    meta = saved.manifest.meta
    return Restored(Progress(**meta["progress"]), best or None, dict(meta["totals"]), world)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

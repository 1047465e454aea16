"""The state from which a run resumes with identical results, as safetensors: no pickle is written or read.

The random state is not part of it, because the loop seeds every step from (seed, step, rank).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sidestep import artifact
from sidestep.errors import ArtifactError
from sidestep.training.averaging import Average
from sidestep.training.optim import prolongs


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


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    best: dict[str, Tensor] | None,
    totals: dict[str, float],
    run: dict[str, object],
    average: dict[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint. `totals` are the loss sums of the current epoch, `run` identifies the run."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in (best or {}).items()}
    tensors |= {f"average/{name}": value for name, value in (average or {}).items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
    meta = {"progress": asdict(progress), "totals": totals}
    artifact.save(folder, "checkpoint", tensors=arrays, meta=meta, config=run)


def restore(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: dict[str, object],
    average: Average | None = None,
) -> tuple[Progress, dict[str, Tensor] | None, dict[str, float]]:
    """Load a checkpoint into the model, the optimiser and the moving average of the weights, where there is one. It may
    be of a shorter training that this one prolongs.

    Raises:
        ArtifactError: the checkpoint belongs to a run with other settings, or was modified.
    """
    saved = artifact.load(folder, "checkpoint")
    if saved.manifest.config != run and not prolongs(saved.manifest.config, run):
        changed = sorted(key for key in run if saved.manifest.config.get(key) != run[key])
        raise ArtifactError(
            f"The checkpoint in {str(folder)!r} belongs to a run with other settings ({', '.join(changed)}); "
            "use the same settings, choose another run folder, or start over with --force"
        )
    tensors = {name: torch.from_numpy(value) for name, value in saved.tensors.items()}
    model.load_state_dict(_below("model/", tensors))
    content = optimizer.state_dict()
    content["state"] = {}
    for name, value in _below("optimizer/", tensors).items():
        number, _, key = name.partition("/")
        content["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(content)
    if average is not None:
        average.load(_below("average/", tensors))
    best = _below("best/", tensors)
    return Progress(**saved.manifest.meta["progress"]), best or None, dict(saved.manifest.meta["totals"])


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

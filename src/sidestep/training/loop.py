"""The training loop, for every model: next batch, objective, backward, clip, step, log. It knows nothing of
recommendation, and asks `Processes` which of several it is.

A run that is stopped and started again ends bit for bit where an uninterrupted one ends: the order of batches is a
pure function of (seed, epoch), dropout is seeded from (seed, step, rank), the rate is a function of the step, and the
rest is in the checkpoint.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.profiler import record_function

from sidestep import artifact
from sidestep.errors import MissingExtraError, TrainingError
from sidestep.layers.products import fast_products
from sidestep.progress import Meter, meter
from sidestep.training import checkpoint
from sidestep.training.averaging import Average
from sidestep.training.item_tables import ItemTables, array
from sidestep.training.log import JsonLog
from sidestep.training.optim import TrainConfig, learning_rate, optimizer
from sidestep.training.processes import Processes, keep_to_each
from sidestep.training.sharding import Sharded, optimizer_state

CHECKPOINT = "checkpoint"
Objective = Callable[[nn.Module, Any], dict[str, Tensor]]


@runtime_checkable
class Batches(Protocol):
    """Training data: the order of an epoch, and the batch behind each entry of it."""

    def batches(self, epoch: int) -> Sequence[Any]: ...
    def load(self, index: Any) -> Any: ...


@dataclass(frozen=True)
class Hooks:
    """What a stage wants to do between epochs.

    score: the validation score, higher is better; decides which weights are kept and when to stop.
    before_epoch: called with the epoch number, also when a run resumes at that epoch's start.
    after_epoch: called with the epoch's row of the log.
    """

    score: Callable[[], float] | None = None
    before_epoch: Callable[[int], None] | None = None
    after_epoch: Callable[[dict[str, Any]], None] | None = None


@dataclass
class Result:
    """steps: optimiser steps taken. best_score, best_epoch: of the weights the model now holds (None, -1 unscored)."""

    steps: int
    best_score: float | None
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: nn.Module,
    objective: Objective,
    data: Batches,
    config: TrainConfig,
    *,
    seed: int,
    folder: Path | None = None,
    hooks: Hooks | None = None,
    title: str = "train",
) -> Result:
    """Train `model` in place. It ends with the weights of the best validation, or the last ones without validation.

    folder: where checkpoints and `log.jsonl` live; a run that finds a checkpoint there goes on from it.
    """
    run = Training(model, objective, data, config, seed, folder, hooks)
    with meter(title, run.total_steps) as shown:
        while not run.progress.finished:
            run.epoch(shown)
    run.close()
    return Result(run.progress.step, run.progress.best_score, run.progress.best_epoch, run.log.rows)


class Training:
    """A run under way: `fit` in pieces, for callers that want single steps."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: Batches,
        config: TrainConfig,
        seed: int,
        folder: Path | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self.objective, self.data, self.config, self.seed, self.hooks = objective, data, config, seed, hooks or Hooks()
        _require_trackers(config.log_with)
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),  # Apple's mps lacks the double precision that k-means sums in
            log_with=list(config.log_with) or None,
            project_dir=folder,
            # a model may own parameters that no loss of a step reaches, when a term of the objective is switched off
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.processes = Processes.joined(self.accelerator)
        if config.log_with:
            self.accelerator.init_trackers("sidestep")
        self.shards: Sharded | None = None
        self.tables = ItemTables.of_several(model)
        self._until_closed = self.tables.begin() if self.tables is not None else ExitStack()
        if config.sharded and self.processes.size > 1:
            self.shards = Sharded(model.to(self.accelerator.device), self.accelerator.device, self.processes.size)
            self.bare, self.model = model, self.shards.module
            self.optimizer = self.accelerator.prepare(optimizer(self.model, config))
        else:
            keep_to_each(model, self.tables.names if self.tables is not None else ())
            self.model, self.optimizer = self.accelerator.prepare(model, optimizer(model, config))
            self.bare = self.accelerator.unwrap_model(self.model)
        self.average = Average(self.bare, config.ema) if config.ema else None
        self.folder = folder / CHECKPOINT if folder is not None else None
        writes = folder is not None and self.processes.is_first
        self.log = JsonLog(folder if writes else None)
        self.progress, self.best, self.totals = checkpoint.Progress(), None, dict[str, float]()
        self.identity: dict[str, object] = {"seed": seed, "world": self.processes.size}
        self.identity |= config.identity()
        self.steps_per_epoch = len(self.order(0))
        if self.folder is not None and artifact.exists(self.folder):
            trained = (self.bare if self.shards is None else self.model, self.optimizer.optimizer)
            restored = checkpoint.restore(self.folder, *trained, self.identity, self.average, self.tables)
            self.log.rewind(restored.progress.step)
            restored = restored.among(self.processes.size, self.steps_per_epoch)
            self.progress, self.best, self.totals = restored.progress, restored.best, restored.totals
            self.progress.finished = self.progress.epoch >= config.epochs or self._without_patience()  # or is prolonged
        else:
            self.log.rewind(0)
        self.total_steps = self.steps_per_epoch * config.epochs
        self.saved_at = time.monotonic()

    def order(self, epoch: int) -> Sequence[Any]:
        """This process's batches, one for each step; all processes take the same number of steps."""
        order, world = self.data.batches(epoch), self.processes.size
        steps = -(-len(order) // world)
        return [order[(step * world + self.processes.rank) % len(order)] for step in range(steps)]

    def epoch(self, shown: Meter) -> None:
        progress, begun = self.progress, time.monotonic()
        order = self.order(progress.epoch)
        if self.hooks.before_epoch is not None and progress.batch == 0:
            self.hooks.before_epoch(progress.epoch)
        self.model.train()
        while progress.batch < len(order):
            losses = self.step(order[progress.batch])
            progress.batch += 1
            progress.step += 1
            for name, value in losses.items():
                self.totals[name] = self.totals.get(name, 0.0) + value
            if not math.isfinite(self.totals["total"]):
                raise TrainingError(
                    f"The loss became {losses['total']} in step {progress.step}; it must be finite. Lower "
                    f"the learning rate (now {self.config.lr:g}), or clip the gradient (now at {self.config.clip:g})"
                )
            note = f"epoch {progress.epoch + 1}, loss {self.totals['total'] / progress.batch:.4f}"
            shown.update(progress.epoch * self.steps_per_epoch + progress.batch, note + self._best_note())
            if self._due(self.config.checkpoint_seconds) and progress.batch < len(order):
                self._save()
        row: dict[str, Any] = {"step": progress.step, "epoch": progress.epoch}
        row |= {name: self.processes.mean(total) / len(order) for name, total in self.totals.items()}
        row["seconds"] = round(time.monotonic() - begun, 3)
        self._validate(row)
        progress.epoch, progress.batch, self.totals = progress.epoch + 1, 0, {}
        progress.finished |= progress.epoch == self.config.epochs
        self.log.write(row)
        self.accelerator.log({name: value for name, value in row.items() if value is not None}, step=progress.step)
        if self.hooks.after_epoch is not None:
            self.hooks.after_epoch(row)
        if self._due(self.config.checkpoint_seconds / 4) or progress.finished:
            self._save()

    def _best_note(self) -> str:
        best = self.progress.best_score
        return "" if best is None else f", best score {best:.4f}"

    def step(self, index: Any) -> dict[str, float]:
        """One step of the optimiser on the batch behind an entry of the order; its parts carry `profile`'s names."""
        progress, device = self.progress, self.accelerator.device
        with record_function("data"):
            batch = self.data.load(index).to(device)
        torch.manual_seed((self.seed << 40) + progress.step * self.processes.size + self.processes.rank)
        rate = learning_rate(self.config, progress.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        with fast_products():
            with (
                record_function("forward"),
                torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bf16"),
            ):
                losses = self.objective(self.model, batch)
            with record_function("backward"):
                self.accelerator.backward(losses["total"])
        if self.config.clip:
            with record_function("clip"):
                clip = self.accelerator.clip_grad_norm_ if self.tables is None else self.tables.clip
                clip(self.model.parameters(), self.config.clip)
        with record_function("optimiser"):
            self.optimizer.step()
            if self.average is not None:
                self.average.update(progress.step)
        values = torch.stack([value.detach() for value in losses.values()]).tolist()  # one wait for the device
        return dict(zip(losses, values, strict=True))

    def _validate(self, row: dict[str, Any]) -> None:
        progress, last = self.progress, self.progress.epoch + 1 == self.config.epochs
        if self.hooks.score is None or ((progress.epoch + 1) % self.config.validate_every and not last):
            return
        with self.average.applied() if self.average is not None else nullcontext():
            score = row["score"] = self.processes.mean(self.score(self.hooks.score))  # one for all: all stop together
        if progress.best_score is None or score > progress.best_score:
            progress.best_score, progress.best_epoch, progress.worse = score, progress.epoch, 0
            self.best = {name: value.detach().clone() for name, value in self._kept().items()}  # collective in shards
        else:
            progress.worse += 1
            progress.finished = self._without_patience()

    def _without_patience(self) -> bool:
        return 0 < self.config.patience <= self.progress.worse

    def _kept(self) -> dict[str, Tensor]:
        """The weights that are validated and kept, whole."""
        if self.average is not None:
            return self.average.tensors
        return self.bare.state_dict() if self.shards is None else self.shards.state()

    def score(self, ask: Callable[[], float]) -> float:
        self.bare.eval()
        with torch.no_grad(), fast_products(), nullcontext() if self.shards is None else self.shards.gathered():
            return ask()

    @property
    def _save_together(self) -> bool:
        """Whether the first process, which writes a checkpoint, needs the others' shares of it."""
        return self.shards is not None or self.tables is not None

    def _due(self, seconds: float) -> bool:
        """Whether the last checkpoint is that old; where all processes save together, by the first one's clock."""
        due = time.monotonic() - self.saved_at > seconds
        return self.processes.of_first(due) if self._save_together else due

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        if self.folder is None or not (self.processes.is_first or self._save_together):
            return
        optimizer, average = self.optimizer.optimizer, self.average.tensors if self.average is not None else None
        weights = self.bare.state_dict() if self.shards is None else self.shards.state()
        tensors = checkpoint.named(weights, optimizer_state(optimizer), self.best, average)  # collective in shards
        arrays: artifact.Tensors
        if self.tables is not None:
            arrays = self.tables.saved(tensors, checkpoint.of_tables(tensors, self.tables, optimizer))
        else:
            arrays = {name: array(value) for name, value in tensors.items()}
        if self.processes.is_first:
            checkpoint.save(self.folder, arrays, self.progress, self.totals, self.identity)

    def close(self) -> None:
        self._until_closed.close()
        if self.shards is not None:
            self.shards.end()
        if self.best is not None or self.average is not None:
            self.bare.load_state_dict(self.best or self._kept())
        self.bare.eval()
        if self.config.log_with:
            self.accelerator.end_training()


def _require_trackers(names: Sequence[str]) -> None:
    """Accelerate passes over a tracker that is not installed without a word."""
    for name in names:
        if find_spec(name) is None:
            raise MissingExtraError(
                f'train.log_with names {name!r}, which is not installed; pip install "sidestep[{name}]", or leave it '
                "out: log.jsonl is written in any case"
            )

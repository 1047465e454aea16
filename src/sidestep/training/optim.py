"""The optimisers, and the learning rate as a pure function of the step."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from sidestep.config import HomePath, Section
from sidestep.errors import ConfigError


class TrainConfig(Section):
    """Settings of a training, independent of the model.

    epochs: maximum number of passes. A finished run goes on with more of them where `schedule` is constant or
        inverse-sqrt, whose rates do not depend on their number.
    batch_size: targets (for a tokenizer: vectors) per step.
    optimizer: "adamw"; or "muon" for the matrices of linear layers, with AdamW for the embeddings and all other
        parameters. Both use `lr`.
    ema: decay of the moving average of the weights per step, 0 for no average. The decay of step n is at most
        (1 + n) / (10 + n), so that the average follows the weights more closely at first. The average is validated and
        saved.
    lr: peak learning rate. warmup_steps: steps in which it rises to the peak. schedule: how it falls afterwards.
        final_lr: share of the peak that it falls to.
    weight_decay: of the optimizer, as AdamW has it.
    clip: maximum norm of the gradient; 0 switches clipping off.
    precision: fp32, or bf16 autocast on hardware that is faster with it.
    patience: number of validations without a better score after which training stops; 0 never stops early.
    validate_every: epochs between validations.
    checkpoint_seconds: minimum time between checkpoints within an epoch.
    sharded: of several processes, each keeps a share of the weights, the gradients and the optimiser's state (FSDP2),
        for models that do not fit into one; a single process has no use for it.
    sharded_items: of several processes, each keeps a share of the rows of the tables of items, with their gradients and
        their optimiser's state, and all else whole; no process ever gathers a table. For baselines whose catalogue does
        not fit into one process; a single one has no use for it.
    log_with: further places for the log of the training, each of which is an extra.
    start: a finished run whose weights this training begins with, instead of random ones; on the same log, and of the
        same shape but for thoughts, which it may lack.
    """

    idle = frozenset(
        {"checkpoint_seconds", "log_with", "sharded", "sharded_items", "start"}
    )  # of the start the weights count, not where they lie

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(256, ge=1)
    optimizer: Literal["adamw", "muon"] = "adamw"
    ema: float = Field(0.0, ge=0, lt=1)
    lr: float = Field(1e-3, gt=0)
    final_lr: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(200, ge=0)
    schedule: Literal["constant", "cosine", "inverse-sqrt"] = "cosine"
    clip: float = Field(1.0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    patience: int = Field(10, ge=0)
    validate_every: int = Field(1, ge=1)
    checkpoint_seconds: float = Field(120.0, ge=0)
    sharded: bool = False
    sharded_items: bool = False
    log_with: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    start: HomePath | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        for name, value in (("optimizer", self.optimizer == "muon"), ("ema", self.ema)):
            if self.sharded and value:
                raise ValueError(
                    f"sharded = true and {name} = {getattr(self, name)!r} do not go together, since it needs whole "
                    f"matrices in every process; use {name} = {type(self).model_fields[name].default!r}, or "
                    "sharded = false"
                )
        for name in ("sharded", "start"):
            if self.sharded_items and (value := getattr(self, name)):
                raise ValueError(
                    f"sharded_items = true and {name} = {str(value)!r} do not go together, since it needs whole tables "
                    "in every process; leave one of them out"
                )
        return self

    def identity(self) -> dict[str, object]:
        """The settings that a checkpoint must share with a run that resumes it. Keys of later releases are left out
        while they have their defaults, so that checkpoints of earlier releases match.
        """
        settings = self.model_dump(exclude={*self.idle})
        return {key: value for key, value in settings.items() if (key, value) not in _ADDED.items()}


OPEN_ENDED = ("constant", "inverse-sqrt")
"""Schedules whose rates do not depend on how many epochs there are."""


def prolongs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a training goes on where a finished one ended: it differs by more epochs alone, and every step so far had
    the rate that it would have had in the longer one.
    """
    same = {**old, "epochs": None} == {**new, "epochs": None}
    return same and new["epochs"] > old["epochs"] and new["schedule"] in OPEN_ENDED


_ADDED = {"optimizer": "adamw", "ema": 0.0}


def optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a recipe, with decay on matrices only."""
    return adamw(model, config) if config.optimizer == "adamw" else MuonAdamW(model, config)


def adamw(model: nn.Module, config: TrainConfig, without: frozenset[nn.Parameter] = frozenset()) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only, not on norms, biases and other vectors.

    Fused: one pass over each tensor instead of a dozen, in a third of the time. without: parameters to leave out.
    """
    parameters = [each for each in model.parameters() if each.requires_grad and each not in without]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr, fused=True)


class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan 2024, kellerjordan.github.io/posts/muon) for the matrices of linear layers, AdamW for the rest.

    Muon's step is the orthogonalised momentum of the gradient, scaled to the size of AdamW's steps (Liu et al. 2025,
    arXiv 2502.16982, sec. 2.2), so that one learning rate serves both. The two share one table of states and one list
    of groups, hence one checkpoint.

    Raises:
        ConfigError: a PyTorch without Muon, or a model without linear layers.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        matrices = [layer.get_parameter("weight") for layer in linear if layer.weight.requires_grad]
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError(
                f"train.optimizer = 'muon' needs PyTorch 2.9 or later, and this is {torch.__version__}; "
                "use train.optimizer = 'adamw'"
            )
        if not matrices:
            raise ConfigError(
                "train.optimizer = 'muon' needs a model with linear layers; use train.optimizer = 'adamw'"
            )
        muon = torch.optim.Muon(
            matrices, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._parts: tuple[torch.optim.Optimizer, ...] = (muon, adamw(model, config, frozenset(matrices)))
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None
        for part in self._parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Make the parts use this optimiser's groups and states."""
        groups = iter(self.param_groups)
        for part in self._parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """The rate of step 0, 1, ...: linear warm-up, then the schedule."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    after, span = step - config.warmup_steps, max(total_steps - config.warmup_steps, 1)
    if config.schedule == "constant":
        factor = 1.0
    elif config.schedule == "cosine":
        factor = config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(after / span, 1.0)))
    else:
        factor = max(config.final_lr, math.sqrt(max(config.warmup_steps, 1) / (max(config.warmup_steps, 1) + after)))
    return config.lr * factor

"""Laws of the profile: the shares add up, every module is told of by its parent's name, and nothing is left behind."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sidestep.training.loop import Hooks, Training
from sidestep.training.optim import TrainConfig
from sidestep.training.profile import Profile, profile


class Net(nn.Module):
    """Calls one child whole, and a layer of the other past its parent."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.parts = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.parts[1](self.whole(x))
        return out


class Rows:
    def batches(self, epoch: int) -> list[int]:
        return [0, 1, 2]

    def load(self, index: int) -> Tensor:
        return torch.randn(4, 8, generator=torch.Generator().manual_seed(index))


def objective(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    return {"total": model(batch).square().mean()}


def watch(net: nn.Module, trace: Path | None = None, **changes: object) -> Profile:
    config = TrainConfig.model_validate({"epochs": 1, "warmup_steps": 0, **changes})
    run = Training(net, objective, Rows(), config, seed=0, hooks=Hooks(score=lambda: 0.0))
    return profile(run, count=len, steps=4, trace=trace)


def test_the_shares_of_a_step_add_up_and_those_of_the_model_make_up_its_forward_pass() -> None:
    shares = dict(watch(Net()).parts)
    within = {name: share for name, share in shares.items() if name.startswith("  ")}
    assert set(within) == {"  whole", "  parts", "  heads, losses and the rest"}
    assert sum(within.values()) == pytest.approx(shares["forward"])
    assert sum(shares.values()) - shares["forward"] == pytest.approx(1)
    assert min(shares.values()) >= 0
    assert next(iter(shares)) == "data"
    assert [name for name in shares if name not in within][-4:] == ["backward", "clip", "optimiser", "the rest"]


def test_what_a_recipe_leaves_out_has_no_row() -> None:
    assert "clip" not in dict(watch(Net(), clip=0.0).parts)


def test_examples_operators_and_the_epoch_are_told() -> None:
    found = watch(Net())
    assert (found.examples, found.steps_per_epoch) == (4, 3)
    assert "aten::addmm" in {name for name, _, _ in found.operators}
    assert "An epoch of 3 steps" in found.text()


def test_no_hook_is_left_in_the_model() -> None:
    net = Net()
    watch(net)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_trace_is_one_for_chrome(tmp_path: Path) -> None:
    watch(Net(), tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"step", "forward", "model.whole", "backward"} <= {event.get("name") for event in events}

"""Muon beside AdamW, and moving averages: each by the rule that defines it, and both resumed bit for bit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from loop_world import CONFIG, Data, model, objective, run
from sidestep.errors import ConfigError
from sidestep.training.averaging import Average
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import MuonAdamW, TrainConfig, adamw, optimizer

MUON = CONFIG.model_copy(update={"optimizer": "muon", "weight_decay": 0.1})


class Tagged(nn.Module):
    """A linear layer, an embedding of two dimensions, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.table = nn.Linear(4, 3), nn.Embedding(5, 4)

    def loss(self, seed: int) -> Tensor:
        numbers = torch.randint(5, (8,), generator=torch.Generator().manual_seed(seed))
        total: Tensor = self.linear(self.table(numbers)).square().sum()
        return total


def stepped(net: Tagged, chosen: torch.optim.Optimizer, steps: int = 4) -> Tagged:
    for step in range(steps):
        chosen.zero_grad()
        net.loss(step).backward()
        chosen.step()
    return net


def test_linear_matrices_go_to_muon_and_everything_else_to_adamw() -> None:
    """Two roads: the pair beside PyTorch's own two optimisers, each on its part of the model."""
    ours, theirs = Tagged(), Tagged()
    stepped(ours, MuonAdamW(ours, MUON))
    muon = torch.optim.Muon([theirs.linear.weight], MUON.lr, MUON.weight_decay, adjust_lr_fn="match_rms_adamw")
    rest = adamw(theirs, MUON, frozenset({theirs.linear.weight}))
    assert {id(p) for group in rest.param_groups for p in group["params"]} == {
        id(theirs.table.weight), id(theirs.linear.bias)
    }  # fmt: skip
    for step in range(4):
        theirs.zero_grad()
        theirs.loss(step).backward()
        muon.step()
        rest.step()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name


def test_without_muon_the_optimiser_is_adamw() -> None:
    ours, theirs = Tagged(), Tagged()
    stepped(ours, optimizer(ours, CONFIG))
    stepped(theirs, adamw(theirs, CONFIG))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_muon_refuses_what_it_cannot_step() -> None:
    with pytest.raises(ConfigError, match="linear layers"):
        MuonAdamW(nn.Embedding(3, 2), MUON)


@pytest.mark.parametrize("changes", [{"optimizer": "muon"}, {"ema": 0.9}, {"optimizer": "muon", "ema": 0.5}])
@pytest.mark.parametrize("fail_at", [6, 23])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path, fail_at: int, changes: dict[str, object]
) -> None:
    config = CONFIG.model_copy(update=changes)
    whole, resumed = model(), model()
    run(whole, tmp_path / "whole", config=config)
    with pytest.raises(KeyboardInterrupt):
        run(model(), tmp_path / "stopped", Data(fail_at), config=config)
    run(resumed, tmp_path / "stopped", config=config)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_average_by_hand() -> None:
    """Weights 1, then 4, 7 and 7 again; keep .5, but .1 and 2/11 in the first two steps."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    average, expected = Average(net, 0.5), 1.0
    for step, (weight, keep) in enumerate([(4.0, 0.1), (7.0, 2 / 11), (7.0, 0.25)]):
        nn.init.constant_(net.weight, weight)
        average.update(step)
        expected = keep * expected + (1 - keep) * weight
    assert float(average.tensors["weight"]) == pytest.approx(expected)
    with average.applied():
        assert net.weight.item() == pytest.approx(expected)
    assert net.weight.item() == 7.0


def test_what_is_validated_and_kept_is_the_average_and_training_goes_on_from_the_weights() -> None:
    plain, averaged = model(), model()
    without: list[Tensor] = []
    fit(plain, objective, Data(), CONFIG, seed=7, hooks=Hooks(score=lambda: seen(plain, without)))
    own = {name: value.clone() for name, value in plain.state_dict().items()}
    validated: list[Tensor] = []
    config = CONFIG.model_copy(update={"ema": 0.9})
    result = fit(averaged, objective, Data(), config, seed=7, hooks=Hooks(score=lambda: seen(averaged, validated)))
    by_hand = Average(again := model(), 0.9)
    steps = iter(range(40))

    class Watched(Data):
        def load(self, index: Tensor) -> object:  # type: ignore[override]
            if (step := next(steps)) > 0:
                by_hand.update(step - 1)
            return super().load(index)

    fit(again, objective, Watched(), CONFIG, seed=7)
    by_hand.update(39)
    assert result.best_epoch == CONFIG.epochs - 1
    for name, value in averaged.state_dict().items():
        torch.testing.assert_close(value, by_hand.tensors[name])
    assert all(not torch.equal(a, b) for a, b in zip(without, validated, strict=True))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in own.items())


def seen(net: nn.Module, into: list[Tensor]) -> float:
    """A score that rises, so that the last weights are kept."""
    into.append(next(net.parameters()).detach().clone())
    return float(len(into))


def test_checkpoints_of_releases_without_these_keys_fit() -> None:
    assert not {"optimizer", "ema"} & TrainConfig().identity().keys()
    assert TrainConfig(ema=0.5).identity()["ema"] == 0.5

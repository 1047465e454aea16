"""Laws of the loop: resumed equals uninterrupted bit for bit, the best weights are kept, schedules by hand."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from loop_world import CONFIG, Data, Rows, model, objective, run
from sidestep import artifact
from sidestep.errors import ArtifactError, TrainingError
from sidestep.training.loop import Hooks, Result, fit
from sidestep.training.optim import TrainConfig, adamw, learning_rate


def test_the_fused_optimiser_steps_as_the_plain_one() -> None:
    models = [nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    config = TrainConfig(weight_decay=0.1)
    fused = adamw(models[0], config)
    plain = torch.optim.AdamW(adamw(models[1], config).param_groups, fused=False)
    for group in plain.param_groups:
        group["fused"] = False
    for step in range(5):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        for net, optimizer in zip(models, (fused, plain), strict=True):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("fail_at", [1, 6, 8, 9, 23, 40])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, fail_at: int) -> None:
    whole, resumed = model(), model()
    expected = run(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(model(), tmp_path / "stopped", Data(fail_at))
    torch.manual_seed(fail_at)  # another process has another random state
    result = run(resumed, tmp_path / "stopped")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for ours, theirs in zip(result.history, expected.history, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = model()
    run(first, tmp_path)
    again, data = model(), Data()
    run(again, tmp_path, data)
    assert data.loads == 0
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(model(), tmp_path)
    with pytest.raises(ArtifactError, match=r"other settings \(lr\)"):
        run(model(), tmp_path, config=CONFIG.model_copy(update={"lr": 0.5}))


def _fit_with_scores(scores: list[float], patience: int) -> tuple[nn.Module, Result, list[Tensor]]:
    net, seen, coming = model(), list[Tensor](), iter(scores)

    def score() -> float:
        seen.append(next(net.parameters()).detach().clone())
        return next(coming)

    config = CONFIG.model_copy(update={"patience": patience, "epochs": len(scores)})
    return net, fit(net, objective, Data(), config, seed=0, hooks=Hooks(score=score)), seen


def test_the_weights_of_the_best_validation_are_kept() -> None:
    net, result, seen = _fit_with_scores([0.1, 0.4, 0.3, 0.2], patience=0)
    assert (result.best_score, result.best_epoch) == (0.4, 1)
    assert torch.equal(next(net.parameters()), seen[1])


def test_training_stops_when_patience_runs_out() -> None:
    _, result, seen = _fit_with_scores([0.1, 0.4, 0.3, 0.2, 0.1, 0.9], patience=2)
    assert len(seen) == 4
    assert result.steps == 4 * 8


def test_the_log_holds_one_row_an_epoch_with_every_loss() -> None:
    rows: list[dict[str, object]] = []
    fit(model(), objective, Data(), CONFIG, seed=0, hooks=Hooks(after_epoch=rows.append))
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert all(row["squared"] == row["total"] for row in rows)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 0.25),  # a quarter of the way through a warm-up of four
        ("constant", 3, 1.0),
        ("constant", 99, 1.0),
        ("cosine", 4, 1.0),
        ("cosine", 52, 0.55),  # half-way from 1 to the final 0.1
        ("cosine", 100, 0.1),
        ("inverse-sqrt", 16, 0.5),  # sqrt(4 / 16)
        ("inverse-sqrt", 10_000, 0.1),
    ],
)
def test_learning_rates_by_hand(schedule: str, step: int, expected: float) -> None:
    config = TrainConfig.model_validate({"lr": 1.0, "warmup_steps": 4, "final_lr": 0.1, "schedule": schedule})
    assert learning_rate(config, step, 100) == pytest.approx(expected)


def test_decay_falls_on_matrices_only() -> None:
    from sidestep.training.optim import adamw

    groups = adamw(model(), CONFIG).param_groups
    assert [group["weight_decay"] for group in groups] == [CONFIG.weight_decay, 0.0]
    assert all(p.ndim >= 2 for p in groups[0]["params"])
    assert all(p.ndim < 2 for p in groups[1]["params"])


def test_the_loop_equals_a_plain_one() -> None:
    """Fused AdamW and losses read all at once compute what twelve lines of PyTorch do."""
    ours, plain, data = model(), model(), Data()
    result = fit(ours, objective, data, CONFIG, seed=7)
    groups = [{"params": [p for p in plain.parameters() if (p.ndim >= 2) == decayed]} for decayed in (True, False)]
    optimizer = torch.optim.AdamW(
        [{**groups[0], "weight_decay": CONFIG.weight_decay}, {**groups[1], "weight_decay": 0}]
    )
    totals = [0.0] * CONFIG.epochs
    for step in range(CONFIG.epochs * 8):
        torch.manual_seed((7 << 40) + step)
        loss = objective(plain, data.load(data.batches(step // 8)[step % 8]))["total"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), CONFIG.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(CONFIG, step, CONFIG.epochs * 8)
        optimizer.step()
        totals[step // 8] += float(loss.detach()) / 8
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)
    assert [row["total"] for row in result.history] == pytest.approx(totals, rel=1e-5)


def test_trackers_get_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = TrainConfig.model_validate({**CONFIG.model_dump(), "log_with": ("tensorboard",)})
    fit(model(), objective, Data(), config, seed=0, folder=tmp_path)
    assert list((tmp_path / "sidestep").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Each takes half of the batches, and both end with the same weights."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from test_loop import CONFIG, Data, fit, model, objective\n"
        "net = model(); net[2] = __import__('torch').nn.Identity()  # each process would see its own batch statistics\n"
        "result = fit(net, objective, Data(), CONFIG, seed=0, folder=Path(sys.argv[1]))\n"
        "print('ended', result.steps, float(sum(p.detach().double().sum() for p in net.parameters())))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29555"]
    here = Path(__file__).parent
    command += [str(script), str(tmp_path / "out"), str(here), str(here.parent)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=True)
    ends = [line for line in done.stdout.splitlines() if line.startswith("ended")]
    assert len(ends) == 2
    assert ends[0] == ends[1]
    assert ends[0].split()[1] == str(CONFIG.epochs * 4)


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    def diverges(net: nn.Module, batch: Rows) -> dict[str, Tensor]:
        calls.append(1)
        return {"total": objective(net, batch)["total"] * (math.nan if len(calls) > 10 else 1)}

    calls: list[int] = []
    with pytest.raises(TrainingError, match="loss became nan in step 11"):
        fit(model(), diverges, Data(), CONFIG, seed=0, folder=tmp_path)
    saved = artifact.load(tmp_path / "checkpoint", "checkpoint")
    assert all(np.isfinite(value).all() for value in saved.tensors.values())

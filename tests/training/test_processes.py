"""Ranks and means: one process alone, and two that join a group."""

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from sidestep.training.checkpoint import Progress, Restored
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig
from sidestep.training.processes import Processes
from two_processes import (
    FixedBatches,
    meet_as_processes,
    open_ended,
    squares,
    train_as_processes,
    train_in_shards,
)


def test_one_process_is_the_first_and_its_mean_is_its_own_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    alone = Processes.launched()
    assert (alone.rank, alone.size, alone.is_first) == (0, 1, True)
    assert alone.mean(0.1) == 0.1  # not rounded on its way through a tensor
    alone.wait()


def test_the_launcher_names_rank_and_size_before_any_group_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    launched = Processes.launched()
    assert (launched.rank, launched.size, launched.is_first) == (2, 4, False)
    assert not torch.distributed.is_initialized()


def test_two_processes_have_one_mean_and_leave_a_wait_together(tmp_path: Path) -> None:
    multiprocessing.spawn(meet_as_processes, args=(str(tmp_path),), nprocs=2)
    said = [(tmp_path / str(rank)).read_text().split() for rank in (0, 1)]
    assert said == [["0", "2", "True", "0.25", "True"], ["1", "2", "False", "0.25", "True"]]


class Groups(FixedBatches):
    """What some processes do in one step, as one batch."""

    together = 2

    def batches(self, epoch: int) -> list[int]:
        return list(range(0, len(self.rows), self.together))

    def load(self, index: int) -> torch.Tensor:
        return self.rows[index : index + self.together].flatten(0, 1)


class Fours(Groups):
    together = 4


@pytest.mark.parametrize(("world", "batches"), [(2, Groups), pytest.param(4, Fours, marks=pytest.mark.slow)])
def test_several_processes_train_as_one_does_on_their_batches_put_together(
    tmp_path: Path, world: int, batches: type[Groups]
) -> None:
    rows = torch.randn(4, 8, 4, generator=torch.Generator().manual_seed(1))
    torch.save(rows, tmp_path / "rows.pt")
    multiprocessing.spawn(train_as_processes, args=(str(tmp_path), world), nprocs=world)
    saved = [torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True) for rank in range(world)]
    torch.manual_seed(0)
    alone = torch.nn.Linear(3, 1)
    config = TrainConfig(epochs=2, lr=0.1, warmup_steps=0, clip=0.0)
    fit(alone, squares, batches(str(tmp_path)), config, seed=0)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(saved[0][name], value, rtol=1e-5, atol=1e-6)
        assert all(torch.equal(saved[0][name], each[name]) for each in saved)


@pytest.mark.slow
def test_a_model_in_shards_is_trained_saved_and_resumed_by_two_processes_and_by_one(tmp_path: Path) -> None:
    """FSDP2 on gloo: the weights of one process with the same batches, resumed bit for bit, and at another number."""
    torch.save(torch.randn(4, 8, 4, generator=torch.Generator().manual_seed(1)), tmp_path / "rows.pt")
    folder = str(tmp_path)
    for run, epochs in (("whole", 2), ("resumed", 1), ("resumed", 2)):
        multiprocessing.spawn(train_in_shards, args=(folder, run, epochs), nprocs=2)
    saved = {
        run: [torch.load(tmp_path / f"{run}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        for run in ("whole", "resumed")
    }
    assert sorted(int(each["held"]) for each in saved["whole"]) == [0, 4]  # weight [1, 3] and bias [1], by rows

    def alone(batches: FixedBatches, epochs: int, place: Path) -> torch.nn.Linear:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        hooks = Hooks(score=lambda: float(model.weight.sum()) + 9)
        fit(model, squares, batches, open_ended(epochs), seed=0, folder=place, hooks=hooks)
        return model

    expected = alone(Groups(folder), 2, tmp_path / "alone").state_dict()
    for name, value in expected.items():
        first, second = (each[name] for each in saved["whole"])
        torch.testing.assert_close(first, value, rtol=1e-5, atol=1e-6)
        assert torch.equal(first, second)
        assert torch.equal(first, saved["resumed"][0][name])
    prolonged = [alone(FixedBatches(folder), 3, tmp_path / run) for run in ("whole", "alone")]
    for one, other in zip(*(model.parameters() for model in prolonged), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert not torch.equal(prolonged[0].weight, expected["weight"])


def test_a_checkpoint_goes_on_at_the_same_place_in_the_data_with_another_number_of_processes() -> None:
    """An order of 12 batches: two processes have done 3 steps of the second epoch, which are its first 6 batches."""
    two = Restored(Progress(epoch=1, batch=3, step=9), None, {"total": 6.0}, world=2)
    one, four, three = two.among(1, 12), two.among(4, 3), two.among(3, 4)
    assert (one.progress.batch, one.progress.step, one.totals["total"]) == (6, 18, 12.0)
    assert (three.progress.batch, three.progress.step) == (2, 6)
    assert (four.progress.batch, four.progress.step) == (1, 4)  # two of the six are done again
    assert two.among(2, 6) is two
    ended = Restored(Progress(epoch=2, batch=0, step=12), None, {}, world=2)
    assert ended.among(1, 12).progress.step == 24


@pytest.mark.parametrize(("key", "value"), [("optimizer", "muon"), ("ema", 0.9)])
def test_what_needs_whole_matrices_is_refused_with_shards(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"sharded = true and {key} = .* do not go together"):
        TrainConfig.model_validate({"sharded": True, key: value})

"""Ranks and means: one process alone, and two that join a group."""

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig
from sidestep.training.processes import Processes
from two_processes import FixedBatches, meet_as_processes, squares, train_as_processes


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


def test_two_processes_train_as_one_does_on_their_batches_put_together(tmp_path: Path) -> None:
    rows = torch.randn(4, 8, 4, generator=torch.Generator().manual_seed(1))
    torch.save(rows, tmp_path / "rows.pt")
    multiprocessing.spawn(train_as_processes, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True) for rank in (0, 1))

    class Pairs(FixedBatches):
        def batches(self, epoch: int) -> list[int]:
            return [0, 2]

        def load(self, index: int) -> torch.Tensor:
            return torch.cat([self.rows[index], self.rows[index + 1]])

    torch.manual_seed(0)
    alone = torch.nn.Linear(3, 1)
    fit(alone, squares, Pairs(str(tmp_path)), TrainConfig(epochs=2, lr=0.1, warmup_steps=0, clip=0.0), seed=0)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
        assert torch.equal(first[name], second[name])

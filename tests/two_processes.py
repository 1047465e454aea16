"""What a test does in processes of its own. They import it by name, so it stands in a module that they can find."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import distributed, nn

from sidestep.errors import DataError
from sidestep.objectives.tokenizing import TOKENIZERS as TRAINED_BY
from sidestep.progress import meter
from sidestep.sids import kmeans
from sidestep.sids.batches import Indices, VectorBatches
from sidestep.sids.codebook import Codebook, Reset
from sidestep.sids.rq_vae import RQVAE
from sidestep.sids.tokenizer import TokenizerConfig, Upkeep, build
from sidestep.training.loop import Hooks, Training, fit
from sidestep.training.optim import TrainConfig
from sidestep.training.processes import Processes
from sidestep.vectors.item_vectors import ItemVectors

Say = Callable[[str], None]


def reset_in_one_of_two(rank: int, folder: str) -> None:
    """One training batch of a codebook with a dead code, the worst served input another in each process; writes the
    codewords afterwards.
    """
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    book = Codebook(2, 1, dead_codes=Reset(1))
    book.codewords.data.copy_(torch.tensor([[0.0], [99.0]]))
    level = nn.parallel.DistributedDataParallel(book)
    level(torch.tensor([[3.0 + rank], [1.0]]))[1].sum().backward()
    (Path(folder) / str(rank)).write_text(str(book.codewords.flatten().tolist()))
    distributed.barrier()
    distributed.destroy_process_group()


def kmeans_of_two(rank: int, folder: str) -> None:
    """Clusters the points of a file, weighted and not; writes the results, and the most rows it measured at once."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    measured, nearest = list[int](), kmeans.nearest

    def counting(points: torch.Tensor, centroids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        measured.append(len(points))
        return nearest(points, centroids)

    kmeans.nearest = counting
    found = {name: value.numpy() for name, value in clusterings(folder).items()}
    np.savez(Path(folder) / f"{rank}.npz", most=max(measured), **found)
    distributed.barrier()
    distributed.destroy_process_group()


def clusterings(folder: str) -> dict[str, torch.Tensor]:
    """K-means of a file's points: plain, by weights, and of few distinct points, which leaves clusters empty."""
    points = torch.from_numpy(np.load(f"{folder}/points.npy"))
    weights = torch.arange(len(points)).remainder(3).float()
    cases = {"plain": (points, None), "weighted": (points, weights), "few": (points[:7].repeat(9, 1), None)}
    found = {}
    for name, (some, mass) in cases.items():
        made = kmeans.kmeans(some, 12, torch.Generator().manual_seed(5), weights=mass)
        found |= {f"{name} centroids": made.centroids, f"{name} assignment": made.assignment}
        found[f"{name} inertia"] = torch.tensor(made.inertia)
    return found


TINY = {"num_levels": 2, "codebook_size": 8, "code_width": 4, "hidden": (16,), "epochs": 4, "batch_size": 16}
TOKENIZERS = {
    "balanced": TokenizerConfig.model_validate({**TINY, "warmup_steps": 0}),
    "averages": TokenizerConfig.model_validate(
        {**TINY, "kind": "rq-vae", "codebooks": "ema", "ema_decay": 0.8, "dead_codes": "reset", "idle_batches": 1}
    ),
}


class Joined(VectorBatches):
    """What two processes do in one step, as one batch."""

    def batches(self, epoch: int) -> list[Indices]:
        order = super().batches(epoch)
        return [np.concatenate(pair) for pair in zip(order[::2], order[1::2], strict=True)]


def learn_tokenizer(
    folder: str, config: TokenizerConfig, batches: type[VectorBatches]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Train a tokenizer in whatever group this process is; the codes of all vectors, and the usage of all codes."""
    vectors = ItemVectors(np.load(Path(folder) / "vectors.npy"))
    model = build(vectors, config, seed=0)
    assert isinstance(model, RQVAE)
    fit(
        model,
        partial(TRAINED_BY[config.kind], tokenizer=config),
        batches(vectors, config.batch_size, 0),
        TrainConfig(epochs=config.epochs, lr=config.lr, warmup_steps=config.warmup_steps),
        seed=0,
        hooks=Hooks(before_epoch=Upkeep(model, vectors, 0)),
    )
    usage = torch.cat([book.usage for book in model.quantiser.codebooks])
    return model.assign(torch.from_numpy(vectors.values)).numpy(), usage.numpy()


def tokenizers_of_two(rank: int, folder: str) -> None:
    """Train every one of `TOKENIZERS` as one of two processes; writes codes and usage."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name, config in TOKENIZERS.items():
        codes, usage = learn_tokenizer(folder, config, VectorBatches)
        np.savez(Path(folder) / f"{name}-{rank}.npz", codes=codes, usage=usage)
    distributed.destroy_process_group()


def meet_as_processes(rank: int, folder: str) -> None:
    """Join a group of two as the loop does; writes rank, size, whether it is first, the mean of 0 and 0.5, and whether
    the other process came to the wait before this one left it.
    """
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}  # wanted by Accelerate, though the group is there
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    launched, joined = Processes.launched(), Processes.joined(Accelerator(cpu=True))
    assert (launched.rank, launched.size) == (joined.rank, joined.size)
    mean = joined.mean(rank / 2)
    time.sleep(rank)  # the second comes a second later
    (Path(folder) / f"came-{rank}").touch()
    joined.wait()
    met = all((Path(folder) / f"came-{each}").exists() for each in (0, 1))
    (Path(folder) / str(rank)).write_text(f"{rank} {joined.size} {joined.is_first} {mean} {met}")
    distributed.destroy_process_group()


class FixedBatches:
    """Batches of a regression, in the same order in every epoch."""

    def __init__(self, folder: str) -> None:
        self.rows = torch.load(Path(folder) / "rows.pt", weights_only=True)

    def batches(self, epoch: int) -> list[int]:
        return list(range(len(self.rows)))

    def load(self, index: int) -> torch.Tensor:
        return self.rows[index]


def squares(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """The mean squared error of a model on rows whose last number is the target."""
    return {"total": (model(batch[:, :-1]).squeeze(1) - batch[:, -1]).square().mean()}


def train_as_processes(rank: int, folder: str, world: int = 2) -> None:
    """Two epochs of a regression as one of several processes; writes the weights."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    fit(model, squares, FixedBatches(folder), TrainConfig(epochs=2, lr=0.1, warmup_steps=0, clip=0.0), seed=0)
    torch.save(model.state_dict(), Path(folder) / f"weights-{rank}.pt")
    distributed.destroy_process_group()


def train_in_shards(rank: int, folder: str, run: str, epochs: int) -> None:
    """Epochs of a regression as one of two processes that share a model; writes the weights and the share."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    meet = f"file://{folder}/meet-{run}-{epochs}"
    distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    training = Training(
        model, squares, FixedBatches(folder), open_ended(epochs, sharded=True), 0, Path(folder) / run,
        Hooks(score=lambda: float(model.weight.sum()) + 9),
    )  # fmt: skip
    assert training.shards is not None
    held = sum(value.to_local().numel() for value in training.model.parameters())  # type: ignore[operator]
    assert not sum(value.numel() for value in model.parameters())
    with meter("train", training.total_steps) as shown:
        while not training.progress.finished:
            training.epoch(shown)
    training.close()
    torch.save({**model.state_dict(), "held": torch.tensor(held)}, Path(folder) / f"{run}-{rank}.pt")
    distributed.destroy_process_group()


def open_ended(epochs: int, sharded: bool = False) -> TrainConfig:
    """A training that more epochs prolong, and whose weights are the last."""
    return TrainConfig(
        epochs=epochs, lr=0.1, warmup_steps=0, clip=1.0, schedule="constant", patience=0, sharded=sharded,
        checkpoint_seconds=0,
    )  # fmt: skip


def says_who_it_is(say: Say) -> None:
    """The rank that a launcher gave."""
    say(os.environ.get("RANK", "no rank"))


def fails(say: Say) -> None:
    """A mistake of the user."""
    raise DataError("the file has\nno rows")


def dies(say: Say) -> None:
    """An end without a word."""
    os._exit(7)

"""What tests of shared-out tables of items do in processes of their own, which import it by name."""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch, TrainingSequences
from sidestep.data.splits import TrainingInteractions
from sidestep.layers.item_rows import RowShards, ShardedTable
from sidestep.losses import scoring
from sidestep.methods.method import Materials
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import METHODS, new_recipe
from sidestep.progress import meter
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.training.item_tables import ItemTables
from sidestep.training.loop import Hooks, Training

NUM_ITEMS, NUM_STATES, WIDTH = 13, 6, 5
"""Items that neither two nor four processes share evenly; states of all processes together, and their width."""
ABLE = [name for name, method in METHODS.items() if method.shards_items]


def sample() -> tuple[Tensor, Tensor, Tensor]:
    """States, the whole table, and targets."""
    torch.manual_seed(0)
    states, table = torch.randn(NUM_STATES, WIDTH), torch.randn(NUM_ITEMS, WIDTH)
    return states, table, torch.tensor([12, 0, 3, 12, 7, 6])


NEGATIVES = torch.tensor([5, 0, 12, 5, 9, 1])


def losses(states: Tensor, table: Any, targets: Tensor, own: slice) -> dict[str, Tensor]:
    """Every loss over the catalogue, and one of rows that are looked up, of the states in `own`."""
    if isinstance(table, ShardedTable):
        full = scoring.sharded_cross_entropy(states[own], table.own, targets[own], table.shards)
    else:
        full = scoring.full_cross_entropy(states[own], table, targets[own])
    some = NEGATIVES[own]
    return {
        "full": full,
        "sampled": scoring.sampled_cross_entropy(states[own], table, targets[own], NEGATIVES),
        "binary": scoring.binary_cross_entropy(states[own], table, targets[own], some[:, None]),
        "looked up": (table[some.repeat(2, 1)] * states[own]).square().mean(),  # items occur several times
    }


def parts_of(world: int) -> list[slice]:
    """The states of each process; they are not equally many."""
    bounds = [0, *range(2, 2 + world - 1), NUM_STATES]
    return [slice(begin, end) for begin, end in pairwise(bounds)]


def exchange(rank: int, folder: Path, world: int) -> None:
    """Losses and gradients over a table in shards; writes them with this process's rows."""
    scoring.PROBABILITIES_AT_ONCE, scoring.LEAST_ROWS = 1, 4  # several blocks
    whole_states, whole, targets = sample()
    shards, made = RowShards(NUM_ITEMS, rank, world), dict[str, Any]()
    for name in losses(whole_states, whole, targets, slice(None)):
        states, own = whole_states.clone().requires_grad_(), whole[shards.begin : shards.end].clone().requires_grad_()
        loss = losses(states, ShardedTable(own, shards), targets, parts_of(world)[rank])[name]
        (3 * loss).backward()
        assert states.grad is not None
        assert own.grad is not None
        made |= {f"{name} loss": loss.detach(), f"{name} states": states.grad, f"{name} rows": own.grad}
    made["columns"] = shards.columns(whole_states @ whole[shards.begin : shards.end].T)
    made["gathered"] = torch.cat([torch.empty(0, WIDTH), *shards.gathered(whole[shards.begin : shards.end])])
    np.savez(folder / f"exchange {rank}.npz", **made)


class Walks:
    """Users who go round the items; every one has the same number of targets, so that a mean of means is the mean."""

    together = 1
    """Batches of several processes that are one here."""

    def __init__(self, recipe: Recipe, model: Any) -> None:
        starts = np.random.default_rng(0).integers(0, NUM_ITEMS, 24)
        walks = [(start + np.arange(5)) % NUM_ITEMS for start in starts]
        log = TrainingInteractions([str(user) for user in range(24)], np.arange(0, 5 * 25, 5), np.concatenate(walks))
        self.popularity = log.popularity(NUM_ITEMS)
        self.sequences = TrainingSequences(log, model.reads, model.every_position)

    def batches(self, epoch: int) -> list[Ints]:
        order = np.random.default_rng(epoch).permutation(len(self.sequences)).reshape(4 * 2 // self.together, -1)
        return [*order]

    def load(self, index: Ints) -> SequenceBatch:
        return self.sequences.batch(index)


class Pairs(Walks):
    together = 2


@dataclass(frozen=True)
class Setting:
    """A training of `epochs` epochs: `changes` are laid over the recipe of the method, by section."""

    method: str
    epochs: int = 2
    sharded: bool = True
    changes: tuple[tuple[str, str, Any], ...] = ()

    @property
    def recipe(self) -> Recipe:
        parts = METHODS[self.method].parts.get("baseline", {})
        values: dict[str, Any] = {
            "method": self.method,
            "baseline": {**parts, "width": 8, "inner": 8, "num_heads": 2, "max_history": 6, "window": 3},
            "train": {
                "epochs": self.epochs, "lr": 0.05, "warmup_steps": 0, "schedule": "constant", "patience": 0,
                "weight_decay": 0.1, "clip": 0.2, "checkpoint_seconds": 0, "sharded_items": self.sharded,
            },
        }  # fmt: skip
        for section, key, value in self.changes:
            values[section][key] = value
        return new_recipe(values)


def model_of(setting: Setting, shards: RowShards | None) -> nn.Module:
    torch.manual_seed(0)
    popularity = np.arange(NUM_ITEMS)
    return METHODS[setting.method].build(Materials(popularity, shards=shards), setting.recipe)


def train(
    setting: Setting, batches: type[Walks], folder: Path | None, rank: int = 0, world: int = 1
) -> tuple[dict[str, Any], list[float]]:
    """The whole weights, in the first process, and the validation scores."""
    recipe = setting.recipe
    model = model_of(setting, RowShards(NUM_ITEMS, rank, world) if setting.sharded else None)
    data = batches(recipe, model)
    asked = data.load(np.arange(6))
    recommender = ItemwiseRecommender(model.score, NUM_ITEMS, model.reads)
    hooks = Hooks(score=lambda: float(recommender.rank(asked, 3).scores.mean()))
    objective = METHODS[setting.method].objective(Materials(data.popularity), recipe)
    training = Training(model, objective, data, recipe.train, 0, folder, hooks)
    if setting.sharded and world > 1:
        rows = len(RowShards(NUM_ITEMS, rank, world))
        assert rows < NUM_ITEMS
        assert training.tables is not None
        tables = {model.get_parameter(name) for name in training.tables.names}
        assert all(len(table) == rows for table in tables)
    with meter("train", training.total_steps) as shown:
        while not training.progress.finished:
            training.epoch(shown)
    if setting.sharded and world > 1:
        states = training.optimizer.optimizer.state
        assert all(len(states[table]["exp_avg"]) == len(states[table]["exp_avg_sq"]) == rows for table in tables)
    training.close()
    shared = ItemTables.of_several(model)
    scores = [row["score"] for row in training.log.rows]
    if shared is None:
        return {name: value.numpy() for name, value in model.state_dict().items()}, scores
    saved = shared.saved(model.state_dict(), shared.names)
    return {name: _whole(saved[name]) for name in sorted(saved)}, scores  # in the order in which rows are sent


def _whole(value: Any) -> np.ndarray[Any, Any]:
    return value if isinstance(value, np.ndarray) else np.concatenate([*value.parts])


Plan = dict[str, tuple[Setting, str | None]]
"""Trainings by name, each with a folder for checkpoints or without."""


def share_out(rank: int, folder: str, world: int, plan: Plan) -> None:
    """The losses of `exchange` and some trainings, as one of several processes; writes every training's scores, and in
    the first process the weights.
    """
    place = Path(folder)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    meet = f"file://{folder}/meet-{next(iter(plan))}"
    distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=world)
    exchange(rank, place, world)
    for name, (setting, run) in plan.items():
        weights, scores = train(setting, Walks, place / run if run else None, rank, world)
        np.savez(place / f"{name} {rank}.npz", scores=scores, **weights)
    distributed.destroy_process_group()

"""`make bench-item-tables`: what each process holds that trains SASRec with full cross-entropy over millions of items.

Steps by one process with the whole table, and by several that share out its rows (`train.sharded_items`), on about as
many targets together. Histories are drawn at random: the time and the memory of a step do not depend on them.
Every process is watched: the peak of what it holds itself (`RssAnon`), above what its libraries took.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing

from machine import report, rounded, table
from out_of_core import GB, Watch
from sidestep.data.sequences import SequenceBatch
from sidestep.durable import read_json, write_json
from sidestep.layers.item_rows import RowShards
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, new_recipe
from sidestep.training.loop import Training

WIDTH, HISTORY, TARGETS, STEPS = 64, 20, 128, 3
"""Of the embeddings, of a history, in a step of all processes, and measured."""


class Drawn:
    """Histories of `HISTORY` items, of which every one is a target."""

    def __init__(self, items: int, world: int) -> None:
        self.items, self.rows = items, TARGETS // HISTORY // world

    def batches(self, epoch: int) -> list[int]:
        return [*range(STEPS * int(os.environ["WORLD_SIZE"]))]

    def load(self, index: int) -> SequenceBatch:
        drawn = np.random.default_rng(index).integers(0, self.items, (self.rows, HISTORY + 1))
        rows, visible = torch.from_numpy(drawn), torch.arange(1, HISTORY + 1).expand(self.rows, -1)
        lengths = torch.full((self.rows,), HISTORY)
        return SequenceBatch(rows[:, :-1].contiguous(), lengths, rows[:, 1:].contiguous(), visible.contiguous())


def train(rank: int, world: int, items: int, folder: str) -> None:
    """Some steps and a checkpoint, as one of several processes; writes what they cost."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    recipe = new_recipe({
        "method": "sasrec-ce",
        "baseline": {"width": WIDTH, "max_history": HISTORY},
        "train": {"epochs": 1, "clip": 1.0, "sharded_items": True},
    })  # fmt: skip
    popularity, watch = np.ones(items, np.int64), Watch()
    materials, data = Materials(popularity, shards=RowShards(items, rank, world)), Drawn(items, world)
    with watch():
        torch.manual_seed(0)
        model = METHODS["sasrec-ce"].build(materials, recipe)
        objective = METHODS["sasrec-ce"].objective(materials, recipe)
        run = Training(model, objective, data, recipe.train, 0, Path(folder) / "run")
        built, begun, cpu = watch.peak, time.perf_counter(), time.process_time()
        for index in run.order(0):
            run.step(index)
            run.progress.step += 1
        steps = [(now - then) / STEPS for now, then in ((time.perf_counter(), begun), (time.process_time(), cpu))]
        stepped = watch.peak
        run._save()
        distributed.barrier()
    cost = {
        "built": built / GB, "stepped": stepped / GB, "peak": watch.peak / GB, "libraries": watch.libraries / GB,
        "wall of a step": steps[0], "CPU of a step": steps[1],
    }  # fmt: skip
    write_json(Path(folder) / f"{rank}.json", cost)
    distributed.destroy_process_group()


def measure(items: int, world: int) -> dict[str, Any]:
    """The most that any of the processes took."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        multiprocessing.spawn(train, args=(world, items, folder), nprocs=world)
        costs = [read_json(Path(folder) / f"{rank}.json") for rank in range(world)]
    cost = {name: max(each[name] for each in costs) for name in costs[0]}
    print(f"  {world}: {cost}", flush=True)
    return cost


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 items: a run of seconds")
    parser.add_argument("--items", type=int, default=2_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    words = parser.parse_args(arguments)
    items = 20_000 if words.quick else words.items
    found = {str(world): measure(items, world) for world in words.processes}
    states = 16 * items * WIDTH / GB
    rows = [
        [name, f"{states / int(name):.2f}", *(f"{cost[key]:.2f}" for key in ("stepped", "peak")),
         *(f"{cost[key]:.1f} s" for key in ("CPU of a step", "wall of a step"))]
        for name, cost in found.items()
    ]  # fmt: skip
    print(f"\n{items:,} items x {WIDTH}; peak memory of a process in GB above its libraries'\n{table(rows, HEAD)}")
    protocol = {"items": items, "width": WIDTH, "targets": TARGETS, "history": HISTORY, "steps": STEPS}
    short = {name: {key: rounded(value) for key, value in cost.items()} for name, cost in found.items()}
    report("item-tables", protocol, {"processes": short})


HEAD = ["processes", "16 N D / n", "steps", "and checkpoint", "CPU a step", "wall a step"]


if __name__ == "__main__":
    main()

"""`make bench-scale`: what each stage costs at the paper's industrial shape, and how it grows from 10^4 items to it.

Every stage runs in a process of its own, so that its peak memory is its own. Times are of the work alone; the peak is
of the whole process, libraries and inputs included, as the kernel counts it: reading vectors maps their file, and those
pages count, too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file

from industrial import ITEMS, WIDTH, industrial, item_vectors
from machine import line_of, report, rounded, table
from sidestep.data import sources
from sidestep.data.interactions import Interactions
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, TrainingSequences, question_of
from sidestep.data.sources.config import DataConfig
from sidestep.data.sources.planted import PlantedConfig, PlantedWorld
from sidestep.data.splits import SplitConfig, TrainingInteractions, split
from sidestep.encoders.sentence import Sentence
from sidestep.errors import MissingExtraError
from sidestep.evaluation.codebooks import codebook_report
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.objectives import generating, tokenizing
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.sids import tokenizer
from sidestep.sids.batches import VectorBatches
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.settings import TokenizerConfig
from sidestep.sids.trie import Trie
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors import graph
from sidestep.vectors.graph import GraphConfig
from sidestep.vectors.item_vectors import ItemVectors

SIZES = (10_000, 100_000, ITEMS)
SAMPLE = 65_536
"""The tokenizer learns from so many items at most, 256 for each code of a level."""
TARGETS, BATCH, HISTORY, ASKING = 20_000, 512, 100, 128
"""The generator's share of the work: so many targets, in batches of so many, after so many items; users who ask."""
TEXTS = 1_024
AFTER_PROPAGATION = ("tokenizer training", "assignment", "trie", "generator training", "decoding")
Notes = dict[str, Any]
Clock = Callable[[], Any]


class Stopwatch:
    """cpu, wall: seconds spent inside `with stopwatch():`."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall


def world(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """The planted shop and its log."""
    with clock():
        made = PlantedWorld(shape, seed=0)
    made.interactions.save(folder / "interactions")
    return {"users": shape.users, "items": len(made.catalog), "interactions": len(made.interactions)}


def vectors(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """No stage of ours: something for the others to work on."""
    with clock():
        made = item_vectors(shape)
    made.save(folder / "vectors")
    return {}


def reading(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """The log from a table in Parquet: checked, numbered, sorted by user and time."""
    log, path = Interactions.load(folder / "interactions"), folder / "log.parquet"
    owners, items, order = (pl.Series(values) for values in (log.users, log.items, np.arange(len(log))))
    table = {"user_id": owners.cast(pl.String), "item_id": items.cast(pl.String), "place": order}
    pl.DataFrame(table).sample(fraction=1, shuffle=True, seed=0).write_parquet(path)
    with clock():
        sources.read(DataConfig(path=path, order="place"), seed=0)
    return {"bytes": path.stat().st_size}


def embedding(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """The vectors of some texts by MiniLM, where the extra `text` is installed; a load before, which is not timed."""
    titles = [f"Kitchen knife {number}, stainless, of the brand Dunmore" for number in range(TEXTS)]
    encoder = Sentence(None, batch_size=64)
    try:
        encoder.encode(titles[:1])
    except MissingExtraError:
        return {"texts": 0}
    with clock():
        encoder.encode(titles)
    return {"texts": TEXTS}


def cooccurrence(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """The graph alone."""
    train = _training(folder)
    with clock():
        edges = graph.cooccurrence(train, shape.num_items, GraphConfig())
    return {"weights": edges.nnz}


def propagation(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """As the pipeline's stage does it: vectors read, the graph made, and the vectors enriched where they stand."""
    train, start = _training(folder), ItemVectors.load(folder / "vectors")
    with clock():
        edges = graph.cooccurrence(train, shape.num_items, GraphConfig())
        aligned = graph.align(start, edges, GraphConfig(), out=start.values)
    aligned.save(folder / "aligned")
    return {}


def tokenizer_training(folder: Path, shape: PlantedConfig, clock: Clock, most: int = SAMPLE) -> Notes:
    """The default tokenizer, all its epochs, on a sample of the items where there are more than `most`."""
    every, config = ItemVectors.load(folder / "aligned"), TokenizerConfig(train_items=most)
    sample = tokenizer.learning_sample(every, config, seed=0)
    settings = config.model_dump(include={"epochs", "batch_size", "lr", "weight_decay", "warmup_steps"})
    with clock():
        model = tokenizer.build(every, config, seed=0)
        fit(
            model,
            partial(tokenizing.TOKENIZERS[config.kind], tokenizer=config),
            VectorBatches(sample, config.batch_size, 0),
            TrainConfig.model_validate(settings),
            seed=0,
            hooks=Hooks(before_epoch=tokenizer.Upkeep(model, sample, 0)),
        )
    save_file(model.state_dict(), folder / "tokenizer.safetensors")
    return {"vectors": len(sample), "epochs": config.epochs}


def assignment(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """Every item's codes."""
    every, config = ItemVectors.load(folder / "aligned"), TokenizerConfig()
    model = tokenizer.build(every, config, seed=0)
    model.load_state_dict(load_file(folder / "tokenizer.safetensors"))
    with clock():
        sids = tokenizer.semantic_ids(model, every, config, seed=0)
    sids.save(folder / "sids")
    found = codebook_report(sids)
    return {"icr": rounded(found.icr), "largest": found.largest}


def trie(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """The tree of all semantic IDs."""
    sids, popularity = SemanticIds.load(folder / "sids"), _training(folder).popularity(shape.num_items)
    with clock():
        made = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes, torch.from_numpy(popularity))
    return {"bytes an item": made.num_bytes / shape.num_items}


def generator_training(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """S2GR at TIGER's size on `TARGETS` of the log's targets, each seeing up to `HISTORY` items."""
    batches = _Some(TrainingSequences(_training(folder), Reads(HISTORY), every_position=True))
    sids = SemanticIds.load(folder / "sids")
    model, clusters = _s2gr(sids), [torch.from_numpy(cluster) for cluster in sids.clusters]
    teach = partial(generating.s2gr, thinking=ThinkingConfig(), clusters=clusters)
    with clock():
        fit(model, teach, batches, TrainConfig(epochs=1, batch_size=BATCH), seed=0)
    save_file(model.state_dict(), folder / "generator.safetensors")
    return {"targets": batches.targets, "of": batches.sequences.num_targets}


def decoding(folder: Path, shape: PlantedConfig, clock: Clock) -> Notes:
    """Ten items at beam 50 for `ASKING` users, by what training left, histories of up to `HISTORY` items."""
    parts, sids = split(Interactions.load(folder / "interactions"), SplitConfig()), SemanticIds.load(folder / "sids")
    model = _s2gr(sids)
    model.load_state_dict(load_file(folder / "generator.safetensors"))
    found = GenerativeRecommender(model, sids, parts.train.popularity(shape.num_items), Reads(HISTORY), num_beams=50)
    chosen = np.arange(min(ASKING, len(parts.test)))
    with clock():
        found.rank(question_of(parts.test, chosen, Reads(HISTORY)), k=10)
    return {"users": len(chosen)}


def _s2gr(sids: SemanticIds) -> Thinking:
    torch.manual_seed(0)
    return Thinking(sids, GeneratorConfig(max_history=HISTORY), ThinkingConfig())


class _Some:
    """The first batches of an epoch, up to `TARGETS` targets."""

    def __init__(self, sequences: TrainingSequences) -> None:
        self.sequences, self._chosen, self.targets = sequences, list[Any](), 0
        for batch in sequences.batches(BATCH, seed=0, epoch=0):
            if self.targets < TARGETS:
                self._chosen.append(batch)
                self.targets += int((sequences.batch(batch).targets >= 0).sum())

    def batches(self, epoch: int) -> list[Any]:
        return self._chosen

    def load(self, index: Any) -> SequenceBatch:
        return self.sequences.batch(index)


def _training(folder: Path) -> TrainingInteractions:
    return split(Interactions.load(folder / "interactions"), SplitConfig()).train


Stage = Callable[[Path, PlantedConfig, Clock], Notes]
STAGES: dict[str, Stage] = {
    "planted world": world,
    "vectors (no stage)": vectors,
    "reading": reading,
    "embedding": embedding,
    "graph": cooccurrence,
    "graph and propagation": propagation,
    "tokenizer training": tokenizer_training,
    "assignment": assignment,
    "trie": trie,
    "generator training": generator_training,
    "decoding": decoding,
}
"""Name -> what it does to a folder that holds what the stages before it left, timing its work by the clock it is given.
A stage that is added here is run, measured and reported.
"""


def run_here(name: str, folder: Path, items: int) -> dict[str, Any]:
    """One stage in this process."""
    stopwatch = Stopwatch()
    notes = STAGES[name](folder, industrial(items), stopwatch)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"cpu": stopwatch.cpu, "wall": stopwatch.wall, "peak": peak / 1e9, **notes}


def run_apart(name: str, folder: Path, items: int, threads: int) -> dict[str, Any]:
    """One stage in a process of its own, on so many threads."""
    limits = {"OMP_NUM_THREADS": str(threads), "POLARS_MAX_THREADS": str(threads)}
    words = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--items", str(items)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **limits}).stdout
    cost: dict[str, Any] = json.loads(said.splitlines()[-1])
    print(f"  {name}: {cost}", flush=True)
    return cost


def measure(items: int, stages: list[str], threads: int) -> dict[str, dict[str, Any]]:
    """Every stage at one size, in a temporary folder."""
    print(f"{industrial(items).num_items:,} items", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return {name: run_apart(name, Path(folder), items, threads) for name in stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest size and no training: a run of seconds")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of items")
    parser.add_argument("--skip", nargs="*", default=[], choices=STAGES, help="stages to leave out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--costs", type=Path, help="write the results to this file, too; `sidestep plan` reads them")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--items", type=int, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.stage:
        print(json.dumps(run_here(words.stage, words.folder, words.items)))
        return
    sizes = [10_000] if words.quick else words.sizes
    skipped = {*words.skip, *(AFTER_PROPAGATION if words.quick else ())}
    stages = [name for name in STAGES if name not in skipped]
    costs = {size: measure(size, stages, words.threads) for size in sizes}
    head = ["", *(f"{industrial(size).num_items:,}" for size in sizes)]
    rows = [[name, *(_cell(costs[size][name]) for size in sizes)] for name in stages]
    print(f"\nCPU seconds, peak memory of the process in GB, by items; {words.threads} thread(s)")
    print(table(rows, head))
    results = {str(size): {name: _short(cost) for name, cost in row.items()} for size, row in costs.items()}
    growth = {name: rounded(costs[sizes[-1]][name]["cpu"] / max(costs[sizes[0]][name]["cpu"], 1e-9)) for name in stages}
    protocol = {"threads": words.threads, "width": WIDTH, "sample": SAMPLE, "growth": [sizes[0], sizes[-1]]}
    found = {"sizes": results, "growth": growth}
    if words.costs:
        words.costs.write_text(json.dumps(line_of("scale", protocol, found), indent=1) + "\n")
    report("scale", protocol, found)


def _cell(cost: Mapping[str, Any]) -> str:
    return f"{cost['cpu']:.2f} s, {cost['peak']:.2f}"


def _short(cost: Mapping[str, Any]) -> dict[str, Any]:
    return {name: rounded(value) if isinstance(value, float) else value for name, value in cost.items()}


if __name__ == "__main__":
    main()

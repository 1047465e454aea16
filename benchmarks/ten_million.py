"""`make bench-ten-million`: ten million items and a hundred million interactions on one core, every stage below 8 GB.

The log lies in Parquet, in parts of so many users each. Its pairs are counted part by part, as several workers would,
and added up by `graph.edges`; vectors stay on the disk. Every stage runs in a process of its own and is watched: "own"
is the peak of what the process holds itself (`RssAnon`, libraries included), "whole" its resident set with the pages of
files that it maps, which the system reads and drops as it has room.

A stage that was done is not done again: stop the command at any time, and give it again. Files stay in the folder
(15 GB, and up to 25 GB more meanwhile); remove it when you have what you want.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy import sparse

import scale
from industrial import DEPARTMENT, MEAN_LENGTH, shoppers
from machine import line_of, report, rounded, table
from out_of_core import GB, Watch
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.data.reads import Reads
from sidestep.data.sequences import question
from sidestep.data.sources.planted import PlantedConfig, PlantedWorld
from sidestep.data.splits import SplitConfig, TrainingInteractions, split
from sidestep.durable import replacing_file, write_json
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Trie
from sidestep.vectors import graph
from sidestep.vectors.edges import read_edges
from sidestep.vectors.graph import GraphConfig
from sidestep.vectors.item_vectors import ROWS, ItemVectors

ITEMS, ITEMS_A_USER, WIDTH = 10_000_000, 10, 64
"""Items at least, items for each user, and dimensions of the vectors."""
USERS_A_PART, ASKING, BATCH, BEAMS, K, HISTORY = 50_000, 256, 32, 50, 10, 20
SAMPLE = 16_384
"""The tokenizer learns from so many items, 64 for each code of a level."""
MOST = 8 * GB
GRAPH = ("data", "indices", "indptr")
Notes = dict[str, Any]


def shape_of(items: int) -> PlantedConfig:
    """The paper's industrial shop with so many items or a few more, and 10 interactions an item."""
    departments = math.ceil(items / math.prod(DEPARTMENT.values()))
    shape = PlantedConfig(departments=departments, **DEPARTMENT, mean_length=MEAN_LENGTH)
    return shape.model_copy(update={"users": max(shape.num_items // ITEMS_A_USER, 1)})


def world(folder: Path, shape: PlantedConfig, watch: Watch) -> Notes:
    """The planted shop's log, in parts: no stage of ours."""
    log, rows = folder / "log", 0
    log.mkdir(exist_ok=True)
    with watch():
        shop = PlantedWorld(shape.model_copy(update={"users": 1}), seed=0)
        for number, begin in enumerate(range(0, shape.users, USERS_A_PART)):
            part = shoppers(shop, min(USERS_A_PART, shape.users - begin), seed=number + 1)
            place = np.arange(len(part)) - part.offsets[part.users]
            columns = {"user": begin + part.users, "item": part.items, "position": place}
            with replacing_file(log / f"part-{number:04}.parquet") as staging:
                pl.DataFrame(columns).write_parquet(staging)
            rows += len(part)
    return {"users": shape.users, "items": shape.num_items, "interactions": rows}


def vectors(folder: Path, shape: PlantedConfig, watch: Watch) -> Notes:
    """As `industrial.item_vectors`, written in blocks: no stage of ours."""
    rng, places = np.random.default_rng(0), shape.brands * shape.variants
    of_shelf = rng.standard_normal((shape.num_shelves, WIDTH), dtype=np.float32)
    of_place = rng.standard_normal((places, WIDTH), dtype=np.float32)
    with watch(), ItemVectors.filling(folder / "vectors", (shape.num_items, WIDTH)) as out:
        for begin in range(0, shape.num_items, ROWS):
            item = np.arange(begin, min(begin + ROWS, shape.num_items))
            noise = rng.standard_normal((len(item), WIDTH), dtype=np.float32)
            out[begin : begin + len(item)] = of_shelf[item // places] + of_place[item % places] + noise
    return {}


def counting(folder: Path, shape: PlantedConfig, watch: Watch) -> Notes:
    """The pairs of every part of the log, as a list of edges; held-out interactions are left out."""
    edges, popularity, rows = folder / "edges", np.zeros(shape.num_items, np.int64), 0
    edges.mkdir(exist_ok=True)
    with watch():
        for part in sorted((folder / "log").glob("*.parquet")):
            train = training_of(part)
            popularity += train.popularity(shape.num_items)
            upper = sparse.triu(graph.cooccurrence(train, shape.num_items, GraphConfig())).tocoo()
            with replacing_file(edges / part.name) as staging:
                columns = {"src": upper.row, "dst": upper.col, "count": upper.data.astype(np.int32)}
                pl.DataFrame(columns).write_parquet(staging)
            rows += upper.nnz
    np.save(folder / "popularity.npy", popularity)
    return {"rows": rows, "bytes": sum(file.stat().st_size for file in edges.iterdir())}


def training_of(part: Path) -> TrainingInteractions:
    return split(log_of(part), SplitConfig()).train


def log_of(part: Path) -> Interactions:
    rows = pl.read_parquet(part)
    users, items = rows["user"].to_numpy(), rows["item"].to_numpy()
    begins = np.flatnonzero(np.diff(users, prepend=-1))
    return Interactions([str(user) for user in users[begins]], np.append(begins, len(rows)), items)


def edge_list(folder: Path, shape: PlantedConfig, watch: Watch) -> Notes:
    """The graph of all lists of edges, as `graph.edges` reads them."""
    ids = pl.int_range(shape.num_items, eager=True).cast(pl.String)
    catalog = Catalog(pl.DataFrame({"item_id": ids}))
    with watch():
        edges = read_edges(folder / "edges", catalog)
    for name in GRAPH:
        np.save(folder / f"graph_{name}.npy", getattr(edges, name))
    return {"weights": edges.nnz, "items without a neighbour": int((np.diff(edges.indptr) == 0).sum())}


def propagation(folder: Path, shape: PlantedConfig, watch: Watch) -> Notes:
    data, indices, indptr = (np.load(folder / f"graph_{name}.npy", mmap_mode="r+") for name in GRAPH)
    edges = sparse.csr_array((data, indices, indptr), shape=(shape.num_items, shape.num_items))
    start = ItemVectors.load(folder / "vectors")
    with watch(), ItemVectors.filling(folder / "aligned", start.values.shape) as out:
        graph.align(start, edges, GraphConfig(), out=out)
    return {"columns at once": graph.columns_per_block(shape.num_items)}


def trie(folder: Path, shape: PlantedConfig, watch: Watch) -> Notes:
    """The tree of all semantic IDs."""
    sids, popularity = SemanticIds.load(folder / "sids"), np.load(folder / "popularity.npy")
    with watch():
        made = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes, torch.from_numpy(popularity))
    return {"bytes an item": made.num_bytes / shape.num_items, "paths": made.num_nodes(made.num_levels)}


def decoding(folder: Path, shape: PlantedConfig, watch: Watch) -> Notes:
    """Ten items at beam 50 for shoppers of the last part, by random weights of TIGER's size; answers are checked."""
    sids, popularity = SemanticIds.load(folder / "sids"), np.load(folder / "popularity.npy")
    torch.manual_seed(0)
    model = EncoderDecoder(sids, GeneratorConfig(start="random"))
    found = GenerativeRecommender(model, sids, popularity, model.reads, BEAMS)
    last = log_of(max((folder / "log").glob("*.parquet")))
    histories = [last.history(user)[:-1] for user in range(min(ASKING, last.num_users))]
    checked = 0
    for begin in range(0, len(histories), BATCH):
        batch = question(histories[begin : begin + BATCH], Reads(HISTORY))
        with watch():
            answers = found.rank(batch, K)
        items, scores = answers.items, answers.scores
        assert ((items >= 0) & (items < shape.num_items)).all()
        assert all(len(set(row)) == K for row in items.tolist()), "an item stands twice in a list"
        assert torch.equal(found.trie.codes_of(items), torch.from_numpy(sids.codes)[items]), "an ID that no item has"
        torch.testing.assert_close(scores, found.score(batch, items), rtol=1e-4, atol=1e-4)
        checked += items.numel()
    return {"users": len(histories), "answers that are items with the ID that was found": checked}


Stage = Callable[[Path, PlantedConfig, Watch], Notes]
STAGES: dict[str, Stage] = {
    "log in Parquet (no stage)": world,
    "vectors (no stage)": vectors,
    "counting pairs": counting,
    "graph from the edge list": edge_list,
    "propagation": propagation,
    "tokenizer training": partial(scale.tokenizer_training, most=SAMPLE),
    "assignment": scale.assignment,
    "trie": trie,
    "decoding": decoding,
}


def run_here(name: str, folder: Path, items: int) -> Notes:
    """One stage in this process."""
    watch = Watch()
    notes = STAGES[name](folder, shape_of(items), watch)
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    own = watch.peak + watch.libraries
    return {"cpu": watch.processor, "wall": watch.seconds, "own": own / GB, "whole": whole / GB, **notes}


def run_apart(name: str, folder: Path, items: int) -> Notes:
    """What a stage cost, in a process of its own, or when it was done before. Its temporary files lie in the folder."""
    place = folder / f"{name}.json"
    if not place.is_file():
        limits = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "TMPDIR": str(folder)}
        words = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--items", str(items)]
        ran = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True, env={**os.environ, **limits})
        if ran.returncode:
            raise SystemExit(f"{name} ended with {ran.returncode}; the stages before it are kept in {folder}")
        write_json(place, json.loads(ran.stdout.splitlines()[-1]))
    cost: Notes = json.loads(place.read_text(encoding="utf-8"))
    print(f"  {name}: {cost}", flush=True)
    return cost


def measure(folder: Path, items: int) -> dict[str, Notes]:
    """All stages in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{shape_of(items).num_items:,} items in {folder}", flush=True)
    return {name: run_apart(name, folder, items) for name in STAGES}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 items: a run of a minute")
    parser.add_argument("--items", type=int, default=ITEMS, help="at least so many items")
    parser.add_argument("--folder", type=Path, default=Path("runs/ten-million"), help="where the files lie")
    parser.add_argument("--costs", type=Path, help="put the results into this file, too; `sidestep plan` reads them")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    words = parser.parse_args(arguments)
    if words.stage:
        print(json.dumps(run_here(words.stage, words.folder, words.items)))
        return
    if words.quick:
        with tempfile.TemporaryDirectory() as folder:
            costs = measure(Path(folder), 5_000)
    else:
        costs = measure(words.folder.absolute() / str(words.items), words.items)
    rows = [
        [name, f"{cost['cpu']:.1f} s", f"{cost['wall']:.1f} s", f"{cost['own']:.2f}", f"{cost['whole']:.2f}"]
        for name, cost in costs.items()
    ]
    print(f"\nOne thread; peak memory in GB: the process's own, and with mapped pages\n{table(rows, HEAD)}")
    over = [name for name, cost in costs.items() if cost["own"] * GB > MOST]
    print(f"Above {MOST / GB:g} GB: {', '.join(over) or 'none'}")
    found = {name: {key: _short(value) for key, value in cost.items()} for name, cost in costs.items()}
    protocol = {"threads": 1, "width": WIDTH, "sample": SAMPLE, "beams": BEAMS, "k": K, "history": HISTORY}
    if words.costs:
        content = json.loads(words.costs.read_text(encoding="utf-8"))
        content["ten million"] = line_of("ten-million", protocol, {"stages": found})
        words.costs.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    report("ten-million", protocol, {"stages": found})


def _short(value: float) -> float:
    return value if isinstance(value, int) else rounded(value)


HEAD = ["", "CPU", "wall", "own", "whole"]


if __name__ == "__main__":
    main()

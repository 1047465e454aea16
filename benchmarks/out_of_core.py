"""`make bench-out-of-core`: the memory of propagation, assignment and the trie over vectors that stay on the disk.

Every stage runs in a process of its own and is watched: the peak of what it holds itself (`RssAnon`), above what it
held when the libraries were loaded. Pages of the vectors' file are not counted: the system reads and drops them as it
has room. Beside the peak stands the formula of docs/scale.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from machine import report, rounded, table
from sidestep import artifact
from sidestep.sids import tokenizer
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.tokenizer import TokenizerConfig
from sidestep.sids.trie import Trie
from sidestep.vectors.graph import WEIGHTS_PER_BLOCK, Graph, columns_per_block, normalise, propagate
from sidestep.vectors.item_vectors import ROWS, ItemVectors
from sidestep.vectors.tape import IN_MEMORY

WIDTH, DRAWS, LEVELS, GB = 384, 10, 3, 1e9
"""Dimensions; edges drawn for an item, some of them twice; levels of an ID."""
SAMPLE, BASE = 65_536, 150e6
"""Items that the tokenizer is built from; bytes of blocks and of what libraries take at their first product."""


class Watch:
    """seconds, processor: of all blocks. peak: bytes of the process's own memory above those of its libraries."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0
        self.peak, self.libraries = 0, anonymous()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.005):
                self.peak = max(self.peak, anonymous() - self.libraries)

        thread = threading.Thread(target=look)
        thread.start()
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - wall
            self.processor += time.process_time() - processor
            ended.set()
            thread.join()


def anonymous() -> int:
    """Bytes that this process holds and no file does."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise OSError("no RssAnon in /proc/self/status; this benchmark needs Linux")


def world(folder: Path, items: int, watch: Watch) -> dict[str, Any]:
    """Vectors around 4,096 centres, and a graph whose edges join items of one centre; both written in blocks."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4_096, WIDTH), dtype=np.float32)
    with watch(), ItemVectors.filling(folder / "vectors", (items, WIDTH)) as out:
        for begin in range(0, items, ROWS):
            rows = np.arange(begin, min(begin + ROWS, items))
            out[rows[0] : rows[-1] + 1] = centres[rows % len(centres)]
            out[rows[0] : rows[-1] + 1] += rng.standard_normal((len(rows), WIDTH), dtype=np.float32)
    here = np.repeat(np.arange(items, dtype=np.int32), DRAWS)
    there = ((here + len(centres) * rng.integers(1, 9, len(here))) % items).astype(np.int32)
    upper = sparse.coo_array((np.ones(len(here), np.float32), (here, there)), shape=(items, items)).tocsr()
    edges = sparse.csr_array(upper + upper.T)
    parts = {"data": edges.data, "indices": edges.indices, "indptr": edges.indptr}
    artifact.save(folder / "graph", "graph", tensors=parts)
    return {"weights": edges.nnz}


def propagation(folder: Path, items: int, watch: Watch) -> dict[str, Any]:
    """The graph is there already: its memory is that of `graph.edges`, or of counting it."""
    edges, vectors = graph_of(folder, items), ItemVectors.load(folder / "vectors")
    with watch(), ItemVectors.filling(folder / "aligned", (items, WIDTH)) as out:
        propagate(normalise(edges), vectors.values, 0.3, 2, out=out)
    held = 8 * edges.nnz if 4 * edges.nnz <= IN_MEMORY else 0  # else on the disk
    block = 20 * min(edges.nnz, WEIGHTS_PER_BLOCK)
    return {"formula": BASE + block + held + 16 * items * columns_per_block(items) + 24 * items}


def graph_of(folder: Path, items: int) -> Graph:
    parts = artifact.load(folder / "graph", "graph", mapped=True).tensors
    return sparse.csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=(items, items))


def assignment(folder: Path, items: int, watch: Watch) -> dict[str, Any]:
    """The codes of all items. What the tokenizer has learnt does not matter here, so its codewords are drawn."""
    vectors, config = ItemVectors.load(folder / "aligned"), TokenizerConfig(train_items=SAMPLE)
    model = tokenizer.build(vectors, config, seed=0)
    sample = torch.from_numpy(tokenizer.learning_sample(vectors, config, seed=0).values)
    model.quantiser.initialize(model.encode(sample[:8_192]), torch.Generator().manual_seed(0))
    with watch():
        sids = tokenizer.semantic_ids(model, vectors, config, seed=0)
    sids.save(folder / "sids")
    return {"formula": BASE + 4 * SAMPLE * WIDTH + 24 * items * LEVELS, "paths": len(np.unique(sids.codes, axis=0))}


def trie(folder: Path, items: int, watch: Watch) -> dict[str, Any]:
    sids = SemanticIds.load(folder / "sids")
    codes, popularity = torch.from_numpy(sids.codes), torch.ones(items, dtype=torch.int64)
    with watch():
        made = Trie.build(codes, sids.codebook_sizes, popularity)
    return {"bytes an item": made.num_bytes / items}


Stage = Callable[[Path, int, Watch], dict[str, Any]]
STAGES: dict[str, Stage] = {
    "writing vectors": world,
    "propagation": propagation,
    "assignment": assignment,
    "trie": trie,
}


def run_apart(name: str, folder: Path, items: int) -> dict[str, Any]:
    words = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--items", str(items)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    cost: dict[str, Any] = json.loads(said.splitlines()[-1])
    print(f"  {name}: {cost}", flush=True)
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 items: a run of seconds")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile [a temporary folder]")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.stage:
        watch = Watch()
        notes = STAGES[words.stage](words.folder, words.items, watch)
        print(json.dumps({"cpu": watch.processor, "wall": watch.seconds, "peak": watch.peak / GB, **notes}))
        return
    items = 50_000 if words.quick else words.items
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        costs = {name: run_apart(name, Path(folder), items) for name in STAGES}
    file = 4 * items * WIDTH / GB
    print(f"\n{items:,} items x {WIDTH}: a file of {file:.2f} GB; own memory above that of the libraries, in GB")
    rows = [[name, f"{cost['cpu']:.1f} s", f"{cost['peak']:.3f}", _formula(cost)] for name, cost in costs.items()]
    print(table(rows, ["", "CPU", "peak", "formula"]))
    results = {name: {key: rounded(float(value)) for key, value in cost.items()} for name, cost in costs.items()}
    report("out-of-core", {"items": items, "width": WIDTH, "edges drawn an item": DRAWS, "threads": 1}, results)


def _formula(cost: dict[str, Any]) -> str:
    return f"{cost['formula'] / GB:.3f}" if "formula" in cost else ""


if __name__ == "__main__":
    main()

"""What `make bench-serve` serves: a made-up shop's bundle with random weights, what is asked of it, and the servers."""

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import torch
from safetensors.numpy import save_file

from shop import Shop as RealShop
from sidestep import bundle
from sidestep.config import decisive
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Ints
from sidestep.data.labels import labels
from sidestep.data.sequences import pad, question
from sidestep.data.texts import PATH
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, saved_recipe
from sidestep.pipeline.answering import Answering
from sidestep.pipeline.exporting import answers_to_check, kept_tree, trie_tensors
from sidestep.pipeline.graph import write_graph
from sidestep.pipeline.stage import TRAIN
from sidestep.recommenders.generative import GenerativeRecommender, trie_of
from sidestep.recommenders.recommender import ItemFilter
from sidestep.sids.flat_trie import FlatTrie
from sidestep.sids.semantic_ids import SemanticIds

K = 10
LEVELS, SIZE, CLUSTERS = 3, 256, 16
DEPARTMENTS, AISLES = 10, 10
KEY = "only for this benchmark"
READY = 120.0
"""Seconds that a server may take to start."""


# The shop


@dataclass(frozen=True)
class Stock:
    """What a bundle is made of besides a model. categories, popularity: of every item."""

    name: str
    catalog: Catalog
    categories: list[str]
    sids: SemanticIds
    popularity: Ints

    @classmethod
    def of(cls, shop: RealShop) -> "Stock":
        """The items of a real shop with its IDs."""
        categories = labels(shop.catalog, "category") or [""] * len(shop.catalog)
        return cls(shop.name, shop.catalog, categories, shop.sids, shop.popularity)


def made_up(items: int) -> Stock:
    """Random IDs, Zipf's popularity, a hundred aisles."""
    rng = np.random.default_rng(0)
    popularity = rng.zipf(1.3, items).clip(max=100_000).astype(np.int64)
    sids = _random_ids(rng, items)
    table = pl.DataFrame(
        {
            "item_id": [f"B{item:07}" for item in range(items)],
            "title": [f"Thing {item:,} of a made-up shop" for item in range(items)],
        }
    )
    aisles = rng.integers(0, DEPARTMENTS * AISLES, items)
    categories = [f"Department {aisle // AISLES} > Aisle {aisle % AISLES}" for aisle in aisles.tolist()]
    return Stock("made up", Catalog(table), categories, sids, popularity)


def write(folder: Path, stock: Stock, graph: bool = False, method: str = "tiger") -> Path:
    """A bundle of a generator of TIGER's size with random weights. graph: with the search as one graph, too, which
    takes a minute.
    """
    torch.manual_seed(0)
    recipe = saved_recipe({"method": method, "evaluate": {"num_beams": 10}})
    sids, popularity, items = stock.sids, stock.popularity, len(stock.catalog)
    model = METHODS[method].build(Materials(popularity, sids), recipe).eval()
    meta = {
        "method": method,
        "num_items": items,
        "codebook_sizes": list(sids.codebook_sizes),
        "thinks": METHODS[method].thinks(recipe),
        "max_history": recipe.generator.max_history,
        "beams": recipe.evaluate.num_beams,
        "version": 1,
    }
    settings = decisive(recipe, {**TRAIN.keys(recipe), "evaluate": True})
    ranker = GenerativeRecommender(model, sids, popularity, model.reads, recipe.evaluate.num_beams)
    with bundle.writing(folder, meta, {"recipe": settings}, {}) as staging:
        save_file({name: value.numpy() for name, value in model.state_dict().items()}, staging / bundle.WEIGHTS)
        save_file(sids.as_tensors(), staging / bundle.SIDS)
        tree = trie_of(sids, popularity)
        save_file(kept_tree(tree, popularity), staging / bundle.TRIE)
        if graph:
            write_graph(staging / bundle.GRAPH, model, FlatTrie.of(trie_tensors(tree)), model.reads)
        bundle.write_catalog(staging, stock.catalog, stock.categories, popularity, [])
        (staging / bundle.CHECK).write_text(json.dumps(answers_to_check(ranker, items, popularity)), encoding="utf-8")
    return folder


def _random_ids(rng: np.random.Generator, items: int) -> SemanticIds:
    return SemanticIds(
        rng.integers(0, SIZE, (items, LEVELS)),
        (SIZE,) * LEVELS,
        [rng.standard_normal((SIZE, 32)).astype(np.float32) for _ in range(LEVELS)],
        [np.arange(SIZE) % CLUSTERS for _ in range(LEVELS)],
    )


@dataclass(frozen=True)
class Shop:
    """histories: item numbers by popularity, no item twice; about as long as Beauty's, 8 items at the mean."""

    folder: Path
    item_ids: list[str]
    histories: list[Ints]
    beams: Sequence[int | None]
    category: str | None
    meta: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, number: int, beams: Sequence[int]) -> "Shop":
        found = bundle.read(folder)
        rng = np.random.default_rng(1)
        table = found.catalog.table
        weights = (found.popularity + 1) / (found.popularity + 1).sum()
        drawn = rng.choice(len(weights), size=(number, 20), p=weights)
        lengths = rng.geometric(1 / 8, number).clip(1, 20)
        histories = [np.unique(row[:length]) for row, length in zip(drawn, lengths, strict=True)]
        count = table[bundle.CATEGORY].drop_nulls().value_counts(sort=True)
        searches = found.meta["beams"] is not None
        return cls(
            folder,
            table["item_id"].to_list(),
            histories,
            beams if searches else [None],
            count[bundle.CATEGORY][0].split(PATH)[0] if len(count) else None,
            found.meta,
        )

    def bodies(self, place: Path, **asked: Any) -> str:
        """A file with a request of every history."""
        asked = {name: value for name, value in asked.items() if value is not None}
        ids = self.item_ids
        lines = [json.dumps({"history": [ids[item] for item in items], "k": K, **asked}) for items in self.histories]
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(place)


@lru_cache(1)
def _opened(folder: Path) -> Answering:
    return Answering(folder, bundle.read(folder).digest, 1)


def library(folder: Path, histories: Sequence[Ints], beams: int | None, batch: int) -> float:
    """Histories a second that the library ranks on one thread, so many at once; for a process of its own."""
    model: Any = _opened(folder).model
    model = model if beams is None else model.with_beams(beams)
    parts = [histories[begin : begin + batch] for begin in range(0, len(histories), batch)]
    questions = [(question(part, model.reads), ItemFilter(pad(part))) for part in parts]
    model.rank(questions[0][0], K, questions[0][1])
    begun = time.perf_counter()
    for asked, barred in questions:
        model.rank(asked, K, barred)
    return len(histories) / (time.perf_counter() - begun)


# The servers


class Served:
    """`sidestep serve` on a bundle, until the block ends. seconds: from the command to the first answer."""

    def __init__(self, folder: Path, log: Path, max_batch: int = 32) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "sidestep", "serve", f"shop={folder}", f"--port={self.port}"]
        settings = ["--threads=1", f"--max-batch={max_batch}", "--deadline-ms=60000", "--max-queue=4096"]
        self._command, self._log = [*command, *settings], log

    def __enter__(self) -> "Served":
        begun = time.perf_counter()
        environment = {**os.environ, "SIDESTEP_ADMIN_KEY": KEY, "OMP_NUM_THREADS": "1"}
        with self._log.open("wb") as log:
            self._process = psutil.Popen(self._command, stdout=log, stderr=log, env=environment)
        while not self._ready():
            if self._process.poll() is not None or time.perf_counter() - begun > READY:
                raise SystemExit(f"The server did not start:\n{self._log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.05)
        self.seconds = time.perf_counter() - begun
        return self

    def __exit__(self, *ended: object) -> None:
        self._process.terminate()
        self._process.wait(READY)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def admin(self, method: str, path: str, sent: Any = None) -> tuple[int, float]:
        """The status, and how many seconds it took."""
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        body = json.dumps(sent).encode() if sent is not None else b""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/admin{path}", body, headers, method=method)
        begun = time.perf_counter()
        try:
            with urllib.request.urlopen(asked, timeout=READY) as answer:
                return answer.status, time.perf_counter() - begun
        except urllib.error.HTTPError as error:
            return error.code, time.perf_counter() - begun

    @property
    def _processes(self) -> tuple[psutil.Process, psutil.Process]:
        """Of HTTP, and of the model."""
        return self._process, max(self._process.children(), key=lambda child: child.memory_info().rss)

    def memory(self) -> tuple[float, float]:
        """Megabytes of both, pages that they share counted once (PSS, on Linux; elsewhere resident)."""
        held = [process.memory_full_info() for process in self._processes]
        http, model = (getattr(each, "pss", each.rss) / 1e6 for each in held)
        return http, model

    def cpu(self) -> tuple[float, float]:
        """Seconds that both have worked."""
        http, model = (sum(process.cpu_times()[:2]) for process in self._processes)
        return http, model

"""The shop that the benchmarks work on: Beauty's log with published semantic IDs, or the planted world without them."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidestep.config import build
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, question, question_of
from sidestep.data.sources import DataConfig, read
from sidestep.data.splits import Split, SplitConfig, split
from sidestep.sids.semantic_ids import SemanticIds

TABLE = "collisiongenrec_rqvae_native"
"""Which of the published tables is taken: a plain RQ-VAE, as TIGER's paper has it."""
LEVELS, SIZE, CLUSTERS = 3, 256, 16
BEAUTY = {
    "interactions": "interactions.csv.gz",
    "items": "items.jsonl.gz",
    "order": "position",
    "time": "rel_seconds",
    "time_unit": "s",
    "absolute_times": False,
    "text_fields": [],
}


@dataclass(frozen=True)
class Shop:
    """name: what it is, for the report. sids: three levels of 256. popularity: in the training part, `[N]`."""

    name: str
    catalog: Catalog
    split: Split
    sids: SemanticIds
    popularity: Ints

    def users(self, number: int, seed: int = 0) -> Ints:
        """Test cases that stand evenly among all of them in order of length, shortest first."""
        order = np.lexsort((np.random.default_rng(seed).permutation(len(self.split.test)), self.split.test.lengths))
        return order[((np.arange(number) + 0.5) * len(order) / number).astype(np.int64)]

    def questions(self, users: Ints, batch_size: int, max_history: int = 20) -> list[SequenceBatch]:
        """What those test cases ask, `batch_size` at once."""
        return [
            question_of(self.split.test, users[begin : begin + batch_size], Reads(max_history))
            for begin in range(0, len(users), batch_size)
        ]

    def long_questions(
        self, number: int, length: int, batch_size: int, seed: int = 0, reads: Reads | None = None
    ) -> list[SequenceBatch]:
        """Histories of exactly `length` items, drawn by popularity: Beauty has too few that are long. reads: what a
        model sees of them; all where it is not given.
        """
        weights = (self.popularity + 1) / (self.popularity + 1).sum()
        drawn = np.random.default_rng(seed).choice(len(weights), size=(number, length), p=weights)
        reads = reads or Reads(length)
        return [question(list(drawn[begin : begin + batch_size]), reads) for begin in range(0, number, batch_size)]


def open_shop() -> Shop:
    """Beauty where `SIDESTEP_DATA` (or ../shared/data beside the repository) has it, otherwise the planted world."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("SIDESTEP_DATA", beside)) / "beauty"
    if (folder / "published_sids.npz").is_file():
        dataset = read(build(DataConfig, {**BEAUTY, "path": folder}), seed=0)
        with np.load(folder / "published_sids.npz", allow_pickle=False) as tables:
            codes = tables[TABLE][:, :LEVELS].astype(np.int64)
        assert dataset.catalog.item_ids == [str(row + 1) for row in range(len(codes))]
        name = f"Beauty, published IDs {TABLE}, first three levels"
    else:
        print(f"No Beauty under {str(folder)!r}; the planted world with random IDs stands in for it.")
        dataset = read(build(DataConfig, {"source": "planted"}), seed=0)
        codes = np.random.default_rng(0).integers(0, SIZE, (len(dataset.catalog), LEVELS))
        name = "planted world, random IDs"
    parts = split(dataset.interactions, SplitConfig())
    rng = np.random.default_rng(0)
    sids = SemanticIds(
        codes,
        (SIZE,) * LEVELS,
        [rng.standard_normal((SIZE, 32)).astype(np.float32) for _ in range(LEVELS)],
        [np.arange(SIZE) % CLUSTERS for _ in range(LEVELS)],
    )
    return Shop(name, dataset.catalog, parts, sids, parts.train.popularity(len(codes)))

"""`make bench-end-to-end`: from prepared interactions and semantic IDs to a table of test metrics, beside `cornac`.

Both train TIGER at its own size on the same users' targets, once, and both rank for the same test users with the same
number of beams, over IDs of four levels: three published codes, and cornac's fourth that tells apart items that share
them. The metrics only show that both arrive: so short a training teaches next to nothing.
"""

import argparse
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from cornac.data import SequentialDataset
from cornac.eval_methods.next_item_evaluation import ranking_eval
from cornac.metrics import NDCG, HitRatio
from cornac.models import TIGER

from decode import MODES
from machine import report, rounded, table, timed
from shop import CLUSTERS, Shop, open_shop
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, TrainingSequences
from sidestep.data.splits import Cases, TrainingInteractions
from sidestep.evaluation.ranking import rank_cases
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, RECIPE
from sidestep.recommenders.generative import GenerativeRecommender, Precision
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.training.loop import fit

K, BEAMS, BATCH, MAX_HISTORY = 10, 20, 256, 20
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
Scores = dict[str, float]


@dataclass(frozen=True)
class Task:
    """train: the interactions of the chosen users. cases: what is asked of the test. sids: four levels."""

    train: TrainingInteractions
    cases: Cases
    sids: SemanticIds
    popularity: Ints

    @classmethod
    def of(cls, shop: Shop, num_users: int, num_cases: int) -> "Task":
        chosen = shop.users(num_users)
        owners = np.isin(shop.split.train.users, shop.split.test.users[chosen])
        train = shop.split.train.take(owners)
        assert isinstance(train, TrainingInteractions)
        return cls(train, shop.split.test.take(shop.users(num_cases)), with_last_level(shop.sids), shop.popularity)


def with_last_level(sids: SemanticIds) -> SemanticIds:
    """The IDs with one more code, that counts items with the same ones before it."""
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    last = np.zeros(len(sids), dtype=np.int64)
    for item, sid in enumerate(map(tuple, sids.codes.tolist())):
        last[item], counts[sid] = counts[sid], counts[sid] + 1
    size = int(last.max()) + 1
    codebook = np.random.default_rng(1).standard_normal((size, sids.codebooks[0].shape[1])).astype(np.float32)
    return SemanticIds(
        np.column_stack([sids.codes, last]),
        (*sids.codebook_sizes, size),
        [*sids.codebooks, codebook],
        [*sids.clusters, np.arange(size) % CLUSTERS],
    )


@dataclass(frozen=True)
class _Batches:
    """One epoch as the pipeline's training stage serves it."""

    sequences: TrainingSequences

    def batches(self, epoch: int) -> list[Ints]:
        return self.sequences.batches(BATCH, 0, epoch)

    def load(self, index: Ints) -> SequenceBatch:
        return self.sequences.batch(index)


def with_sidestep(task: Task, method: str, mode: str, precision: Precision) -> Scores:
    """`sidestep train` and `sidestep evaluate` on the task."""
    train = {"epochs": 1, "batch_size": BATCH, "precision": precision, "warmup_steps": 0}
    recipe = RECIPE.model_validate({"method": method, "generator": MODES[mode], "train": train})
    materials = Materials(task.popularity, task.sids)
    torch.manual_seed(0)
    model = METHODS[method].build(materials, recipe)
    data = _Batches(TrainingSequences(task.train, Reads(MAX_HISTORY), every_position=mode == "causal"))
    fit(model, METHODS[method].objective(materials, recipe), data, recipe.train, seed=0)
    recommender = GenerativeRecommender(model, task.sids, task.popularity, Reads(MAX_HISTORY), BEAMS, precision)
    ranks = rank_cases(recommender, task.cases, k=K, seen="kept", batch_size=64)
    return {name: float(ranks.values(f"{name}@{K}").mean()) for name in ("HR", "NDCG")}


class GivenIds(TIGER):
    """cornac's TIGER with semantic IDs that are given instead of learnt."""

    def __init__(self, codes: Ints) -> None:
        super().__init__(max_len=MAX_HISTORY, n_epochs=1, batch_size=BATCH, n_beams=BEAMS, seed=0, device="cpu")
        self.given = codes

    def _get_item_features(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.zeros((self.total_items, 1), dtype=np.float32)

    def _tokenize(self, torch: Any, features: Any) -> Ints:
        return self.given


def with_cornac(task: Task) -> Scores:
    """Its `fit`, and its own evaluation of the last item of every test session."""
    items = OrderedDict((item, item) for item in range(len(task.sids)))
    build = partial(SequentialDataset.build, fmt="USIT", global_iid_map=items)
    train = build(_sessions(task.train, np.arange(task.train.num_users), task.train.offsets[1:]))
    test = build(_sessions(task.cases.interactions, task.cases.users, task.cases.rows + 1))
    model = GivenIds(task.sids.codes[:, :-1])
    model.fit(train)
    assert (model.sid_table == task.sids.codes).all()
    metrics = {"HR": HitRatio(k=K), "NDCG": NDCG(k=K)}
    means, _ = ranking_eval(model, list(metrics.values()), train, test, exclude_unknowns=False)
    return dict(zip(metrics, map(float, means), strict=True))


def _sessions(log: Interactions, users: Ints, ends: Ints) -> list[tuple[int, int, int, int]]:
    """User, session, item, time of everything the users did before some rows of the log; a user is one session."""
    rows: list[tuple[int, int, int, int]] = []
    for user, end in zip(users.tolist(), ends.tolist(), strict=True):
        begin = int(log.offsets[user])
        rows += [(user, user, item, time) for time, item in enumerate(log.items[begin:end].tolist())]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    shop = open_shop()
    task = Task.of(shop, *((8, 4) if quick else (400, 200)))
    targets = int((task.train.lengths - 1).clip(min=0).sum())
    print(f"{shop.name}, and a fourth level; {targets} targets to train on, {len(task.cases)} users to rank for")
    contestants: dict[str, Callable[[], Scores]] = {"cornac TIGER": partial(with_cornac, task)}
    for method in ("tiger", "s2gr"):
        for mode in MODES:
            for precision in PRECISIONS:
                name = f"sidestep {method.upper()}, {mode} {precision}"
                contestants[name] = partial(with_sidestep, task, method, mode, precision)
    seconds, scores = {}, {}
    for name, run in contestants.items():
        seconds[name], scores[name] = timed(run)
    first = seconds["cornac TIGER"]
    rows = [
        [name, f"{took:.1f}", f"{first / took:.1f}", *(f"{score:.4f}" for score in scores[name].values())]
        for name, took in seconds.items()
    ]
    print(table(rows, ["one thread", "CPU s", "cornac / this", f"HR@{K}", f"NDCG@{K}"]))
    protocol = {"shop": shop.name, "targets": targets, "users ranked": len(task.cases), "beams": BEAMS, "batch": BATCH}
    ratios = {f"cornac/{name}": rounded(first / took) for name, took in seconds.items()}
    report(
        "end-to-end",
        {**protocol, "quick": quick, "threads": 1},
        {"seconds": {name: rounded(took) for name, took in seconds.items()}, "ratios": ratios},
    )


if __name__ == "__main__":
    main()

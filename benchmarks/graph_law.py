"""`make bench-graph-law`: does the exported search answer as the eager one does, after thousands of histories?

A generator of TIGER's size with random weights on Beauty's catalogue, which finds no code likely, so that scores lie
as near to each other as they ever do. Histories are of 0 to 1,000 items drawn by popularity, their lengths spread
evenly on a logarithmic scale; filters allow all items, a category or a share of them, and bar nothing, the history or
a thousand items; lists have 1 to 100 items. Scores of both may differ by `CLOSE`, so that items whose scores lie nearer
to each other than that may change places: lists that differ in their order alone are counted apart.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from answers import graph_of
from decode import make
from machine import report, rounded
from shop import open_shop
from sidestep import bundle
from sidestep.data.interactions import Ints
from sidestep.data.labels import labels as labels_of
from sidestep.data.sequences import pad, question
from sidestep.fast.recommender import GraphRecommender, open_recommender
from sidestep.pipeline.exporting import recommender_of
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.recommenders.step import RankedRow
from sidestep.sids.flat_trie import Laid

KINDS = ("TIGER", "S2GR")
CLOSE = 1e-5
LENGTHS, BATCH, BEAMS = 1_000, 32, 50
SIZES, TOLD = (1, 5, 10, 50, 100), 1_000


@dataclass(frozen=True)
class Ask:
    """Histories that share what is allowed (None for all) and the length of the list, and what is barred for each."""

    histories: list[Ints]
    barred: list[Ints]
    allowed: Ints | None
    k: int


def asks(popularity: Ints, labels: Sequence[str | None], number: int, seed: int = 0) -> Iterator[Ask]:
    """Batches of them, `number` histories together. labels: the category of every item."""
    rng = np.random.default_rng(seed)
    num_items, categories = len(popularity), np.array([label or "" for label in labels])
    shares = (popularity + 1) / (popularity + 1).sum()
    for begin in range(0, number, BATCH):
        rows = min(BATCH, number - begin)
        lengths = (LENGTHS + 1) ** rng.random(rows) - rng.integers(0, 2, rows) * (rng.random(rows) < 0.1)
        histories = [rng.choice(num_items, int(length), p=shares) for length in lengths]
        empty = [np.empty(0, dtype=np.int64)] * rows
        many = [rng.integers(0, num_items, 1_000) for _ in range(rows)]
        allowed = [None, categories == rng.choice(categories), rng.random(num_items) < 10.0 ** rng.uniform(-3, 0)]
        barred = [empty, histories, many][rng.integers(3)]
        yield Ask(histories, barred, allowed[rng.integers(3)], int(rng.choice(SIZES)))


@torch.no_grad()
def compared(eager: GenerativeRecommender, graph: GraphRecommender, ask: Ask) -> tuple[list[str], float]:
    """What came of every list, and the largest difference of two scores."""
    allowed = None if ask.allowed is None else torch.from_numpy(ask.allowed)
    theirs = eager.rank(question(ask.histories, eager.reads), ask.k, ItemFilter(pad(ask.barred), allowed))
    laid = None if ask.allowed is None else Laid.over(graph.trie, ask.allowed)
    ours = graph.rank(ask.histories, [row.tolist() for row in ask.barred], ask.k, laid)
    found, most = [], 0.0
    for row, answer in enumerate(ours):
        items = theirs.items[row][theirs.items[row] >= 0].tolist()
        scores = theirs.scores[row][: len(items)].numpy()
        if len(answer.items) == len(items):
            most = max(most, float(np.abs(np.array(answer.scores) - scores).max(initial=0)))
        found.append(_outcome(answer, items, scores))
        if found[-1] == "different":
            print(f"different: {answer.items} {answer.scores} where eager has {items} {scores.tolist()}")
    return found, most


def _outcome(ours: RankedRow, items: Sequence[int], scores: np.ndarray) -> str:  # type: ignore[type-arg]
    if ours.items == items:
        return "the same"
    runs = np.cumsum(np.abs(np.diff(scores, prepend=scores[:1])) > CLOSE)
    whole = [np.flatnonzero(runs == run) for run in range(int(runs[-1]))]  # the last one may go on behind the list
    alike = len(ours.items) == len(items) and all(
        sorted(ours.items[place] for place in places) == sorted(items[place] for place in places) for places in whole
    )
    return "another order of equals" if alike else "different"


def judged(
    name: str, eager: GenerativeRecommender, graph: GraphRecommender, asked: Iterator[Ask]
) -> dict[str, float | bool]:
    """How many lists came out how, told while it goes on, and the largest difference of two scores."""
    counts, most = Counter[str](), 0.0
    for ask in asked:
        outcomes, difference = compared(eager, graph, ask)
        before = counts.total() // TOLD
        counts.update(outcomes)
        most = max(most, difference)
        if counts.total() // TOLD > before:
            print(f"{name}: {_told(counts, most)}", flush=True)
    print(f"{name}: {_told(counts, most)}")
    return {**counts, "largest difference": rounded(most), "within 1e-5": most <= CLOSE}


def _told(counts: Counter[str], most: float) -> str:
    outcomes = ", ".join(f"{outcome} {count:,}" for outcome, count in counts.most_common())
    return f"{counts.total():,} histories, {outcomes}; scores differ by {most:.1e} at most"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    parser.add_argument("--bundle", type=Path, help="one with a graph; else models with random weights are exported")
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--beams", type=int, default=BEAMS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    number, beams, found = 64 if options.quick else options.histories, options.beams, {}
    if options.bundle is not None:
        opened, graph = open_recommender(options.bundle)
        eager, categories = recommender_of(opened), opened.catalog.table[bundle.CATEGORY].to_list()
        assert isinstance(eager, GenerativeRecommender)
        asked = asks(opened.popularity, categories, number)
        name = opened.meta["method"]
        found[name] = judged(name, eager.with_beams(beams), graph.with_beams(beams), asked)
    for place, kind in enumerate(KINDS[: 0 if options.bundle else 1 if options.quick else None]):
        shop = open_shop()
        shape = {"encoder_layers": 1, "decoder_layers": 1} if options.quick else {}
        model = make(shop, kind, "causal", **shape)
        eager = GenerativeRecommender(model, shop.sids, shop.popularity, model.reads, beams)
        categories = labels_of(shop.catalog, "category") or [None] * len(shop.popularity)
        asked = asks(shop.popularity, categories, number // len(KINDS), place)
        found[kind] = judged(kind, eager, graph_of(shop, model).with_beams(beams), asked)
    protocol = {"bundle": str(options.bundle or "random weights"), "histories": number, "beams": beams}
    report("graph_law", {**protocol, "quick": options.quick}, found)


if __name__ == "__main__":
    main()

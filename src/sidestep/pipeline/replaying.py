"""Judging a run by the clock: its test cases once more, as a server would have met them one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sidestep.data.interactions import Ints
from sidestep.data.sources.worlds import best_possible, planted_world
from sidestep.data.windows import shown
from sidestep.evaluation.ranking import RankTable, Seen, summary
from sidestep.evaluation.replay import by_time, check, replayed
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.evaluate import baselines_for, depths, held_out_repeats, main_depth, protocol
from sidestep.pipeline.run import Run
from sidestep.progress import meter
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import Recommender
from sidestep.recommenders.sliced import OnAirRecommender
from sidestep.scorers.by_clock import PopularityByClock

DAY = 86_400_000
STRETCHES = 10
"""Of the replayed time, where there are no slices, or more of them than this."""


@dataclass(frozen=True)
class Replay:
    """table: a row per method, as `ranking.summary` names the columns. by_time: see `evaluation.replay.by_time`, with
    `from` in words. protocol: to be quoted with every figure. best_possible: of a planted world, with `seen` kept.
    """

    table: pl.DataFrame
    by_time: Sequence[dict[str, Any]]
    protocol: str
    best_possible: float | None
    at: tuple[int, ...]

    @property
    def main(self) -> str:
        return f"HR@{main_depth(self.at)}"

    def as_json(self) -> dict[str, Any]:
        best = {f"best_possible_{self.main}": self.best_possible}
        return {"protocol": self.protocol, **best, "rows": self.table.to_dicts(), "by_time": [*self.by_time]}


def replay(run: Run, at: Sequence[int], say: Callable[[str], None]) -> Replay:
    """Replay the log and rank the test cases as the clock reaches them: the trained model, the baselines, and the
    popularity of all before and of the day before. Where a held-out item may be a repetition, seen items are kept in
    the lists.

    at: the K of the metrics; none takes the recipe's.

    Raises:
        DataError: a log without absolute times. ConfigError: a K below 1 or above the length of the lists.
    """
    contents, ks = RunContents(run), depths(run, at)
    cases, recipe = contents.split.test, run.recipe
    check(cases.interactions)
    later = int((contents.split.train.known_times > cases.asked.min()).sum())
    if later:
        say(
            f"note: {later:,} of {len(contents.split.train):,} training interactions are later than the first replayed "
            "one, so the model has seen others' future; split.kind=global-time trains on none of them"
        )
    seen: Seen = "kept" if held_out_repeats(cases) else "masked"
    begins = np.empty(0, dtype=np.int64) if contents.timeline is None else contents.timeline.starts[1:]
    tables: dict[str, RankTable] = {}
    for name, recommender in _rows(contents):
        with meter(f"replay {name}", len(cases)) as shown_progress:
            tables[name] = replayed(
                recommender, cases, k=recipe.evaluate.k, seen=seen, at_once=recipe.evaluate.batch_size, slices=begins,
                progress=lambda done, total: shown_progress.update(done),
            )  # fmt: skip
    best = None
    if recipe.data.source == "planted" and seen == "kept":
        time = contents.method.time(recipe)
        world = planted_world(recipe.data.planted, recipe.seed)
        best = best_possible(world, cases, main_depth(ks), time.history, time.request)
    rows = [summary([found], ks).select(pl.lit(name).alias("method"), pl.all()) for name, found in tables.items()]
    stretches = by_time(tables, cases, _stretches(cases.asked, begins), f"HR@{main_depth(ks)}")
    words = f"replayed by the clock, {protocol(run)}"
    return Replay(pl.concat(rows), [{**row, "from": shown(row["from"])} for row in stretches], words, best, ks)


def _rows(contents: RunContents) -> Iterator[tuple[str, Recommender]]:
    """What is replayed, by name; all of it with what is on air, where the run has slices."""
    log, count = contents.interactions, len(contents.catalog)
    for name, span in (("popularity-so-far", None), ("popularity-day", DAY)):
        scorer = PopularityByClock.of(log, count, span)
        counted: Recommender = ItemwiseRecommender(scorer, count, scorer.reads)
        yield name, counted if contents.timeline is None else OnAirRecommender(counted, contents.timeline)
    repeats = held_out_repeats(contents.split.test)
    for name in (*baselines_for(contents.recipe, repeats), contents.recipe.method):
        yield name, contents.recommender(name)


def _stretches(asked: Ints, begins: Ints) -> Ints:
    """When the stretches of the table begin: the slices that hold cases, or equal parts of the time."""
    if len(begins):
        held = np.unique(np.maximum(np.searchsorted(begins, asked, side="right") - 1, 0))
        if len(held) <= STRETCHES:
            return begins[held]
    first, last = int(asked.min()), int(asked.max())
    return np.unique(np.linspace(first, last + 1, STRETCHES + 1).astype(np.int64)[:-1])

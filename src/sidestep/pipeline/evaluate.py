"""Judging a run: every recommender on the same cases, at item level, with each user's rank kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import polars as pl

from sidestep import artifact
from sidestep.data.sources.planted import PlantedWorld
from sidestep.errors import ArtifactError, ConfigError
from sidestep.evaluation import significance
from sidestep.evaluation.ranking import RankTable, Seen, rank_cases, summary
from sidestep.pipeline.run import Run
from sidestep.pipeline.world import World
from sidestep.progress import meter

METRICS = ("HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR@10")


@dataclass(frozen=True)
class Evaluation:
    """table: a row per method, seen items {masked, kept} and users {all, >=10}, as `ranking.summary` names the columns.
    protocol: what else must be said beside a figure. best_possible: HR@10 nobody can beat, where a planted world
    tells (all items rankable). example_user: somebody to try `recommend` on.
    """

    table: pl.DataFrame
    protocol: str
    best_possible: float | None
    example_user: str

    def as_json(self) -> dict[str, Any]:
        return {"protocol": self.protocol, "best_possible_HR@10": self.best_possible, "rows": self.table.to_dicts()}


def evaluate(run: Run) -> Evaluation:
    """Rank the test cases with the trained model, popularity and item-kNN; what is ranked already is read."""
    world = World(run)
    settings = run.recipe.evaluate.model_dump(mode="json", include={"num_beams", "k"})
    settings["split"] = run.recipe.split.model_dump(mode="json")
    parents = {name: run.digest(name) for name in ("interactions", "sids", "model")}
    tables = []
    for name in ("popularity", "item-knn", run.recipe.method):
        for seen in get_args(Seen):
            stage = f"evaluation/{name}-{seen}"
            if not run.done(stage, settings, parents):
                _rank(world, name, seen).save(run.path(stage), config=settings, parents=parents)
            ranks = RankTable.load(run.path(stage))
            tables.append(summary([ranks]).select(pl.lit(name).alias("method"), pl.all()))
    best = None
    if run.recipe.data.source == "planted":
        planted = PlantedWorld(run.recipe.data.planted, run.recipe.seed)
        best = planted.best_possible(world.split.test, 10)
    example = world.interactions.user_ids[int(world.split.test.users[0])]
    return Evaluation(pl.concat(tables, how="diagonal"), protocol(run), best, example)


def protocol(run: Run) -> str:
    """What a reader must know to compare a figure with another."""
    recipe = run.recipe
    return (
        f"{recipe.split.kind}, full ranking at item level, ties {recipe.data.ties}, seed {recipe.seed}, "
        f"{recipe.evaluate.num_beams} beams, log-probabilities over the full codebook"
    )


def _rank(world: World, name: str, seen: Seen) -> RankTable:
    recipe, cases = world.run.recipe, world.split.test
    with meter(f"evaluate {name}, seen {seen}", len(cases)) as shown:
        return rank_cases(
            world.recommender(name),
            cases,
            k=recipe.evaluate.k,
            seen=seen,
            batch_size=recipe.evaluate.batch_size,
            codes=world.sids.codes,
            progress=lambda done, total: shown.update(done),
        )


def compare(first: Path, second: Path) -> list[dict[str, Any]]:
    """The models of two evaluated runs on the same users: means, difference, 95 % interval and p for each metric.

    Raises:
        ArtifactError: a folder without evaluation. DataError: other users or targets. ConfigError: twice the same run.
    """
    if first.resolve() == second.resolve():
        raise ConfigError(f"Expected two runs to compare, got {str(first)!r} twice")
    rows = []
    for seen in get_args(Seen):
        pair = [_ranks(folder, seen) for folder in (first, second)]
        for users, length in (("all", 0), (">=10", 10)):
            parts = [ranks.longer_than(length) for ranks in pair]
            if not len(parts[0]):
                continue
            for metric in METRICS:
                found = significance.compare(parts[0], parts[1], metric)
                rows.append(
                    {
                        "seen": seen,
                        "users": users,
                        "num_users": found.num_users,
                        "metric": metric,
                        "first": found.first,
                        "second": found.second,
                        "difference": found.difference,
                        "low": found.low,
                        "high": found.high,
                        "p": found.p,
                    }
                )
    return rows


def _ranks(folder: Path, seen: Seen) -> RankTable:
    path = folder / "evaluation" / f"{Run.open(folder).recipe.method}-{seen}"
    if not artifact.exists(path):
        raise ArtifactError(f"{str(folder)!r} has not been evaluated; run sidestep evaluate {folder} first")
    return RankTable.load(path)

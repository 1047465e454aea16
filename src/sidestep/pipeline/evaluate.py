"""Judging a run: every recommender on the same cases, at item level, with each user's rank kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from sidestep import artifact
from sidestep.data.sources.worlds import best_possible, planted_world
from sidestep.data.splits import Cases
from sidestep.errors import ArtifactError, ConfigError
from sidestep.evaluation import significance
from sidestep.evaluation.metrics import METRICS
from sidestep.evaluation.ranking import RankTable, Seen, rank_cases, summary
from sidestep.evaluation.second_look import second_looks
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import NON_NEURAL, OWN_COUNTS, OWN_COUNTS_BY_HOUR, method_of
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.pipeline.settings import changes
from sidestep.pipeline.stage import Stage, timeline_of
from sidestep.progress import meter
from sidestep.recommenders.recommender import Recommender


@dataclass(frozen=True, repr=False)
class Evaluation:
    """table: a row per method, seen items {masked, kept} and users {all, >=10}, as `ranking.summary` names the columns,
    with what is beyond accuracy.
    protocol: to be quoted with every figure. best_possible: the upper bound of the `main` figure, known for a planted
    world (all items rankable). example_user: a user to try `recommend` on.
    at: the K of the metrics, rising. repeats: whether some user's history holds the item that is held out.
    second_look: for a method that puts candidates in a new order, the rows of `evaluation.second_look`.
    """

    table: pl.DataFrame
    protocol: str
    best_possible: float | None
    example_user: str
    at: tuple[int, ...] = (5, 10)
    repeats: bool = False
    second_look: Sequence[Mapping[str, Any]] = ()

    @property
    def main(self) -> str:
        """The metric that stands for all: HR@10, or HR at the largest K where 10 is none of them."""
        return f"HR@{main_depth(self.at)}"

    def __repr__(self) -> str:
        masked = self.table.filter((pl.col("seen") == "masked") & (pl.col("users") == "all"))
        figures = ", ".join(f"{name} {value:.4f}" for name, value in masked.select("method", self.main).iter_rows())
        return f"<Evaluation: {self.main} {figures}; {self.protocol}; see .table>"

    def as_json(self) -> dict[str, Any]:
        best = {f"best_possible_{self.main}": self.best_possible}
        looks = {"second_look": [*self.second_look]} if self.second_look else {}
        return {"protocol": self.protocol, **best, "rows": self.table.to_dicts(), **looks}


def main_depth(at: Sequence[int]) -> int:
    return 10 if 10 in at else max(at)


def evaluate(run: Run, at: Sequence[int] = ()) -> Evaluation:
    """Rank the test cases with the trained model and the baselines without training; what is ranked already is read.

    at: the K of the metrics; none takes the recipe's.

    Raises:
        ConfigError: a K below 1 or above the length of the lists.
    """
    contents, ks = RunContents(run), depths(run, at)
    repeats = held_out_repeats(contents.split.test)
    look, baselines = contents.method.second_look(run.recipe), baselines_for(run.recipe, repeats)
    first = [look.first] if look is not None and look.first not in baselines else []
    ranks = {name: ranked(contents, name) for name in (*baselines, *first, run.recipe.method)}
    tables = [
        summary(found, ks, contents.popularity).select(pl.lit(name).alias("method"), pl.all())
        for name, found in ranks.items()
    ]
    looks = [] if look is None else second_looks(ranks[look.first], ranks[run.recipe.method], look.candidates)
    best = best_of(contents, main_depth(ks))
    example = contents.interactions.user_ids[int(contents.split.test.users[0])]
    table = pl.concat(tables, how="diagonal")
    return Evaluation(table, protocol(run), best, example, ks, repeats, looks)


def best_of(contents: RunContents, k: int) -> float | None:
    """The best possible HR@k of the test cases where the data is planted; else None."""
    recipe = contents.run.recipe
    if recipe.data.source != "planted":
        return None
    planted, time = planted_world(recipe.data.planted, recipe.seed), method_of(recipe).time(recipe)
    return best_possible(planted, contents.split.test, k, time.history, time.request)


def judged(run: Run) -> Evaluation | None:
    """The evaluation of a run whose test cases are ranked by its current model; None where they are not."""
    makes = rank_stage(run, run.recipe.method).makes
    if not all(artifact.exists(run.path(name)) for name in makes):
        return None
    try:
        return evaluate(run)
    except ArtifactError:  # of another model
        return None


def ranked(contents: RunContents, name: str) -> list[RankTable]:
    """The test cases ranked by one method with seen items masked and kept; what is ranked already is read.

    name: the run's method, or one that needs no training and so nothing but the prepared log.
    """
    run, stage = contents.run, rank_stage(contents.run, name)
    settings, parents = stage.settings(run.recipe), stage.parents(run)
    tables = dict(zip(get_args(Seen), stage.makes, strict=True))
    missing = {seen: table for seen, table in tables.items() if not _ranked(run, table, settings, parents)}
    if missing:
        with run.writing():
            recommender = contents.recommender(name)
            for seen, table in missing.items():
                _rank(contents, name, recommender, seen).save(run.path(table), config=settings, parents=parents)
    return [_loaded(contents, table, seen) for seen, table in tables.items()]


def _loaded(contents: RunContents, stage: str, seen: Seen) -> RankTable:
    """Raises:
    ArtifactError: these are the ranks of other test cases.
    """
    path, cases = contents.run.path(stage), contents.split.test
    found = RankTable.load(path)
    wanted = {"user": cases.users, "target": cases.targets}
    same = all(np.array_equal(found.table[name].to_numpy(), values) for name, values in wanted.items())
    if found.seen != seen or not same:
        raise ArtifactError(f"{str(path)!r} ranks other cases than the run's own; make it again with --force")
    return found


def rank_stage(run: Run, name: str) -> Stage:
    """The ranking of the test cases by the run's method, or by one that needs no training."""
    trained = name not in NON_NEURAL
    still = run.recipe.slices.kind == "none"
    sids = ["sids"] * (still and method_of(run.recipe).needs.ids and artifact.exists(run.path("sids")))
    air = [] if still else [timeline_of(run.recipe)]
    return Stage(
        "evaluate",
        tuple(f"evaluation/{name}-{seen}" for seen in get_args(Seen)),
        lambda recipe: {"split": True, "evaluate": method_of(recipe).ranking if trained else frozenset({"k"})},
        lambda _: ("interactions", *sids, *air, *["model"] * trained),
    )


def depths(run: Run, at: Sequence[int]) -> tuple[int, ...]:
    """The K of the metrics, rising; none takes the recipe's.

    Raises:
        ConfigError: a K below 1 or above the length of the lists.
    """
    ks, longest = tuple(sorted(set(at or run.recipe.evaluate.at))), run.recipe.evaluate.k
    if ks[0] < 1 or ks[-1] > longest:
        raise ConfigError(
            f"Cannot compute metrics at {', '.join(map(str, ks))} from lists of {longest}; expected numbers from 1 to "
            f"{longest}, or longer lists: run the recipe again with evaluate.k={max(ks[-1], 10)}"
        )
    return ks


def _ranked(run: Run, stage: str, settings: Mapping[str, Any], parents: Mapping[str, str]) -> bool:
    """Whether the ranks are there. Those from other beams, of another length, or of an older release that hung them on
    other stages, are no other run: rank anew.
    """
    path = run.path(stage)
    if not run.force and artifact.exists(path):
        manifest = artifact.read_manifest(path)
        if changes(manifest.config, settings) or manifest.parents.keys() != parents.keys():
            return False
    return run.done(stage, settings, parents)


def baselines_for(recipe: Recipe, repeats: bool) -> tuple[str, ...]:
    """The baselines without training: one that knows the request's time stands beside models that know it, too.

    repeats: whether some held-out item is a repetition.
    """
    told = method_of(recipe).time(recipe).request
    idle = {OWN_COUNTS: not repeats, OWN_COUNTS_BY_HOUR: not (repeats and told)}
    return tuple(name for name in NON_NEURAL if not idle.get(name))


def held_out_repeats(cases: Cases) -> bool:
    """Whether some held-out item is a repetition."""
    return any(target in cases.history(case) for case, target in enumerate(cases.targets))


def protocol(run: Run) -> str:
    """What a reader must know to compare a figure with another."""
    recipe = run.recipe
    words = f"{recipe.split.name}, full ranking at item level, ties {recipe.data.ties}, seed {recipe.seed}"
    air = ["what is on air at the time of each target, for all rows"] if recipe.slices.kind != "none" else []
    return ", ".join([words, *air, *method_of(recipe).search_protocol(recipe)])


def _rank(contents: RunContents, name: str, recommender: Recommender, seen: Seen) -> RankTable:
    recipe, cases = contents.run.recipe, contents.split.test
    with meter(f"evaluate {name}, seen {seen}", len(cases)) as progress:
        return rank_cases(
            recommender,
            cases,
            k=recipe.evaluate.k,
            seen=seen,
            batch_size=recipe.evaluate.batch_size,
            codes=contents.sids.codes if "sids" in rank_stage(contents.run, name).reads(recipe) else None,
            num_items=len(contents.catalog),
            progress=lambda done, total: progress.update(done),
        )


def compare(first: Path, second: Path) -> list[dict[str, Any]]:
    """The models of two evaluated runs on the same users: means, difference, 95 % interval and p for each metric.

    The K are those of both recipes, as far as both lists reach.

    Raises:
        ArtifactError: a folder without evaluation, or with that of another model. DataError: other users or targets.
        ConfigError: twice the same run.
    """
    if first.resolve() == second.resolve():
        raise ConfigError(f"Expected two runs to compare, got {str(first)!r} twice")
    rows, runs = [], [Run.open(folder) for folder in (first, second)]
    at = sorted({k for run in runs for k in run.recipe.evaluate.at})
    for seen in get_args(Seen):
        pair = [ranks_of(run, run.recipe.method, seen) for run in runs]
        metrics = [f"{name}@{k}" for name in METRICS for k in at if k <= min(ranks.k for ranks in pair)]
        for users, length in (("all", 0), (">=10", 10)):
            parts = [ranks.at_least(length) for ranks in pair]
            if not len(parts[0]):
                continue
            for metric in metrics:
                test = significance.compare(parts[0], parts[1], metric)
                rows.append(
                    {
                        "seen": seen,
                        "users": users,
                        "num_users": test.num_users,
                        "metric": metric,
                        "first": test.first,
                        "second": test.second,
                        "difference": test.difference,
                        "low": test.low,
                        "high": test.high,
                        "p": test.p,
                    }
                )
    return rows


def ranks_of(run: Run, name: str, seen: Seen) -> RankTable:
    """The finished ranks of one method.

    Raises:
        ArtifactError: there are none, or they are those of another model.
    """
    path = run.path(f"evaluation/{name}-{seen}")
    if not artifact.exists(path):
        raise ArtifactError(f"{str(run.folder)!r} has not been evaluated; run sidestep evaluate {run.folder} first")
    parents = rank_stage(run, name).parents(run)
    if not parents.items() <= {**parents, **artifact.read_manifest(path).parents}.items():
        raise ArtifactError(
            f"{str(path)!r} ranks another model than {str(run.folder)!r} now holds; run "
            f"sidestep evaluate {run.folder} --force first"
        )
    return RankTable.load(path)

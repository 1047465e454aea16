"""All methods of two evaluated runs in one table: what a reader wants to know after the tests of a comparison."""

from dataclasses import dataclass
from pathlib import Path

from sidestep import artifact
from sidestep.evaluation.ranking import RankTable, Seen
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.evaluate import baselines_for, best_of, held_out_repeats, main_depth, ranks_of
from sidestep.pipeline.run import Run

SECOND = "NDCG"


@dataclass(frozen=True)
class Standing:
    """A method's figures over all users. run: the place of the run that trained it; None for what needs no training."""

    method: str
    run: int | None
    figures: tuple[float, ...]


@dataclass(frozen=True)
class Standings:
    """rows: the best first. metrics: of their figures. seen: how the items of a history are treated. num_users: judged.
    best_possible: of the first metric, where the data is planted.
    """

    rows: tuple[Standing, ...]
    metrics: tuple[str, ...]
    seen: Seen
    num_users: int
    best_possible: float | None


def standings(first: Path, second: Path) -> Standings:
    """The models of two evaluated runs and the baselines that were ranked with them, over all users. Seen items are
    kept where the best possible is known or users repeat items, as in a report; else masked. Nothing is ranked.

    Raises:
        ArtifactError: a folder without evaluation, or with that of another model.
    """
    runs = [Run.open(folder) for folder in (first, second)]
    contents, recipe = RunContents(runs[0]), runs[0].recipe
    at = {k for run in runs for k in run.recipe.evaluate.at}
    k = main_depth([k for k in at if k <= min(run.recipe.evaluate.k for run in runs)])
    repeats, best = held_out_repeats(contents.split.test), best_of(contents, k)
    seen: Seen = "kept" if repeats or best is not None else "masked"
    metrics = (f"HR@{k}", f"{SECOND}@{k}")
    tables: dict[tuple[str, int | None], RankTable] = {
        (run.recipe.method, place): ranks_of(run, run.recipe.method, seen) for place, run in enumerate(runs)
    }
    for name in baselines_for(recipe, repeats):
        if artifact.exists(runs[0].path(f"evaluation/{name}-{seen}")):
            tables[name, None] = ranks_of(runs[0], name, seen)
    rows = [
        Standing(name, place, tuple(float(ranks.values(metric).mean()) for metric in metrics))
        for (name, place), ranks in tables.items()
    ]
    num_users = len(tables[recipe.method, 0])
    return Standings(tuple(sorted(rows, key=lambda row: row.figures, reverse=True)), metrics, seen, num_users, best)

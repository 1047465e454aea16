"""Everything about a run that a report shows. What is not there yet is None or empty."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np

from sidestep import artifact
from sidestep.config import flat
from sidestep.data.splits import Cases
from sidestep.evaluation.ranking import RankTable, Seen
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import NON_NEURAL
from sidestep.pipeline.analyse import Analysis, analyse
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.evaluate import Evaluation, compare, evaluate, protocol
from sidestep.pipeline.run import Run
from sidestep.pipeline.tuning import Neighbourhoods, neighbourhoods_of
from sidestep.recipes.spelling import command_of
from sidestep.recommenders.facade import Answer
from sidestep.recommenders.trained import TrainedModel
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.training.log import read_log

AT_RANDOM, HITS = 3, 2
"""Example users: so many drawn from all test users, then so many from those whose held-out item was found."""

ANALYSED = 300
"""Test users whose paths are analysed: a report takes seconds."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """A test user: history and target as (item_id, title), oldest first; seen items are masked, except the target.

    drawn: how the user was chosen.
    """

    user: str
    history: list[tuple[str, str]]
    target: tuple[str, str]
    answer: Answer
    drawn: str

    @property
    def place(self) -> int | None:
        """The place of the target among the answers, from 1."""
        ids = self.answer.item_ids
        return ids.index(self.target[0]) + 1 if self.target[0] in ids else None


@dataclass(frozen=True)
class Counts:
    """The sizes of the log: users, items, interactions, test users."""

    users: int
    items: int
    interactions: int
    test_users: int


@dataclass(frozen=True)
class Provenance:
    """How a run was made.

    command: what makes it again. date: when its training ended, in UTC. seconds: of all epochs, by what was trained;
    validation is not counted.
    """

    command: str
    date: str | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class Beside:
    """A second run, on the same users.

    name: of its folder. rows: of `compare`, it first and the report's own run second.
    settings: the keys in which they differ, with the value there and here.
    """

    name: str
    method: str
    rows: list[Row]
    training: list[Row]
    settings: list[tuple[str, Any, Any]]

    @property
    def label(self) -> str:
        return f"{self.method} ({self.name})"

    def value(self, seen: str, metric: str) -> float | None:
        """A metric of the second run over all users."""
        rows = (row for row in self.rows if (row["seen"], row["users"], row["metric"]) == (seen, "all", metric))
        return next((float(row["first"]) for row in rows), None)


@dataclass(frozen=True)
class Findings:
    """name: of the run folder. ranks: of every method, by seen items and method, for `evaluation`.
    training, tokenizing: the rows of the two logs. cluster_names: per level, a name per cluster. analysis: of some test
    users' paths, for a trained generator of semantic IDs.
    neighbourhoods: what tuning did to the vectors; None where they are not tuned.
    """

    name: str
    recipe: Recipe
    protocol: str
    counts: Counts | None
    evaluation: Evaluation | None
    ranks: dict[str, dict[str, RankTable]]
    training: list[Row]
    tokenizing: list[Row]
    sids: SemanticIds | None
    cluster_names: list[list[str]]
    examples: list[Example]
    analysis: Analysis | None
    digests: dict[str, str]
    provenance: Provenance
    neighbourhoods: Neighbourhoods | None = None
    beside: Beside | None = None

    @property
    def thinks(self) -> bool:
        """Whether thoughts were supervised in training."""
        return any(name.startswith("thought_accuracy_") for row in self.training[:1] for name in row)


def gather(run: Run, beside: Run | None = None) -> Findings:
    """Read everything a report shows, recommend for the example users, and analyse the paths of `ANALYSED` others.
    Nothing is trained or evaluated. beside: a second evaluated run on the same users.

    Raises:
        ArtifactError: an artifact was altered, or an evaluation belongs to another model than the folder holds.
        DataError, ConfigError: the second run is this one, or on other users.
    """
    contents = RunContents(run)
    done = {name for name in ("catalog", "interactions", "sids", "model") if artifact.exists(run.path(name))}
    prepared, tokenized = {"catalog", "interactions"} <= done, {"catalog", "interactions", "sids"} <= done
    ranks = _ranks(run)
    return Findings(
        name=run.folder.resolve().name,
        recipe=run.recipe,
        protocol=protocol(run),
        counts=_counts(contents) if prepared else None,
        evaluation=evaluate(run) if ranks else None,
        ranks=ranks,
        training=read_log(run.path("train")),
        tokenizing=read_log(run.path("tokenizer-train")),
        sids=(contents.materials.sids or contents.sids) if "sids" in done else None,
        cluster_names=contents.cluster_names if tokenized else [],
        examples=_examples(contents, ranks) if prepared and "model" in done else [],
        analysis=_analysis(contents) if prepared and "model" in done else None,
        digests={name: run.digest(name) for name in sorted(done)},
        provenance=_provenance(run),
        beside=None if beside is None else _beside(run, beside),
        neighbourhoods=neighbourhoods_of(run) if prepared and artifact.exists(run.path("tuned")) else None,
    )


def _provenance(run: Run) -> Provenance:
    logs = {"the model": run.path("train"), "the tokenizer": run.path("tokenizer-train")}
    seconds = {name: sum(row.get("seconds") or 0.0 for row in read_log(path)) for name, path in logs.items()}
    ended = run.path("train") / "log.jsonl"
    date = f"{datetime.fromtimestamp(ended.stat().st_mtime, UTC):%Y-%m-%d}" if ended.is_file() else None
    return Provenance(command_of(run.recipe), date, {name: spent for name, spent in seconds.items() if spent})


def _beside(run: Run, other: Run) -> Beside:
    here, there = (flat(each.recipe.model_dump(mode="json")) for each in (run, other))
    keys = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
    return Beside(
        name=other.folder.resolve().name,
        method=other.recipe.method,
        rows=compare(other.folder, run.folder),
        training=read_log(other.path("train")),
        settings=[(key, there.get(key), here.get(key)) for key in keys],
    )


def _counts(contents: RunContents) -> Counts:
    log = contents.interactions
    return Counts(log.num_users, len(contents.catalog), len(log), contents.split.test.num_users)


def _ranks(run: Run) -> dict[str, dict[str, RankTable]]:
    """By seen items and method; empty until the run's own method, the last one, was ranked both ways."""
    own, seens = run.recipe.method, get_args(Seen)
    if not all(artifact.exists(run.path(f"evaluation/{own}-{seen}")) for seen in seens):
        return {}
    paths = {seen: {name: run.path(f"evaluation/{name}-{seen}") for name in (*NON_NEURAL, own)} for seen in seens}
    return {
        seen: {name: RankTable.load(path) for name, path in methods.items() if artifact.exists(path)}
        for seen, methods in paths.items()
    }


def _analysis(contents: RunContents) -> Analysis | None:
    enough = contents.split.test.num_users > 1
    one_tree = contents.method.ranks_by_paths and contents.recipe.slices.kind == "none"
    return analyse(contents.run, ANALYSED) if one_tree and enough else None


def _examples(contents: RunContents, ranks: dict[str, dict[str, RankTable]]) -> list[Example]:
    model = contents.model()
    cases = contents.split.test
    rng = np.random.default_rng(contents.run.recipe.seed)
    order = rng.permutation(len(cases))
    hits = np.zeros(len(cases), dtype=bool)
    if ranks:
        place = ranks["masked"][contents.run.recipe.method].ranks
        hits = (place >= 1) & (place <= 10)
    random = order[: AT_RANDOM if hits.any() else AT_RANDOM + HITS]
    hit = [case for case in order.tolist() if hits[case] and case not in random][:HITS]
    chosen = [(int(case), "drawn at random") for case in random]
    chosen += [(case, "drawn from the users whose held-out item was found") for case in hit]
    return [_example(model, cases, case, drawn) for case, drawn in chosen]


def _example(model: TrainedModel, cases: Cases, case: int, drawn: str) -> Example:
    history, target = cases.history(case), int(cases.targets[case])
    item_ids = model.catalog.item_ids
    seen = [item_ids[item] for item in cases.seen(case)]
    answer = model.recommend([item_ids[item] for item in history], 10, exclude_seen=False, deny=seen, explain=True)
    return Example(
        user=cases.interactions.user_ids[int(cases.users[case])],
        history=_titled(model, history.tolist()),
        target=_titled(model, [target])[0],
        answer=answer,
        drawn=drawn,
    )


def _titled(model: TrainedModel, items: Sequence[int]) -> list[tuple[str, str]]:
    return [(model.catalog.item_ids[item], model.catalog.title(item)) for item in items]

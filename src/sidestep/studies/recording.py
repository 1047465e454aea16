"""A finished run folder as a cell: settings, training, figures and every user's rank."""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sidestep import artifact
from sidestep.errors import ArtifactError
from sidestep.evaluation.beyond import beyond_accuracy
from sidestep.evaluation.metrics import METRICS
from sidestep.evaluation.ranking import LONG_USERS, RankTable
from sidestep.evaluation.second_look import given, kept_share
from sidestep.methods.table import NON_NEURAL
from sidestep.pipeline.aligning import ALIGNED
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.course import HistoryBatches
from sidestep.pipeline.evaluate import ranked
from sidestep.pipeline.run import INPUTS, Run
from sidestep.studies.cells import DEPTH, DEPTHS, GRID, CellResult, DataPrint, Machine, Training, Users, targets_digest
from sidestep.studies.identity import data_name, identity
from sidestep.training.log import read_log

Analyse = Callable[[Run], Mapping[str, Any]]


def record(folder: Path, *, recipe: str = "", method: str | None = None, analyse: Analyse | None = None) -> CellResult:
    """The cell of a finished run folder. Missing rankings are computed.

    recipe: its name, if known. method: one that needs no training, instead of the run's own. analyse: the analysis of a
    generator.

    Raises:
        ArtifactError: the run is not finished, or its lists are shorter than a cell's.
    """
    run = Run.open(folder)
    settings = run.recipe
    if method is None and _is_aligned(run):
        raise ArtifactError(
            f"{str(folder)!r} holds aligned weights, and a cell has no place for how they were aligned; compare the "
            "runs with sidestep compare"
        )
    if settings.evaluate.k < DEPTH:
        raise ArtifactError(
            f"{str(folder)!r} ranks {settings.evaluate.k} items, a cell {DEPTH}; run its recipe again with "
            f"evaluate.k={DEPTH} --out {folder}, which does not train again"
        )
    name = method or settings.method
    trained = name not in NON_NEURAL
    if trained and not artifact.exists(run.path("model")):
        raise ArtifactError(f"{str(folder)!r} is not trained; continue with sidestep run {folder}")
    contents = RunContents(run)
    own = contents.method if trained else None
    tables = {table.seen: table for table in ranked(contents, name)}
    cases = contents.split.test
    one_tree = settings.slices.kind == "none"
    return CellResult(
        method=name,
        recipe=Path(recipe).stem if recipe else "",
        settings=identity(settings, name),
        seed=settings.seed,
        ties=settings.data.ties,
        split=settings.split.name,
        k=settings.evaluate.k,
        beams=own.beams(settings) if own else None,
        data=_data(contents),
        training=_training(contents) if trained else None,
        machine=_machine(),
        grid={(seen, users): _figures(contents, tables[seen], users) for seen, users in GRID},
        ranks={seen: table.ranks for seen, table in tables.items()},
        users=cases.users,
        lengths=cases.lengths,
        targets=targets_digest(cases.users, cases.lengths, cases.targets),
        balance=own.chosen(contents.tensors()).get("balance") if own else None,
        analysis=analyse(run) if analyse is not None and own and own.ranks_by_paths and one_tree else None,
    )


def _figures(contents: RunContents, ranks: RankTable, users: Users) -> dict[str, float | int | None]:
    part = ranks.at_least(LONG_USERS if users == ">=10" else 0)
    figures: dict[str, float | int | None] = {"num_users": part.num_users}
    for name in METRICS:
        for depth in DEPTHS:
            figures[f"{name}@{depth}"] = float(part.values(f"{name}@{depth}").mean()) if len(part) else None
    if (look := contents.method.second_look(contents.recipe)) is not None and "kept" in part.table.columns:
        figures |= {**given(part, look.candidates), "kept": kept_share(part)}
    if part.recommended is not None:
        beyond = beyond_accuracy(part.recommended, contents.popularity)
        figures |= asdict(beyond) if beyond else {}
    return figures


def _data(contents: RunContents) -> DataPrint:
    """The digest covers the numbered log only, so it does not depend on the location of the files."""
    run, log = contents.run, contents.interactions
    digest = artifact.read_manifest(contents.path("interactions")).files[artifact.TENSORS][:16]
    stages = ["interactions", *["vectors"] * artifact.exists(run.path("vectors"))]
    inputs = {
        Path(path).name: digest
        for stage in stages
        for path, digest in artifact.read_manifest(run.path(stage)).meta.get(INPUTS, {}).items()
    }
    return DataPrint(data_name(run.recipe), log.num_users, len(contents.catalog), len(log), digest, inputs)


def _training(contents: RunContents) -> Training | None:
    recipe = contents.run.recipe
    if contents.method.parts_of(recipe) or contents.method.pre_ranker is not None:
        return None  # what takes long was trained in other runs, or on parts of the users
    rows = read_log(contents.run.path("train"))
    if not rows:
        raise ArtifactError(f"{str(contents.run.folder)!r} has no train/log.jsonl, the log of its training")
    scores = [row.get("score") for row in rows]
    known = [score for score in scores if score is not None]
    model = contents.method.build(contents.materials, recipe)
    return Training(
        asked=recipe.train.epochs,
        done=len(rows),
        best=scores.index(max(known)) + 1 if known else len(rows),
        scores=tuple(scores),
        seconds=round(sum(row["seconds"] for row in rows), 1),
        parameters=sum(p.numel() for p in model.parameters()),
        targets=HistoryBatches.of(contents.split.train, recipe, model).sequences.num_targets,
    )


def _is_aligned(run: Run) -> bool:
    path = run.path("model")
    return artifact.exists(path) and ALIGNED in artifact.read_manifest(path).meta


def _machine() -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(_cpu(), cores, version("torch"), version("sidestep"))


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

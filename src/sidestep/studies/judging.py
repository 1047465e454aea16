"""Cells of tokenizers: semantic IDs in run folders, their quality, and averages over seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sidestep import artifact, durable
from sidestep.data.interactions import Ints
from sidestep.data.splits import Cases
from sidestep.evaluation.metrics import hit_rate
from sidestep.evaluation.neighbours import next_item_ranks
from sidestep.evaluation.seeds import summaries
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.evaluate import evaluate
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import Stage, stage_named
from sidestep.pipeline.stages import run_until
from sidestep.studies.executing import Crew, Job, carry_out
from sidestep.studies.rows import Row, Slot, slots, study_of
from sidestep.studies.tokenizers import STUDIES
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.workshop.report import judge_run

Say = Callable[[str], None]
Judges = Literal["ids", "labels", "vectors", "both"]
COLD = 3
"""Training interactions of a cold target, at most."""


@dataclass(frozen=True)
class Making:
    """How the cells of a study are made.

    downstream: whether the recipe's generator is trained on every cell's IDs, and evaluated. crew: makes what is
    missing, as many cells as it has cores at a time; without one they are made in this process, one by one.
    """

    downstream: bool = False
    crew: Crew | None = None


HERE = Making()


def judge(
    name: str,
    recipe: str,
    overrides: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    say: Say,
    *,
    only: Sequence[str] = (),
    making: Making = HERE,
) -> list[dict[str, Any]]:
    """The figures of every row of a study of tokenizers: means and standard deviations over the seeds.

    Every cell is a run folder, `folder_of` its slot; finished stages are skipped, so a stopped study resumes. The
    figures, with those of every seed as `cells`, are also written to `out/study.json`.

    only: only these rows. making: how cells are made.

    Raises:
        ConfigError: an unknown study or row, or a recipe that does not run. TrainingError: as `carry_out`.
    """
    study, planned = study_of(STUDIES, name), id_slots(name, recipe, overrides, seeds, only)
    if making.crew is not None:
        _make(planned, _last(study.judges, making.downstream), out, making.crew, say)
    cells: dict[str, list[dict[str, float]]] = {}
    for number, slot in enumerate(planned, start=1):
        say(f"cell {number} of {len(planned)}: {slot.row.name}, seed {slot.seed}")
        run = Run.open(folder_of(out, slot), slot.cell.read())
        cells.setdefault(slot.row.name, []).append(_figures(run, study.judges, making.downstream, say))
    table = [_summary(study.row(row), seeds, group) for row, group in cells.items()]
    durable.write_json(out / "study.json", {"study": name, "recipe": recipe, "overrides": [*overrides], "rows": table})
    return table


def id_slots(
    name: str, recipe: str, overrides: Sequence[str], seeds: Sequence[int], only: Sequence[str] = ()
) -> list[Slot]:
    """All cells of a study of tokenizers. Raises as `judge`."""
    return slots(study_of(STUDIES, name), recipe, overrides, "", seeds, only)  # IDs do not depend on ties


def folder_of(out: Path, slot: Slot) -> Path:
    """The run folder of one cell of a study in `out`."""
    return out / f"{_slug(slot.row.name)}-{slot.seed}"


def _last(judges: Judges, downstream: bool) -> str:
    """The last stage of a cell."""
    if downstream:
        return "train"
    return "propagate" if judges == "vectors" else "tokenize"


def _make(planned: Sequence[Slot], last: str, out: Path, crew: Crew, say: Say) -> None:
    """Make what is missing of the cells, up to a stage."""
    stage, opened = stage_named(last), [(slot, Run.open(folder_of(out, slot), slot.cell.read())) for slot in planned]
    missing = [(slot, run) for slot, run in opened if not (_all_exist(run, stage) and stage.done(run))]
    if missing:
        run_until(missing[0][1], "prepare", say)  # what is wrong with the data is said once
    carry_out([_job(slot, last, out) for slot, _ in missing], crew, say)


def _all_exist(run: Run, stage: Stage) -> bool:
    """Whether a run has what a stage makes, under whatever settings."""
    return all(artifact.exists(run.path(name)) for name in stage.makes)


def _job(slot: Slot, last: str, out: Path) -> Job:
    cell, folder = slot.cell, folder_of(out, slot)
    words = (last, cell.recipe, *cell.overrides, "--out", str(folder))
    return Job(f"{slot.row.name}, seed {slot.seed}", words, folder)


def _figures(run: Run, judges: Judges, downstream: bool, say: Say) -> dict[str, float]:
    run_until(run, _last(judges, downstream), say)
    figures = {} if judges == "vectors" else _of_ids(run, with_labels=judges != "ids")
    if judges in ("vectors", "both"):
        contents = RunContents(run)
        figures |= of_vectors(contents.aligned, contents.split.test, contents.popularity)
    if downstream:
        place = {"method": run.recipe.method, "users": "all", "seen": "kept"}
        row = next(row for row in evaluate(run, (10,)).table.to_dicts() if place.items() <= row.items())
        figures |= {"HR@10": row["HR@10"], "NDCG@10": row["NDCG@10"]}
    return {name: float(value) for name, value in figures.items()}


def _of_ids(run: Run, with_labels: bool) -> dict[str, float]:
    """with_labels: also the V-measure of the first level and of whole IDs against the categories."""
    quality = judge_run(run)
    figures: dict[str, float] = {"ICR": quality.icr, "CUR": quality.cur}
    figures |= {"sharing": quality.sharing, "largest": quality.largest}
    figures |= {label: share.value for label, share in quality.purity.items()}
    if with_labels:
        for number, level in enumerate(quality.levels[:2], start=1):
            figures |= {f"V of {label}, {number}": value for label, value in level.v_measure.items()}
        return figures
    return figures | {f"perpl. {number}": level.perplexity for number, level in enumerate(quality.levels, start=1)}


def of_vectors(vectors: ItemVectors, cases: Cases, popularity: Ints) -> dict[str, float]:
    """HR@10 and HR@50 of the next item by the cosine with the last one: over all cases, and over those whose target is
    `COLD`, with at most so many training interactions.
    """
    ranks = next_item_ranks(vectors.values, cases)
    cold = popularity[cases.targets] <= COLD
    figures = {f"near HR@{k}": float(hit_rate(ranks, k).mean()) for k in (10, 50)}
    if cold.any():
        figures |= {f"cold HR@{k}": float(hit_rate(ranks[cold], k).mean()) for k in (10, 50)}
    return figures


def _summary(row: Row, seeds: Sequence[int], cells: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {
        "row": row.name, "sets": list(row.sets), "seeds": list(seeds), "cells": list(cells), **summaries(cells),
    }  # fmt: skip


def _slug(row: str) -> str:
    """A row's name as a folder name: letters, digits and dashes."""
    kept = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in row)
    return "-".join(part for part in kept.split("-") if part)

"""Cells of tokenizers: semantic IDs made in run folders, judged, and averaged over seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sidestep import artifact
from sidestep.evaluation.seeds import spread_of
from sidestep.pipeline.evaluate import evaluate
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until
from sidestep.studies.rows import Row, Slot, slots, study_of
from sidestep.studies.tokenizers import STUDIES
from sidestep.workshop.report import judge_run

Say = Callable[[str], None]


def judge(
    name: str,
    recipe: str,
    overrides: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    say: Say,
    *,
    only: Sequence[str] = (),
    downstream: bool = False,
) -> list[dict[str, Any]]:
    """A row of figures for every row of a study of tokenizers: means over the seeds, and the deviations between them.

    Every cell is a run folder, `folder_of` its slot; a stage that is done is left alone, so a study that was stopped
    goes on. Written to `out/study.json` as well.

    only: these rows alone. downstream: train the recipe's generator on every cell's IDs, too, and rank its test users.

    Raises:
        ConfigError: no such study or row, or a recipe that does not run.
    """
    wanted = id_slots(name, recipe, overrides, seeds, only)
    cells: dict[str, list[dict[str, float]]] = {}
    for number, slot in enumerate(wanted, start=1):
        say(f"cell {number} of {len(wanted)}: {slot.row.name}, seed {slot.seed}")
        run = Run.open(folder_of(out, slot), slot.cell.read())
        cells.setdefault(slot.row.name, []).append(_figures(run, downstream, say))
    table = [_summary(study_of(STUDIES, name).row(row), seeds, group) for row, group in cells.items()]
    artifact.write_json(out / "study.json", {"study": name, "recipe": recipe, "overrides": [*overrides], "rows": table})
    return table


def id_slots(
    name: str, recipe: str, overrides: Sequence[str], seeds: Sequence[int], only: Sequence[str] = ()
) -> list[Slot]:
    """Every cell that a study of tokenizers wants. Raises as `judge`."""
    return slots(study_of(STUDIES, name), recipe, overrides, "", seeds, only)  # IDs do not depend on ties


def folder_of(out: Path, slot: Slot) -> Path:
    """The run folder of one cell of a study in `out`."""
    return out / f"{_slug(slot.row.name)}-{slot.seed}"


def _figures(run: Run, downstream: bool, say: Say) -> dict[str, float]:
    run_until(run, "train" if downstream else "tokenize", say)
    quality = judge_run(run)
    figures = {"ICR": quality.icr, "CUR": quality.cur, "sharing": quality.sharing, "largest": quality.largest}
    figures |= {label: share.value for label, share in quality.purity.items()}
    figures |= {f"perpl. {number}": level.perplexity for number, level in enumerate(quality.levels, start=1)}
    if downstream:
        wanted = {"method": run.recipe.method, "users": "all", "seen": "kept"}
        row = next(row for row in evaluate(run, (10,)).table.to_dicts() if wanted.items() <= row.items())
        figures |= {"HR@10": row["HR@10"], "NDCG@10": row["NDCG@10"]}
    return {name: float(value) for name, value in figures.items()}


def _summary(row: Row, seeds: Sequence[int], cells: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The mean over the seeds and the standard deviation between them (0 for a single seed)."""
    spreads = {name: spread_of([cell[name] for cell in cells]) for name in cells[0]}
    return {
        "row": row.name,
        "sets": list(row.sets),
        "seeds": list(seeds),
        "mean": {name: figure.mean for name, figure in spreads.items()},
        "deviation": {name: figure.deviation or 0.0 for name, figure in spreads.items()},
    }


def _slug(row: str) -> str:
    """A row's name as a folder's: letters, digits and dashes."""
    kept = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in row)
    return "-".join(part for part in kept.split("-") if part)

"""S2GR's table 3: the study of tokenizers, compared with the paper's figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidestep import artifact, recipes
from sidestep.evaluation.seeds import Spread
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.studies.executing import Crew
from sidestep.studies.identity import data_name, file_name, identity
from sidestep.studies.judging import Making, Say, folder_of, id_slots, judge
from sidestep.studies.outcome import CellStatus, Outcome
from sidestep.studies.papers import is_beauty
from sidestep.studies.rows import S2GR
from sidestep.studies.tokenizers import TABLE3


def table3(
    recipe: str,
    overrides: Sequence[str],
    seeds: Sequence[int],
    only: Sequence[str],
    runs: Path,
    say: Say,
    dry_run: bool = False,
    crew: Crew | None = None,
) -> Outcome:
    """ICR and CUR of every kind of tokenizer, in percent. Its runs are in `runs/DATA/table3-SETTINGS`.

    only: only these rows. dry_run: only list the finished cells. crew: as `judge`.

    Raises:
        ConfigError: an unknown row, or a recipe that does not run. TrainingError: as `judge`.
    """
    planned = id_slots(TABLE3.name, recipe, overrides, seeds, only)
    read = recipes.read(recipe, overrides)
    name = data_name(read)
    out = runs / name / f"table3-{Path(file_name(identity(read))).stem}"
    judged = []
    if not dry_run:
        judged = judge(TABLE3.name, recipe, overrides, seeds, out, say, only=only, making=Making(crew=crew))
    folders = [folder_of(out, slot) for slot in planned]
    finished = [artifact.exists(folder / "sids") for folder in folders]
    data, beauty = f"{name}, not read", False
    if judged:
        contents = RunContents(Run.open(folders[0]))
        sizes = (contents.interactions.num_users, len(contents.catalog), len(contents.interactions))
        data = f"{name}: {sizes[0]:,} users, {sizes[1]:,} items, {sizes[2]:,} interactions"
        beauty = is_beauty(*sizes)
    return Outcome(
        TABLE3,
        Path(recipe).stem,
        tuple(overrides),
        data,
        tuple(seeds),
        tuple(CellStatus(slot.row.name, "", slot.seed, done) for slot, done in zip(planned, finished, strict=True)),
        analysis={row["row"]: _figures(row, beauty) for row in judged},
    )


def _figures(row: dict[str, Any], beauty: bool) -> dict[str, Spread]:
    figures, count = {}, len(row["seeds"])
    for name in ("CUR", "ICR"):
        mean, deviation = 100 * row["mean"][name], 100 * row["deviation"][name] if count > 1 else None
        figures[f"{name}, %"] = Spread(mean, deviation, count)
        published = TABLE3.row(row["row"]).published if beauty else ()
        for others in published:
            paper = 100 * others.figures[name]
            figures[f"{name}, %, {S2GR}"] = Spread(paper, None, 1)
            figures[f"{name}, ours minus that"] = Spread(mean - paper, None, 1)
    return figures

"""S2GR's table 3: the tokenizers' own study with the paper's figures beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidestep import artifact, recipes
from sidestep.evaluation.seeds import Spread
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.studies import tokenizers
from sidestep.studies.cells import data_name, file_name, identity
from sidestep.studies.outcome import Outcome, Wanted
from sidestep.studies.papers import S2GR, TABLE3, TABLE3_FIGURES, is_beauty
from sidestep.studies.tokenizers import Say


def table3(
    recipe: str,
    overrides: Sequence[str],
    seeds: Sequence[int],
    only: Sequence[str],
    runs: Path,
    say: Say,
    dry_run: bool = False,
) -> Outcome:
    """ICR and CUR of every kind of tokenizer, in percent. Its runs stand in `runs/DATA/table3-SETTINGS`.

    only: these rows alone. dry_run: say which IDs are there, and make and judge none.

    Raises:
        ConfigError: no such row, or a recipe that does not run.
    """
    rows = tokenizers.chosen_rows("table3", only)
    read = recipes.read(recipe, overrides)
    name = data_name(read)
    out = runs / name / f"table3-{Path(file_name(identity(read))).stem}"
    folders = {(row, seed): tokenizers.folder_of(out, row, seed) for row in rows for seed in seeds}
    judged = [] if dry_run else tokenizers.study("table3", recipe, overrides, seeds, out, say, only=only)
    wanted = tuple(Wanted(row, "", seed, artifact.exists(folder / "sids")) for (row, seed), folder in folders.items())
    data, beauty = f"{name}, of which nothing was read", False
    if judged:
        contents = RunContents(Run.open(next(iter(folders.values()))))
        sizes = (contents.interactions.num_users, len(contents.catalog), len(contents.interactions))
        data = f"{name}: {sizes[0]:,} users, {sizes[1]:,} items, {sizes[2]:,} interactions"
        beauty = is_beauty(*sizes)
    return Outcome(
        TABLE3,
        Path(recipe).stem,
        tuple(overrides),
        data,
        tuple(seeds),
        wanted,
        analysis={row["row"]: _figures(row, beauty) for row in judged},
    )


def _figures(row: dict[str, Any], beauty: bool) -> dict[str, Spread]:
    found, count = {}, len(row["seeds"])
    for place, name in enumerate(("CUR", "ICR")):
        mean, deviation = 100 * row["mean"][name], 100 * row["deviation"][name] if count > 1 else None
        found[f"{name}, %"] = Spread(mean, deviation, count)
        if beauty and row["row"] in TABLE3_FIGURES:
            paper = 100 * TABLE3_FIGURES[row["row"]][place]
            found[f"{name}, %, {S2GR}"] = Spread(paper, None, 1)
            found[f"{name}, ours minus that"] = Spread(mean - paper, None, 1)
    return found

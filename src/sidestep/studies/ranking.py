"""The study of semantic IDs in a ranker: item ids against ids and codes, behind each search of the history."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from sidestep import durable, recipes
from sidestep.data.impressions import ImpressionsFile, read_impressions
from sidestep.evaluation.seeds import summaries
from sidestep.evaluation.significance import paired_bootstrap
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.ranking import SearchName, looked_up, rank_impressions, search_of, train_ranker
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until
from sidestep.scorers.target_attention import RankerConfig
from sidestep.studies.executing import Crew, Job, carry_out

Say = Callable[[str], None]
INPUTS = {"ids": RankerConfig(codes=False), "ids + codes": RankerConfig(), "codes": RankerConfig(ids=False)}
PARTS = ("val", "test")
"""Of the file: what a ranker is trained on, and what it ranks."""


def judge_rankers(
    recipe: str, overrides: Sequence[str], seeds: Sequence[int], out: Path, say: Say, label: str = "is_click",
    *, crew: Crew | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """AUC, GAUC and UAUC of every search with every input, means and standard deviations over the seeds; and for each
    row with codes, the difference of its GAUC to that of ids alone, by a paired bootstrap over users.

    A seed is that of the tokenizer, the ranker and the order of its batches. The figures of a seed are kept in `out`,
    so that a stopped study goes on. label: the column of what was taken. crew: makes the seeds that are missing, as
    many as it has cores at a time; without one they are made here, one by one.

    Raises:
        DataError: no impressions beside the log. TrainingError: as `carry_out`. As `run_until`.
    """
    if crew is not None:
        missing = [seed for seed in seeds if not _file(out, seed, label).is_file()]
        carry_out([_job(recipe, overrides, seed, out, label) for seed in missing], crew, say)
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in seeds:
        kept = _file(out, seed, label)
        if not kept.is_file():
            durable.write_json(kept, _of_seed(recipe, overrides, seed, out / f"ids-{seed}", say, label))
        for cell in durable.read_json(kept):
            cells.setdefault((cell["search"], cell["inputs"]), []).append(cell)
    rows = [_row(search, inputs, group, cells[search, "ids"]) for (search, inputs), group in cells.items()]
    durable.write_json(out / "study.json", {"recipe": recipe, "overrides": [*overrides], "label": label, "rows": rows})
    return rows


def _file(out: Path, seed: int, label: str) -> Path:
    return out / f"seed-{seed}-{label}.json"


def _job(recipe: str, overrides: Sequence[str], seed: int, out: Path, label: str) -> Job:
    words = ("sids", "ranking", recipe, *overrides, "--label", label, "--seeds", str(seed), "--out", str(out))
    return Job(f"seed {seed}", (*words, "--cores", "1"), out / f"ids-{seed}")


def _of_seed(
    recipe: str, overrides: Sequence[str], seed: int, folder: Path, say: Say, label: str
) -> list[dict[str, Any]]:
    run = Run.open(folder, recipes.read(recipe, [*overrides, f"seed={seed}"]))
    run_until(run, "tokenize", say)
    contents = RunContents(run)
    file = ImpressionsFile(run.recipe.data.path / "exposures.csv.gz", [label])
    shown, asked = (read_impressions(file, part, contents.interactions, contents.catalog) for part in PARTS)
    say(f"trained on {shown}, ranked {asked}")
    cells = []
    for name in get_args(SearchName):
        search = search_of(contents, name)
        found = [looked_up(part, search, RankerConfig().looked_up) for part in (shown, asked)]
        for inputs, config in INPUTS.items():
            model = train_ranker(contents.sids.codes, shown, found[0], config, seed)
            ranked = rank_impressions(model, asked, found[1])
            users = ranked.users
            figures = {"AUC": ranked.auc, "GAUC": users.gauc, "UAUC": users.uauc}
            say(f"{name}, {inputs}, seed {seed}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
            per_user = {"users": users.users.tolist(), "aucs": users.values.tolist(), "counts": users.counts.tolist()}
            cells.append({"search": name, "inputs": inputs, "figures": figures, "seed": seed, **per_user})
    return cells


def _row(search: str, inputs: str, cells: Sequence[dict[str, Any]], base: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seeds = [cell["seed"] for cell in cells]
    row: dict[str, Any] = {
        "row": f"{search}, {inputs}", "seeds": seeds, **summaries([cell["figures"] for cell in cells]),
    }  # fmt: skip
    if inputs != "ids":
        first, second = (np.mean([cell["aucs"] for cell in group], axis=0) for group in (base, cells))
        counts, users = (np.array(cells[0][name]) for name in ("counts", "users"))
        weighed = [np.repeat(values, counts) for values in (first, second)]
        tested = paired_bootstrap(*weighed, users=np.repeat(users, counts), draws=2_000)
        row |= {"less_ids": tested.difference, "low": tested.low, "high": tested.high, "p": tested.p}
    return row

"""Studies of tokenizers: which of them gives good IDs, and what each of its parts is worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidestep import artifact, recipes
from sidestep.errors import ConfigError, did_you_mean
from sidestep.pipeline.evaluate import evaluate
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until
from sidestep.workshop.report import judge_run

Say = Callable[[str], None]
Rows = Mapping[str, Sequence[str]]

_TEXT = ("graph.enabled=false",)
_RQ_VAE = ("tokenizer.kind=rq-vae", *_TEXT)
_LONGER = (*_RQ_VAE, "tokenizer.epochs=60")  # as in `methods.py`: longer, it gains in both ICR and purity
_BARE = (*_RQ_VAE, "tokenizer.start=random", "tokenizer.dead_codes=leave")
_EMA, _RANDOM, _TOGETHER = "tokenizer.codebooks=ema", "tokenizer.random_levels=1", "tokenizer.contrastive=10"


@dataclass(frozen=True)
class Study:
    """summary: what it asks. rows: the name of every row and what it sets over the recipe."""

    summary: str
    rows: Rows


STUDIES: dict[str, Study] = {
    "table3": Study(
        "S2GR's table 3 and its neighbours: CUR and ICR of every kind of tokenizer, collisions left as they are",
        {
            "rq-kmeans": ("tokenizer.kind=rq-kmeans", *_TEXT),
            "rq-kmeans, size-balanced": ("tokenizer.kind=rq-kmeans", "tokenizer.size_balanced=true", *_TEXT),
            "res-kmeans-fsq": ("tokenizer.kind=res-kmeans-fsq", *_TEXT),
            "res-kmeans-fsq, learnt bits": ("tokenizer.kind=res-kmeans-fsq", "tokenizer.learnt_bits=true", *_TEXT),
            "pq": ("tokenizer.kind=pq", *_TEXT),
            "opq": ("tokenizer.kind=opq", *_TEXT),
            "rq-vae": _LONGER,
            "rq-vae, ema": (*_LONGER, _EMA),
            "rq-vae, rotation": (*_LONGER, "tokenizer.estimator=rotation"),
            "rq-vae, random last level": (*_LONGER, _RANDOM),
            "coba-rq-vae": ("tokenizer.kind=coba-rq-vae", "graph.enabled=true"),
        },
    ),
    "gr2": Study(
        "GR2's techniques (arXiv 2602.07774), each added to an RQ-VAE with a random start, whose codes may die",
        {
            "bare": _BARE,
            "+ k-means start": (*_RQ_VAE, "tokenizer.dead_codes=leave"),
            "+ ema": (*_BARE, _EMA),
            "+ random last level": (*_BARE, _RANDOM),
            "+ diversity": (*_BARE, "tokenizer.diversity=1"),
            "+ dead-code reset": (*_RQ_VAE, "tokenizer.start=random", "tokenizer.dead_codes=reset"),
            "+ contrastive": (*_BARE, _TOGETHER),
            "+ ema + contrastive": (*_BARE, _EMA, _TOGETHER),
            "k-means start + ema + random last level": (*_RQ_VAE, "tokenizer.dead_codes=leave", _EMA, _RANDOM),
        },
    ),
    "coba": Study(
        "CoBa's parts singly, the stricter rule of leakage, and the graph's settings",
        {
            "coba-rq-vae": (),
            "without graph": _TEXT,
            "without uniformity": ("tokenizer.uniformity=0",),
            "without balance": ("tokenizer.dmax=0",),
            "strict graph": ("graph.skip_last=1",),
            **{f"alpha {alpha}": (f"graph.alpha={alpha}",) for alpha in (0.1, 0.5, 0.7, 0.9)},
            **{f"hops {hops}": (f"graph.hops={hops}",) for hops in (1, 3)},
            **{f"window {window}": (f"graph.window={window}",) for window in (2, 10, 50)},
        },
    ),
    "balance": Study(
        "ICR against purity over delta_max: how much balance buys, and at what price",
        {f"delta_max {dmax}": (f"tokenizer.dmax={dmax}",) for dmax in (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.95)},
    ),
}


def study(
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
    """A row of figures for every row of a study, each the mean over the seeds, its deviation beside it.

    Every cell is a run folder `out/ROW-SEED`; a finished one is read, so a study that was stopped goes on. Written to
    `out/study.json` as well.

    only: these rows alone. downstream: train the recipe's generator on every cell's IDs, too, and rank its test users.

    Raises:
        ConfigError: no such study or row, or a recipe that does not run.
    """
    rows = chosen_rows(name, only)
    cells = [(row, seed) for row in rows for seed in seeds]
    found: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    for number, (row, seed) in enumerate(cells, start=1):
        say(f"cell {number} of {len(cells)}: {row}, seed {seed}")
        settings = recipes.read(recipe, [*overrides, *rows[row], f"seed={seed}"])
        run = Run.open(folder_of(out, row, seed), settings)
        found[row].append(_cell(run, downstream, say))
    table = [_summary(row, rows[row], seeds, cell) for row, cell in found.items()]
    artifact.write_json(out / "study.json", {"study": name, "recipe": recipe, "overrides": [*overrides], "rows": table})
    return table


def folder_of(out: Path, row: str, seed: int) -> Path:
    """The run folder of one cell of a study in `out`."""
    return out / f"{_slug(row)}-{seed}"


def chosen_rows(name: str, only: Sequence[str]) -> Rows:
    """The rows of a study, all or some of them."""
    if name not in STUDIES:
        raise ConfigError(f"No study {name!r}{did_you_mean(name, STUDIES)}; expected one of {', '.join(STUDIES)}")
    rows = STUDIES[name].rows
    for row in only:
        if row not in rows:
            raise ConfigError(f"Study {name!r} has no row {row!r}{did_you_mean(row, rows)}; it has {'; '.join(rows)}")
    return {row: settings for row, settings in rows.items() if not only or row in only}


def _cell(run: Run, downstream: bool, say: Say) -> dict[str, float]:
    run_until(run, "train" if downstream else "tokenize", say)
    quality = judge_run(run)
    found = {"ICR": quality.icr, "CUR": quality.cur, "sharing": quality.sharing, "largest": quality.largest}
    found |= {label: share.value for label, share in quality.purity.items()}
    found |= {f"perpl. {number}": level.perplexity for number, level in enumerate(quality.levels, start=1)}
    if downstream:
        wanted = {"method": run.recipe.method, "users": "all", "seen": "kept"}
        row = next(row for row in evaluate(run, (10,)).table.to_dicts() if wanted.items() <= row.items())
        found |= {"HR@10": row["HR@10"], "NDCG@10": row["NDCG@10"]}
    return {name: float(value) for name, value in found.items()}


def _summary(
    row: str, settings: Sequence[str], seeds: Sequence[int], cells: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """The mean over the seeds and the standard deviation between them (0 for a single seed)."""
    values = {name: np.array([cell[name] for cell in cells]) for name in cells[0]}
    return {
        "row": row,
        "sets": list(settings),
        "seeds": list(seeds),
        "mean": {name: float(value.mean()) for name, value in values.items()},
        "deviation": {name: float(value.std(ddof=1)) if len(value) > 1 else 0.0 for name, value in values.items()},
    }


def _slug(row: str) -> str:
    """A row's name as a folder's: letters, digits and dashes."""
    kept = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in row)
    return "-".join(part for part in kept.split("-") if part)

"""`sidestep align`: a trained generator goes on to learn what a reward prefers among its own answers."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.options import JsonOption, RunArgument, say, show


def align(
    folder: RunArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="align.reward=RUN|align.labels=FILE [align.KEY=VALUE]...",
            help="The reward, and other keys of [align].",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The new run folder [default: RUN-KIND].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Align a run's generator with a reward (GRPO, DPO, or the control distil); logs reward, HR, KL and variety."""
    from sidestep.pipeline.aligning import align as learn
    from sidestep.pipeline.aligning import align_config
    from sidestep.pipeline.run import Run

    config = align_config(overrides or ())
    target = out or folder.with_name(f"{folder.name}-{config.kind}")
    rows = learn(Run.open(folder), target, config, say)
    kept = next(row["epoch"] for row in rows if row.get("kept"))
    show(as_json, rows, f"kept epoch {kept}, in {target}\n\nNext: sidestep evaluate {target}")

"""`sidestep doctor`: what is wrong with a run or a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.options import JsonOption, show


def doctor(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a bundle.")],
    as_json: JsonOption = False,
) -> None:
    """Read every byte of a run or a bundle; say what is wrong and what to do. Exit code 1 where something is."""
    from sidestep.pipeline.doctor import examine

    problems = examine(folder)
    show(as_json, problems, "\n".join(f"- {problem}" for problem in problems) or f"{folder}: all is well")
    if problems:
        raise typer.Exit(1)

"""`sidestep rerank`: a second look at a finished run's answers."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.options import ForceOption, JsonOption, OverridesArgument, say, show


def rerank(
    over: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder whose first answers are re-ranked.")],
    overrides: OverridesArgument = None,
    out: Annotated[Path | None, typer.Option("--out", help="The new run folder [default: RUN-reranked].")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn to put a finished run's first answers in a better order, and evaluate both orders."""
    from sidestep.pipeline.evaluate import evaluate
    from sidestep.pipeline.rerank import rerank_recipe, take_over
    from sidestep.pipeline.run import Run
    from sidestep.pipeline.stages import run_until
    from sidestep.report.terminal import metrics_table

    opened = Run.open(out or over.with_name(f"{over.name}-reranked"), rerank_recipe(over, overrides or ()), force)
    with opened.writing():
        take_over(opened, over)
        run_until(opened, "train", say)
        result = evaluate(opened)
    show(as_json, result.as_json(), metrics_table(result))

"""`sidestep evaluate`: the test cases at once, or one after the other by the clock."""

from typing import Annotated

import typer

from sidestep.cli.options import ForceOption, JsonOption, RunArgument, say, show
from sidestep.cli.parsing import read_depths


def evaluate(
    folder: RunArgument,
    at: Annotated[str | None, typer.Option(help="The K of the metrics, such as 1,5,10 [default: evaluate.at].")] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Replay the log by the clock: each case with what happened before it.")
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """HR, NDCG and MRR at item level, compared with popularity and item-kNN."""
    from sidestep.pipeline.evaluate import evaluate as judge
    from sidestep.pipeline.run import Run
    from sidestep.report.terminal import metrics_table

    if replay:
        from sidestep.pipeline.replaying import replay as replayed
        from sidestep.report.replay_terminal import replay_text

        found = replayed(Run.open(folder, force=force), read_depths(at), say)
        show(as_json, found.as_json(), replay_text(found))
        return
    result = judge(Run.open(folder, force=force), read_depths(at))
    show(as_json, result.as_json(), metrics_table(result))

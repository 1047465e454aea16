"""`sidestep batch`: what a trained run does for folders of Parquet, here or on Ray."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sidestep.cli.options import AtOption, CountOption, JsonOption, KeepSeenOption, RunArgument, UnknownOption, show

if TYPE_CHECKING:
    from sidestep.launch.shards import Job

app = typer.Typer(
    help="Folders of Parquet in and out, in shards that are written once: vectors, semantic IDs, lists.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SourceArgument = Annotated[Path, typer.Argument(metavar="INPUT", help="A folder of *.parquet, or one such file.")]
OutOption = Annotated[Path, typer.Option("--out", help="The folder of shards; a stopped command resumes there.")]
EngineOption = Annotated[Literal["local", "ray"], typer.Option(help="Who does the shards; their bytes are the same.")]
WorkersOption = Annotated[int, typer.Option(help="Workers, of one thread each; every one loads the run.")]
RowsOption = Annotated[int, typer.Option(help="Rows of a shard: what a worker holds, and what it may have to repeat.")]
ROWS = 16_384


@app.command()
def embed(
    run: RunArgument,
    source: SourceArgument,
    out: OutOption,
    engine: EngineOption = "local",
    workers: WorkersOption = 1,
    rows: RowsOption = ROWS,
    as_json: JsonOption = False,
) -> None:
    """Vectors of items by the run's text encoder: `item_id` and the texts' columns in, `item_id` and `vector` out."""
    from sidestep.pipeline.batch import Embed

    _run(Embed(run), source, out, engine, workers, rows, as_json)


@app.command()
def assign(
    run: RunArgument,
    source: SourceArgument,
    out: OutOption,
    engine: EngineOption = "local",
    workers: WorkersOption = 1,
    rows: RowsOption = ROWS,
    as_json: JsonOption = False,
) -> None:
    """Semantic IDs of vectors by the run's frozen tokenizer: `item_id` and a column of lists in, `item_id` and `codes`
    out.
    """
    from sidestep.pipeline.batch import Assign

    _run(Assign(run), source, out, engine, workers, rows, as_json)


@app.command()
def recommend(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a bundle.")],
    source: SourceArgument,
    out: OutOption,
    k: CountOption = 10,
    keep_seen: KeepSeenOption = False,
    at: AtOption = None,
    unknown: UnknownOption = "error",
    engine: EngineOption = "local",
    workers: WorkersOption = 1,
    rows: RowsOption = ROWS,
    as_json: JsonOption = False,
) -> None:
    """Lists for users: `user_id` and `history` (a list of item ids, oldest first; optionally `times`) in, a row per
    recommended item out.
    """
    from sidestep.pipeline.batch import Recommend

    _run(Recommend(run, k, keep_seen, unknown, at), source, out, engine, workers, rows, as_json)


def _run(
    job: "Job", source: Path, out: Path, engine: Literal["local", "ray"], workers: int, rows: int, as_json: bool
) -> None:
    from dataclasses import asdict

    from sidestep.launch.batch import run

    done = run(job, source, out, rows=rows, workers=workers, engine=engine)
    before = f", {done.shards - done.done:,} of them there before" if done.done < done.shards else ""
    text = f"{out}: {done.rows:,} rows in {done.shards:,} shards{before}; {done.digest[:12]}"
    show(as_json, {"folder": str(out), **asdict(done)}, text)

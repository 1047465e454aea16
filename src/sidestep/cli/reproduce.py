"""`sidestep reproduce`: the tables and figures of a paper on your recipe, cell by cell."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidestep.cli.executors import CoresOption, Executor, ExecutorOption, cores_of, crew_of, trainings
from sidestep.cli.options import JsonOption, OverridesArgument, say, show
from sidestep.cli.parsing import read_seeds
from sidestep.errors import ConfigError

if TYPE_CHECKING:
    from sidestep.errors import SidestepError
    from sidestep.pipeline.run import Run
    from sidestep.studies.outcome import Outcome
    from sidestep.studies.reproduce import Request
    from sidestep.studies.running import State


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="table2, table3, fig4, fig5, fig6, tableB1, depth, lambda-tau, thoughts, base, screen, confirm, "
            "best, optimisers, clock, modules, regulars, long, long-movielens or rerank.",
        ),
    ],
    overrides: OverridesArgument = None,
    recipe: Annotated[
        str | None, typer.Option(help="A built-in recipe or a TOML file [default: the study's own].")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Such as 0,1,2.")] = "0,1,2",
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Only this row; may be repeated.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="ROW", help="Test every row against this one [default: set by the study].")
    ] = None,
    cores: CoresOption = None,
    executor: ExecutorOption = "processes",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Train nothing; list the cells, and show the results of the finished ones."),
    ] = False,
    cells: Annotated[Path, typer.Option(help="The folder of finished cells.")] = Path("docs/results/cells"),
    runs: Annotated[Path, typer.Option(help="The folder of their trainings.")] = Path("runs/cells"),
    out: Annotated[Path, typer.Option(help="The folder for STUDY.md and STUDY.html.")] = Path("runs/studies"),
    as_json: JsonOption = False,
) -> None:
    """A table or figure of the S2GR paper, or an open question, as a table of cells. Resumes where it stopped.

    A cell is one training: a method with a seed and settings. A finished cell is a small file that studies share.
    """
    from sidestep.durable import write_text
    from sidestep.report.study_markdown import markdown
    from sidestep.report.study_page import render
    from sidestep.report.study_terminal import study_text
    from sidestep.studies import reproduce as studies
    from sidestep.studies.papers import study_named
    from sidestep.studies.table3 import table3
    from sidestep.studies.tokenizers import TABLE3

    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {str(out)!r} is a file; expected a folder for {name}.md and {name}.html")
    settings, failure = (tuple(overrides or ()), read_seeds(seeds), tuple(only or ())), None
    if name == TABLE3.name:
        if against is not None:
            raise ConfigError("--against tests accuracy between rows, and table3 has none")
        with crew_of(executor, cores) as crew:
            outcome = table3(recipe or TABLE3.recipe, *settings, runs, say, dry_run, crew)
    else:
        recipe = recipe or study_named(name).recipe
        request = studies.Request(name, recipe, settings[0], settings[1], cells, runs, settings[2], against)
        outcome, failure = _outcome(request, dry_run, cores_of(cores), executor, as_json)
    write_text(out / f"{name}.md", markdown(outcome))
    write_text(out / f"{name}.html", render(outcome))
    show(as_json, outcome.as_json(), study_text(outcome))
    say(f"written: {out / name}.md and .html")
    if failure is not None:
        raise failure


def _outcome(
    request: "Request", dry_run: bool, cores: int, executor: Executor, as_json: bool
) -> "tuple[Outcome, SidestepError | None]":
    """The outcome of a study of trainings, and what went wrong in those that failed."""
    from sidestep.studies import reproduce as studies
    from sidestep.studies.running import table

    if not dry_run:
        with trainings(executor, cores) as begin:
            return studies.reproduce(request, cores, _watch(table), say, _inside, begin)
    outcome = studies.status(request)
    if not as_json:
        print(table(studies.progress(request)))
    return outcome, None


def record(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.")],
    recipe: Annotated[str, typer.Option(help="The name of their recipe, to be stored in the cell.")] = "",
    cells: Annotated[Path, typer.Option(help="The folder of finished cells.")] = Path("docs/results/cells"),
) -> None:
    """Store finished runs as cells, so that studies use them. They must rank 100 items: evaluate.k=100.

    A study identifies a cell by its settings: those of its recipe, its row and its KEY=VALUE.
    """
    from sidestep.studies.recording import record as make

    for folder in folders:
        print(make(folder, recipe=recipe, analyse=_inside).save(cells))


def _inside(run: "Run") -> dict[str, float]:
    """The figures of a generator's analysis that a cell stores."""
    from sidestep.pipeline.analyse import analyse, as_numbers

    return as_numbers(analyse(run))


def _watch(table: "Callable[[Sequence[State]], str]") -> "Callable[[Sequence[State]], None]":
    """A callback that prints changes of running, finished and failed cells, and the remaining total."""
    printed: set[str] = set()

    def on_change(states: "Sequence[State]") -> None:
        *lines, total = table(states).splitlines()
        news = [line for line, state in zip(lines, states, strict=True) if state.condition != "left"]
        for line in news:
            if line not in printed:
                say(line)
        printed.update(news)
        say(total)

    return on_change

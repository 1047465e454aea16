"""`sidestep reproduce`: the tables and figures of a paper on your recipe, cell by cell."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidestep.cli.options import JsonOption, OverridesArgument, say, show
from sidestep.cli.parsing import read_seeds
from sidestep.errors import ConfigError

if TYPE_CHECKING:
    from sidestep.pipeline.run import Run
    from sidestep.studies.running import State


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="table2, table3, fig4, fig5, fig6, tableB1, depth, lambda-tau or thoughts."
        ),
    ],
    overrides: OverridesArgument = None,
    recipe: Annotated[str, typer.Option(help="A built-in recipe or a TOML file.")] = "s2gr-beauty",
    seeds: Annotated[str, typer.Option(help="As in 0,1,2.")] = "0,1,2",
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="This row alone; may be repeated.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="ROW", help="Test every row against this one [default: each its own].")
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Processor cores to share [default: all].")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing; say which cells are there, and show what they give.")
    ] = False,
    cells: Annotated[Path, typer.Option(help="The folder of finished cells.")] = Path("docs/results/cells"),
    runs: Annotated[Path, typer.Option(help="The folder of their trainings.")] = Path("runs/cells"),
    out: Annotated[Path, typer.Option(help="Where STUDY.md and STUDY.html are written.")] = Path("runs/studies"),
    as_json: JsonOption = False,
) -> None:
    """A table or figure of the S2GR paper, or an open question, as a table of cells. Goes on where it stopped.

    A cell is one method with one seed and setting; once trained it is a small file, and studies share them.
    """
    from sidestep.artifact import write_text
    from sidestep.report.study_markdown import markdown
    from sidestep.report.study_page import render
    from sidestep.report.study_terminal import study_text
    from sidestep.studies import reproduce as studies
    from sidestep.studies.running import table
    from sidestep.studies.table3 import table3
    from sidestep.studies.tokenizers import TABLE3

    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {str(out)!r} is a file; expected a folder for {name}.md and {name}.html")
    settings = (tuple(overrides or ()), read_seeds(seeds), tuple(only or ()))
    failure = None
    if name == TABLE3.name:
        if against is not None:
            raise ConfigError("--against tests accuracy between rows, and table3 has none")
        found = table3(recipe, *settings, runs, say, dry_run)
    else:
        request = studies.Request(name, recipe, settings[0], settings[1], cells, runs, settings[2], against)
        if dry_run:
            found = studies.status(request)
            if not as_json:
                print(table(studies.progress(request)))
        else:
            found, failure = studies.reproduce(request, cores or os.cpu_count() or 1, _watch(table), say, _inside)
    write_text(out / f"{name}.md", markdown(found))
    write_text(out / f"{name}.html", render(found))
    show(as_json, found.as_json(), study_text(found))
    say(f"written: {out / name}.md and .html")
    if failure is not None:
        raise failure


def record(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished run folders.")],
    recipe: Annotated[str, typer.Option(help="The recipe they came from, as the cell shall name it.")] = "",
    cells: Annotated[Path, typer.Option(help="The folder of finished cells.")] = Path("docs/results/cells"),
) -> None:
    """Keep finished runs as cells, so that studies count them. They must rank 100 items: evaluate.k=100.

    A study finds a cell by its settings: those of its recipe, its row and its KEY=VALUE.
    """
    from sidestep.studies.recording import record as make

    for folder in folders:
        print(make(folder, recipe=recipe, analyse=_inside).save(cells))


def _inside(run: "Run") -> dict[str, float]:
    """What a cell remembers of the inside of a generator."""
    from sidestep.pipeline.analyse import analyse, as_numbers

    return as_numbers(analyse(run))


def _watch(table: "Callable[[Sequence[State]], str]") -> "Callable[[Sequence[State]], None]":
    """Says what is new of cells that run, are done or have failed, and what is left in all."""
    said: set[str] = set()

    def told(states: "Sequence[State]") -> None:
        *lines, total = table(states).splitlines()
        news = [line for line, state in zip(lines, states, strict=True) if state.condition != "left"]
        for line in news:
            if line not in said:
                say(line)
        said.update(news)
        say(total)

    return told

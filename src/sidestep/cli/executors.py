"""Who trains the cells of a study: options and their meaning."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sidestep.studies.executing import Begin, Crew

Executor = Literal["processes", "ray"]
ExecutorOption = Annotated[
    Executor, typer.Option(help="Who trains: processes of this machine, or Ray (RAY_ADDRESS). The cells are the same.")
]
CoresOption = Annotated[int | None, typer.Option(min=1, help="Processor cores to share [default: all].")]


def cores_of(cores: int | None) -> int:
    """The cores that a command has."""
    return cores or os.cpu_count() or 1


@contextmanager
def trainings(executor: Executor, cores: int) -> "Iterator[Begin]":
    """What begins a training, as long as the block runs."""
    from sidestep.studies.child import ENDS_WITH_INPUT
    from sidestep.studies.executing import Process

    if executor == "processes":
        yield Process
        return
    from sidestep.launch import ray_cells

    with ray_cells.trainings(cores, ENDS_WITH_INPUT) as begin:
        yield begin


@contextmanager
def crew_of(executor: Executor, cores: int | None) -> "Iterator[Crew | None]":
    """Who makes cells, as long as the block runs; None, for this process itself, where one core of it is asked for."""
    from sidestep.studies.executing import Crew

    number = cores_of(cores)
    if executor == "processes" and number == 1:
        yield None
        return
    with trainings(executor, number) as begin:
        yield Crew(begin, number)

"""Work that only one of several processes may do, while the others wait."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

from torch.distributed import DistError

from sidestep.errors import SidestepError, TrainingError, one_line
from sidestep.training.processes import LAUNCHED, Processes

Say = Callable[[str], None]


class Line(NamedTuple):
    """A line that a child wants to be printed."""

    text: str


LOST = ("gloo", "Connection closed by peer", "Connection reset by peer")
"""What gloo's errors say when another process has ended."""


def speaks_for_all() -> bool:
    """Whether this is the process that prints and writes what several have in common: the first, or the only one."""
    return Processes.launched().is_first


def first_alone(work: Callable[[Say], None], say: Say) -> None:
    """Let the first process of a launcher have some work done by a child that knows nothing of the launcher, so that
    what trains there trains alone. All of them return when it is done.

    work: something to pickle, called with a way to say a line.

    Raises:
        SidestepError: the child's, in the first process; the others end with exit code 2 and print nothing.
    """
    processes = Processes.launched()
    problem = processes.first_alone(lambda: _in_a_child(work, say))
    if problem and not processes.is_first:
        raise SystemExit(2)
    if problem:
        raise SidestepError(problem)


def _in_a_child(work: Callable[[Say], None], say: Say) -> str:
    """The problem of the work, or an empty text."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(work, theirs))
    with _unlaunched():
        child.start()
    theirs.close()
    with ours:
        try:
            while isinstance(message := ours.recv(), Line):
                say(message.text)
        except EOFError:
            message = None
    child.join()
    return f"the process that prepares the run ended with exit code {child.exitcode}" if message is None else message


def _child(work: Callable[[Say], None], parent: Connection) -> None:
    """Send the lines of the work, and at its end the problem, or an empty text."""
    problem = ""
    try:
        work(lambda line: parent.send(Line(line)))
    except SidestepError as error:
        problem = one_line(error)
    parent.send(problem)


@contextmanager
def together() -> Iterator[None]:
    """Several processes work together in the block. If one of them ends, so do the others, each with one line.

    Raises:
        TrainingError: another process was lost. KeyboardInterrupt: the launcher wants this one to end.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, DistError) and not any(word in str(error) for word in LOST):
            raise
        raise TrainingError(
            f"process {Processes.launched().rank} lost another one of this training, which has ended; the same command "
            "resumes from the last checkpoint"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _unlaunched() -> Iterator[None]:
    """An environment without a launcher's variables, for a child to inherit."""
    kept = {name: os.environ.pop(name) for name in LAUNCHED if name in os.environ}
    try:
        yield
    finally:
        os.environ |= kept

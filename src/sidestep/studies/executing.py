"""Who trains a study's cells: processes of this machine, or another engine that obeys the same orders."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from sidestep.errors import TrainingError
from sidestep.pipeline.run import LOCK
from sidestep.studies.child import ENDS_WITH_INPUT

STOP_SECONDS, POLL_SECONDS = 20.0, 0.2


@runtime_checkable
class Child(Protocol):
    """A training under way."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def terminate(self) -> None:
        """Ask it to end."""

    def close(self) -> None:
        """Wait for its end; make it end where it does not obey."""


Begin = Callable[[Sequence[str], Path, Path, int], Child]
"""Begins `sidestep WORDS...`: the words, the file that its output is appended to, the lock file of what it writes, and
its number of threads.
"""


class Process:
    """A training in a process of this machine, which ends with the study, however that ends."""

    def __init__(self, words: Sequence[str], output: Path, held: Path, threads: int) -> None:
        settings = {**os.environ, "OMP_NUM_THREADS": str(threads), ENDS_WITH_INPUT: "1"}
        command = [sys.executable, "-m", "sidestep", *words]
        with output.open("ab") as log:
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=settings)

    def poll(self) -> int | None:
        return self._child.poll()

    def terminate(self) -> None:
        self._child.terminate()

    def close(self) -> None:
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()


@dataclass(frozen=True)
class Crew:
    """Who makes cells, and how many cores they have."""

    begin: Begin
    cores: int


@dataclass(frozen=True)
class Job:
    """`sidestep WORDS... --out FOLDER`. name: for the lines about it. held: the run folder that it writes."""

    name: str
    words: tuple[str, ...]
    held: Path

    def begin(self, begin: Begin, threads: int) -> Child:
        """Begin it; its output is appended to `log_of` the folder."""
        self.held.parent.mkdir(parents=True, exist_ok=True)
        return begin(self.words, log_of(self.held), self.held / LOCK, threads)


def log_of(folder: Path) -> Path:
    """Where the output of a training in a run folder goes: beside it."""
    return folder.with_name(f"{folder.name}.log")


def problem_of(folder: Path, code: int) -> str:
    """What the training in a run folder said last, and where the rest stands."""
    lines = log_of(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    last = lines[-1] if lines else f"it ended with code {code}"
    return f"{last} (its output: {log_of(folder)})"


def stop(children: Collection[Child]) -> None:
    """End all of them, and wait until they have ended."""
    for child in children:
        child.terminate()
    for child in children:
        child.close()


def failure(failed: Collection[str], total: int) -> TrainingError:
    """That some of so many cells failed. failed: each with what it said."""
    return TrainingError(
        f"{len(failed)} of {total} cells failed, the first: {next(iter(failed))}; the others are written, and the same "
        "command retries the failed ones"
    )


def carry_out(jobs: Sequence[Job], crew: Crew, say: Callable[[str], None]) -> None:
    """Do all jobs, as many as cores at a time, which share the cores. They end with the caller.

    Raises:
        TrainingError: some failed; the others are done.
    """
    waiting, running, failed = list(jobs), dict[Job, Child](), list[str]()
    threads = max(1, crew.cores // max(min(len(jobs), crew.cores), 1))
    try:
        while waiting or running:
            while waiting and len(running) < crew.cores:
                job = waiting.pop(0)
                say(f"{job.name}: begun")
                running[job] = job.begin(crew.begin, threads)
            for job, child in list(running.items()):
                code = child.poll()
                if code is None:
                    continue
                child.close()
                del running[job]
                if code:
                    failed.append(f"{job.name}: {problem_of(job.held, code)}")
                say(failed[-1] if code else f"{job.name}: done")
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        stop(running.values())
    if failed:
        raise failure(failed, len(jobs))

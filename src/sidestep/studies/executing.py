"""Who trains a study's cells: processes of this machine, or another engine that obeys the same orders."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from sidestep.studies.child import ENDS_WITH_INPUT

STOP_SECONDS = 20.0


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

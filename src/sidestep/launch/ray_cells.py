"""A study's trainings as tasks of Ray, on the cluster that RAY_ADDRESS names or on a small one of this machine's own.

A task runs the command that a process of this machine would run, in the same folders, which all nodes must see. Ray
repeats a task whose worker died; the training then goes on from its last checkpoint.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sidestep import lock
from sidestep.errors import brief
from sidestep.launch.ray_data import session

RETRIES = 3
"""How often a training is begun again after its worker died."""
FREE_SECONDS, POLL_SECONDS = 60.0, 0.2
"""How long a training waits for one that a killed worker left behind, which ends by itself."""
FAILED = 1


class Task:
    """A training under way: `studies.executing.Child`."""

    def __init__(self, ray: Any, reference: Any, output: Path) -> None:
        self._ray, self._reference, self._output = ray, reference, output

    def poll(self) -> int | None:
        done, _ = self._ray.wait([self._reference], timeout=0)
        return self._code() if done else None

    def terminate(self) -> None:
        self._ray.cancel(self._reference, force=True)

    def close(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.get(self._reference)

    def _code(self) -> int:
        try:
            return int(self._ray.get(self._reference))
        except self._ray.exceptions.RayError as error:
            with self._output.open("a", encoding="utf-8") as log:
                log.write(f"error: Ray gave the training up: {brief(error, 200)}\n")
            return FAILED


@contextmanager
def trainings(cores: int, variable: str) -> Iterator[Callable[[Sequence[str], Path, Path, int], Task]]:
    """Begins trainings by Ray: `studies.executing.Begin`, as long as the block runs.

    cores: of a cluster that is started here. variable: of the environment, which tells a command to end with its input.

    Raises:
        MissingExtraError: Ray is not installed. EngineError: there is no such cluster.
    """
    with session(cores) as ray:
        train = ray.remote(max_retries=RETRIES)(_train)

        def begin(words: Sequence[str], output: Path, held: Path, threads: int) -> Task:
            settings = {"OMP_NUM_THREADS": str(threads), variable: "1"}
            paths = [str(path.absolute()) for path in (output, held)]
            reference = train.options(num_cpus=threads).remote([*words], *paths, os.getcwd(), settings)
            return Task(ray, reference, output)

        yield begin


def _train(words: Sequence[str], output: str, held: str, folder: str, settings: Mapping[str, str]) -> int:
    """The exit code of `sidestep WORDS...` in a folder. The command ends with this worker."""
    until = time.monotonic() + FREE_SECONDS
    while lock.holder(Path(held)) is not None and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    command = [sys.executable, "-m", "sidestep", *words]
    surroundings = {**os.environ, **settings}
    with (
        open(output, "ab") as log,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log, env=surroundings) as child,
    ):
        return child.wait()

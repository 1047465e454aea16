"""A study's trainings as Ray sees them, without Ray: what a worker runs, when, and what is said where Ray gives up."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sidestep import lock
from sidestep.launch.ray_cells import Task, _train
from sidestep.studies.executing import Child


def test_a_worker_runs_the_command_in_the_folder_with_the_settings_and_appends_its_output(tmp_path: Path) -> None:
    output, words = tmp_path / "cell.log", ["config", "nothing.toml"]
    output.write_text("before\n")
    code = _train(words, str(output), str(tmp_path / "lock"), str(tmp_path), {"OMP_NUM_THREADS": "1"})
    first, *said = output.read_text().splitlines()
    assert (code, first) == (2, "before")
    assert "nothing.toml" in said[-1]


def test_a_worker_waits_for_what_a_killed_one_left_behind(tmp_path: Path) -> None:
    held, output, ended = tmp_path / "run.lock", tmp_path / "cell.log", list[float]()

    def leave() -> None:
        with lock.held(held, tmp_path):
            time.sleep(1.5)
            ended.append(time.monotonic())
            assert not output.exists()

    other = threading.Thread(target=leave)
    other.start()
    while not held.exists():
        time.sleep(0.01)
    assert _train(["--version"], str(output), str(held), str(tmp_path), {}) == 0
    other.join()
    assert time.monotonic() > ended[0]
    assert output.read_text().startswith("sidestep ")


def test_where_ray_gives_up_the_training_has_failed_and_its_output_ends_with_the_reason(tmp_path: Path) -> None:
    class RayError(Exception):
        pass

    def get(reference: Any) -> int:
        raise RayError("the node is gone\nand this is its trace")

    ray = SimpleNamespace(
        get=get, wait=lambda found, timeout: (found, []), exceptions=SimpleNamespace(RayError=RayError)
    )
    task = Task(ray, "reference", tmp_path / "cell.log")
    assert isinstance(task, Child)
    assert task.poll() == 1
    task.close()
    assert (tmp_path / "cell.log").read_text().startswith("error: Ray gave the training up: the node is gone")
    assert len((tmp_path / "cell.log").read_text().splitlines()) == 1


def test_a_training_that_runs_has_no_code(tmp_path: Path) -> None:
    ray = SimpleNamespace(wait=lambda found, timeout: ([], found))
    assert Task(ray, "reference", tmp_path / "cell.log").poll() is None

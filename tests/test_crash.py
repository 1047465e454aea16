"""Verbs that are killed at random moments, in short: `benchmarks/crash.py` has more of them, and full disks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = Path(__file__).parents[1] / "benchmarks" / "crash.py"


def counts(*words: object) -> dict[str, list[int]]:
    """Of every kind of trial the good ones and all."""
    ran = subprocess.run(
        [sys.executable, CRASH, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ran.returncode == 0, (ran.stdout[-2000:], ran.stderr[-2000:])
    found = json.loads(ran.stdout.splitlines()[-1])
    return {name: value for name, value in found.items() if isinstance(value, list)}


def test_an_export_that_was_killed_ends_with_the_bytes_of_an_uninterrupted_one(finished: Path) -> None:
    assert counts("--kills", 20, "--seed", 3, "--only", "export", "--kills-only", "--run", finished) == {
        "killed export": [3, 3]
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_verb_that_was_killed_ends_with_the_bytes_of_an_uninterrupted_one() -> None:
    found = counts("--kills", 40, "--seed", 4, "--kills-only")
    assert sum(total for _, total in found.values()) >= 40
    assert all(good == total for good, total in found.values())

"""What only loading needed is returned to the system."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sidestep.serving.memory import give_back

PAGE = 4096


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_was_freed_below_something_that_is_held_goes_back_to_the_system() -> None:
    small = [np.ones(2_000) for _ in range(4_000)]  # 64 MB in pieces that the C library keeps when they are freed
    held = np.ones(2_000)
    del small
    before = resident()
    give_back()
    assert before - resident() > 30_000_000
    assert held.sum() == 2_000

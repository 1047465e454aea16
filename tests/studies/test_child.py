"""A study's processes end with it, also where it is killed and cannot end them."""

import os
import subprocess
import sys
import time
from pathlib import Path

STUDY = """
import os, subprocess, sys
from sidestep.studies.child import ENDS_WITH_INPUT
code = ("import threading; from sidestep.studies.child import end_with_input; end_with_input(); print(flush=True); "
        "threading.Event().wait()")
child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         env={**os.environ, ENDS_WITH_INPUT: "1"})
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


def test_a_killed_study_leaves_no_process_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", STUDY], stdout=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        child = int(study.stdout.readline())
        os.kill(child, 0)
        study.kill()
        deadline = time.monotonic() + 30
        while _lives(child):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _lives(process: int) -> bool:
    """Whether it runs; one that waits to be collected does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] != "Z"

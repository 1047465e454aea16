"""A cell's process ends with its study, however that ends: it reads an input that the study holds open."""

import os
import signal
import threading

ENDS_WITH_INPUT = "SIDESTEP_ENDS_WITH_INPUT"
"""Set in the environment of a study's processes."""


def end_with_input() -> None:
    """Where the environment asks for it, end this process when its standard input does. What is written stays whole,
    as after any kill.
    """
    if os.environ.pop(ENDS_WITH_INPUT, ""):
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

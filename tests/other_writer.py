"""Somebody else at work in the same folder."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidestep import lock


@contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    """Another thread holds a lock: for whoever asks, that is another writer."""
    path.parent.mkdir(exist_ok=True)
    holds, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.held(path, path):
            holds.set()
            ends.wait()

    other = threading.Thread(target=hold)
    other.start()
    holds.wait()
    try:
        yield
    finally:
        ends.set()
        other.join()

"""One writer at a time: a lock file that names its holder. The system frees the lock when the holder ends, however it
ends, so that a lock file left by a killed process stops nobody.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sidestep.errors import LockedError

if sys.platform != "win32":
    import fcntl

POLL_SECONDS = 0.02
_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""The lock files of this thread; it may take them again."""


@dataclass(frozen=True)
class Holder:
    """Who writes. since: in UTC, to the second."""

    pid: int
    host: str
    command: str
    since: str

    @classmethod
    def current(cls) -> "Holder":
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        since = datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "seconds")
        return cls(os.getpid(), socket.gethostname(), command[:200], since)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} UTC ({self.command})"


@contextmanager
def held(path: Path, subject: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` until the block ends; a block inside of it may hold it again.

    subject: what is written, for the message. wait: seconds to wait for another holder.

    Raises:
        LockedError: another process, or another thread, holds it.
    """
    path = path.parent.resolve() / path.name
    if path in _HELD.get():
        yield
        return
    file = _acquire(path, subject, wait)
    token = _HELD.set(_HELD.get() | {path})
    try:
        yield
    finally:
        _HELD.reset(token)
        path.unlink(missing_ok=True)
        os.close(file)


def holder(path: Path) -> Holder | None:
    """The living holder of a lock file; None where nobody holds it.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _lock(file) else _read(path)
    finally:
        os.close(file)


def _acquire(path: Path, subject: Path, wait: float) -> int:
    deadline = time.monotonic() + wait
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = _lock(file)
            if locked and _is_at(file, path):  # else its last holder has removed it meanwhile
                with suppress(OSError):  # the name is for others; a full disk is met where something is written
                    os.ftruncate(file, 0)
                    os.write(file, json.dumps(asdict(Holder.current())).encode())
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if not locked and time.monotonic() >= deadline:
            raise LockedError(
                f"{str(subject)!r} is being written by {_read(path) or 'another process'}; wait until it has ended, "
                "or stop it"
            )
        time.sleep(POLL_SECONDS)


def _lock(file: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

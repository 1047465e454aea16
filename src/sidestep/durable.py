"""Files and folders that are written whole or not at all, by one process at a time, and that survive a power cut."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sidestep import lock
from sidestep.errors import ArtifactError, LockedError

SECONDS_TO_WRITE, SECONDS_TO_RENAME = 10.0, 2.0
"""How long a file's second writer, and a reader between two renames of a folder, wait for the other process."""
_LEFT_BEHIND = re.compile(r"\.(.+)\.(?:lock|new|old)")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its place when the block ends well, and vanishes when it does not.

    `.NAME.new` is being written, and `.NAME.old` is the replaced folder until the new one is in place; `.NAME.lock`
    makes sure that they are one process's. What a crash leaves of the three, the next writer or reader clears away.

    Raises:
        LockedError: another process writes the same folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging, old = _beside(folder, "new"), _beside(folder, "old")
    with lock.held(_beside(folder, "lock"), folder):
        _clear(folder)
        staging.mkdir()
        try:
            yield staging
            sync(staging)
            if os.path.lexists(folder):
                folder.rename(old)
            staging.rename(folder)
            sync(folder.parent)
        finally:
            _clear(folder)


def recover(folder: Path) -> None:
    """Put an artifact back into its place that a crash has left beside it, between two renames."""
    if _beside(folder, "old").exists():
        with suppress(OSError, LockedError), lock.held(_beside(folder, "lock"), folder, wait=SECONDS_TO_RENAME):
            _clear(folder)


def sweep(folder: Path) -> None:
    """Recover every artifact below a folder, and remove what crashes have left there; what is being written stays."""
    for path in {path.with_name(_LEFT_BEHIND.sub(r"\1", path.name)) for path in left_behind(folder)}:
        with suppress(LockedError), lock.held(_beside(path, "lock"), path):
            _clear(path)


def left_behind(folder: Path) -> list[Path]:
    """What `sweep` looks at."""
    below = [Path(place) / name for place, *names in os.walk(folder) for name in (*names[0], *names[1])]
    inside = [path for path in below if not any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])]
    return [path for path in inside if _LEFT_BEHIND.fullmatch(path.name)]


def _clear(path: Path) -> None:
    old = _beside(path, "old")
    if os.path.lexists(old) and not os.path.lexists(path):
        old.rename(path)
    for rest in (old, _beside(path, "new")):
        if rest.is_dir() and not rest.is_symlink():
            shutil.rmtree(rest, ignore_errors=True)
        else:
            rest.unlink(missing_ok=True)


def _beside(path: Path, part: str) -> Path:
    return path.with_name(f".{path.name}.{part}")


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place in one step when the block ends well, and vanishes when it does not.
    Where `path` is a link, the file that it names is replaced.

    Raises:
        ArtifactError: something is there that is no regular file. LockedError: another process is at it for long.
    """
    path = path.resolve() if path.is_symlink() else path
    refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = _beside(path, "new")
    with lock.held(_beside(path, "lock"), path, wait=SECONDS_TO_WRITE):
        try:
            yield staging
            sync(staging)
            staging.replace(path)
            sync(path.parent)
        finally:
            staging.unlink(missing_ok=True)


def refuse_special(path: Path) -> None:
    """Raises:
    ArtifactError: there is a folder, a device, a pipe: something that no file may replace.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise ArtifactError(f"{str(path)!r} is {kind}; expected the name of a file to write")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and sys.platform == "win32":
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    with replacing_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path, way_out: str = "restore it, or remove it") -> Any:
    """Raises:
    ArtifactError: no JSON. OSError: no file that can be read.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"Cannot read {str(path)!r}: {first_line(error)}; {way_out}") from None


def first_line(error: BaseException) -> str:
    """What an error of a library below says, in a few words."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

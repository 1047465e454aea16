"""Metrics as JSON lines. The loop can also send the same numbers to TensorBoard, W&B or MLflow."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidestep.durable import write_text
from sidestep.errors import ArtifactError

FILE = "log.jsonl"
CHECK = "check"
"""The last key of a line: the beginning of the SHA-256 of the others."""


class JsonLog:
    """One JSON object per line, with its step. Without a folder, the lines are kept in memory only."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / FILE
        self.rows = [] if folder is None else read_log(folder)

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`: a resumed run writes them again."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        if self._path is not None:
            write_text(self._path, "".join(map(_line, self.rows)))

    def write(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
                file.flush()
                os.fsync(file.fileno())


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a training's log, an epoch each; none where there is no log. A last line without its end, which is
    still being written or was cut off by a crash, is left out.

    Raises:
        ArtifactError: a whole line is no row, or was changed after it was written.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    rows = []
    *lines, _torn = path.read_bytes().split(b"\n")
    checked = any(f'"{CHECK}": '.encode() in line for line in lines)  # logs of earlier releases are not
    for number, line in enumerate(lines, start=1):
        row = _row(line, checked)
        if row is None:
            raise ArtifactError(
                f"Line {number} of {str(path)!r} is {line[:40].decode(errors='replace')!r}, expected a JSON object of "
                "numbers that nobody has changed; restore the file, or remove it: it only records how the training went"
            )
        rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps({**row, CHECK: _check(row)}) + "\n"


def _row(line: bytes, checked: bool) -> dict[str, Any] | None:
    """A line without its check; None for anything else."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or (checked and row.pop(CHECK, "") != _check(row)):
        return None
    plain = all(value is None or isinstance(value, int | float) for value in row.values())
    return row if plain and isinstance(row.get("step"), int) else None


def _check(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:8]

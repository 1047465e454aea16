"""Metrics as JSON lines. The loop can also send the same numbers to TensorBoard, W&B or MLflow."""

import json
from pathlib import Path
from typing import Any

from sidestep.artifact import write_text
from sidestep.errors import ArtifactError

FILE = "log.jsonl"


class JsonLog:
    """One JSON object per line, with its step. Without a folder, the lines are kept in memory only."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / FILE
        self.rows = [] if folder is None else read_log(folder)

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`: a resumed run writes them again."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        if self._path is not None:
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def write(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a training's log, an epoch each; none where there is no log. A last line without its end, which is
    still being written or was cut off by a crash, is left out.

    Raises:
        ArtifactError: a whole line is no JSON object.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if not line.endswith("\n") or not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise ArtifactError(
                f"Line {number} of {str(path)!r} is {line.strip()[:40]!r}, expected a JSON object; restore the file, "
                "or remove it: it only records how the training went"
            )
        rows.append(row)
    return rows

"""Metrics as JSON lines, always; the loop hands the same numbers to TensorBoard, W&B or MLflow when asked."""

import json
from pathlib import Path
from typing import Any

from sidestep.artifact import write_text


class JsonLog:
    """One JSON object a line, each with the step it belongs to. Without a path the lines are kept in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.is_file():
            self.rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`: a resumed run writes it again."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        if self._path is not None:
            write_text(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def write(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

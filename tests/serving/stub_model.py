"""A model that loads at once: what a server's child process runs where a test is not about answers."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidestep import bundle
from sidestep.errors import ArtifactError

HANGS_AT = 7
"""A history with this item never ends its search."""
GATE = "gate"
"""While a file of this name lies beside the bundle, no model is loaded."""


class StubModel:
    """Answers with the first items."""

    def __init__(self, folder: Path, digest: str, threads: int) -> None:
        while (folder.parent / GATE).exists():
            time.sleep(0.01)
        if bundle.read(folder).digest != digest:
            raise ArtifactError(f"{str(folder)!r} was replaced")

    def keep_filter(self, name: str, bits: bytes) -> None: ...

    def forget_filter(self, name: str) -> None: ...

    def answer(
        self,
        histories: Sequence[Sequence[int]],
        excluded: Sequence[Sequence[int]],
        k: int,
        beams: int | None,
        allowed: str | None,
        explain: bool,
        times: Sequence[Sequence[int]] | None = None,
        at: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        while any(HANGS_AT in history for history in histories):
            time.sleep(1)
        return {"items": [list(range(k))] * len(histories), "scores": [[0.0] * k] * len(histories), "paths": []}

"""Jobs for the tests of shards. Workers import them by name, so they stand in a module that they can find."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sidestep.errors import DataError


@dataclass(frozen=True)
class Doubling:
    """`number` -> `number`, `twice`. refuses: a number that no work is done for. offset: a setting."""

    refuses: int = -1
    offset: int = 0
    title = "double"
    needs = ("number",)

    def identity(self) -> dict[str, Any]:
        return {"offset": self.offset}

    def open(self) -> Callable[[pl.DataFrame], pl.DataFrame]:
        return self._work

    def _work(self, table: pl.DataFrame) -> pl.DataFrame:
        if self.refuses in table["number"]:
            raise DataError(f"the number {self.refuses}\nis refused")
        return table.select("number", twice=2 * pl.col("number") + self.offset)


@dataclass(frozen=True)
class Dying(Doubling):
    """Its first worker to meet `at` is killed."""

    at: int = 0
    flag: Path = Path()
    pause: float = 0.0

    def _work(self, table: pl.DataFrame) -> pl.DataFrame:
        time.sleep(self.pause)
        if self.at in table["number"] and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._work(table)

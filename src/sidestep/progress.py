"""Progress of long work on standard error: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

_PLAIN_SECONDS = 15.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class Meter:
    """Shows the amount of work done. `note`: a short text beside the bar, such as the loss."""

    def update(self, done: int, note: str = "") -> None:
        raise NotImplementedError


class _Bar(Meter):
    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def update(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)  # type: ignore[arg-type]


class _Lines(Meter):
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._begun = self._last = time.monotonic()
        self._first: int | None = None

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._last < _PLAIN_SECONDS and done != self._total:
            return
        if done == self._total and now - self._begun < _PLAIN_SECONDS:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._begun, 1e-9)
        left = f", {(self._total - done) / rate:.0f} s left" if rate > 0 else ""
        print(f"{self._title}: {done}/{self._total} at {rate:.1f}/s{left} {note}".rstrip(), file=sys.stderr, flush=True)


@contextmanager
def meter(title: str, total: int) -> Iterator[Meter]:
    """Show the progress of work that has `total` steps."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        _Rate(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, progress.add_task(title, total=total, note=""))

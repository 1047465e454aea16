"""Progress of long work on standard error: a bar with rate and time left on a terminal, one line that is rewritten in a
notebook, plain lines elsewhere.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

_PLAIN_SECONDS = 15.0
_REWRITE_SECONDS = 0.25


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class Meter:
    """Shows the amount of work done. `note`: a short text beside the bar, such as the loss."""

    def update(self, done: int, note: str = "") -> None:
        raise NotImplementedError


class _Silent(Meter):
    def update(self, done: int, note: str = "") -> None:
        pass


class _Bar(Meter):
    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def update(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)  # type: ignore[arg-type]


class _Text(Meter):
    """A title with amount, rate and time left."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._begun = time.monotonic()
        self._first: int | None = None

    def _line(self, done: int, note: str) -> str:
        self._first = done if self._first is None else self._first
        rate = (done - self._first) / max(time.monotonic() - self._begun, 1e-9)
        left = f", {(self._total - done) / rate:.0f} s left" if rate > 0 else ""
        return f"{self._title}: {done}/{self._total} at {rate:.1f}/s{left} {note}".rstrip()


class _Lines(_Text):
    """A line every quarter of a minute; none for what takes less."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total)
        self._last = self._begun

    def update(self, done: int, note: str = "") -> None:
        now, line = time.monotonic(), self._line(done, note)
        if now - self._last < _PLAIN_SECONDS and done != self._total:
            return
        if done == self._total and now - self._begun < _PLAIN_SECONDS:
            return
        self._last = now
        print(line, file=sys.stderr, flush=True)


class _Rewritten(_Text):
    """One line that replaces itself, as the cells of a notebook show a carriage return."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total)
        self._last, self._width = -_REWRITE_SECONDS, 0

    def update(self, done: int, note: str = "") -> None:
        now, line = time.monotonic(), self._line(done, note)
        if now - self._last < _REWRITE_SECONDS and done != self._total:
            return
        self._last = now
        print(f"\r{line:{self._width}}", end="", file=sys.stderr, flush=True)  # blanks over a longer line before it
        self._width = len(line)

    def end(self) -> None:
        if self._width:
            print(file=sys.stderr, flush=True)


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook. IPython is not imported for that."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def meter(title: str, total: int) -> Iterator[Meter]:
    """Show the progress of work that has `total` steps; of several processes of a launcher, the first shows it."""
    if os.environ.get("RANK", "0") != "0":
        yield _Silent()
        return
    if in_notebook():
        line = _Rewritten(title, total)
        try:
            yield line
        finally:
            line.end()
        return
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

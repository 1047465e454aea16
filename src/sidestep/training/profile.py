"""The time of each part of a training step, measured by `torch.profiler` on steps of the real loop."""

import errno
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import record_function
from torch.utils.hooks import RemovableHandle

from sidestep.training.loop import Training

PHASES = ("data", "forward", "backward", "clip", "optimiser")
"""The loop's names of the parts of a step."""
SHOWN_OPERATORS = 12


@dataclass(frozen=True)
class Profile:
    """The result of `profile`. Shares are of the time of the profiled steps; for operators, without callees.

    parts: name and share of each part of a step, in order; a part of the forward pass is indented.
    operators: name, share and calls per step, the most expensive first.
    examples: per step, on average. cpu_ms: processor time of a step without the profiler, over all cores.
    overhead: relative increase of the time of a step under the profiler.
    score_ms: processor time of one validation, if the run has one.
    """

    parts: list[tuple[str, float]]
    operators: list[tuple[str, float, float]]
    steps: int
    steps_per_epoch: int
    examples: float
    cpu_ms: float
    overhead: float
    score_ms: float | None

    def text(self) -> str:
        """Two tables and a few sentences, for a terminal or a file."""
        parts = Table("part of a step", "share", box=box.SIMPLE)
        operators = Table("operator", "own time", "calls a step", box=box.SIMPLE)
        for name, share in self.parts:
            parts.add_row(name, f"{share:.1%}")
        for name, share, calls in self.operators:
            operators.add_row(name, f"{share:.1%}", f"{calls:.0f}")
        for column in (*parts.columns[1:], *operators.columns[1:]):
            column.justify = "right"
        console = Console(file=io.StringIO(), width=200, no_color=True)
        console.print(parts, operators)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue() + "\n".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        yield (
            f"A step takes {self.cpu_ms:.1f} ms of processor time for {self.examples:.0f} targets: "
            f"{1000 * self.examples / self.cpu_ms:,.0f} targets per CPU-second, {torch.get_num_threads()} thread(s)."
        )
        epoch = self.cpu_ms * self.steps_per_epoch / 1000
        after = "" if self.score_ms is None else f", and its validation {self.score_ms / 1000:.1f} s"
        yield f"An epoch of {self.steps_per_epoch:,} steps takes about {epoch:,.1f} CPU-s{after}."
        yield f"The shares are of {self.steps} steps; the profiler made them {max(self.overhead, 0):.0%} longer."


def profile(run: Training, *, count: Callable[[Any], int], steps: int = 10, trace: Path | None = None) -> Profile:
    """Run a few steps of a training and measure the time of their parts. The model must not be used afterwards.

    count: the number of examples in a batch. steps: number of steps, run once without and once with the profiler, after
        half as many to warm up. trace: file for a trace that Chrome's tracing page displays.

    Raises:
        OSError: the trace cannot be written.
    """
    if trace is not None:
        trace.touch()  # raises what the profiler's library keeps to itself
    order = itertools.cycle(run.order(0))
    run.model.train()
    _time_steps(run, list(itertools.islice(order, max(steps // 2, 1))))
    chosen, score = list(itertools.islice(order, steps)), run.hooks.score
    plain = _time_steps(run, chosen)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler's library prints to standard error
    with _named_parts(run.bare), torch.profiler.profile() as watch:
        profiled = _time_steps(run, chosen)
    if trace is not None:
        watch.export_chrome_trace(str(trace))
        if not trace.read_bytes().rstrip().endswith(b"}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(trace))
    return Profile(
        *_tables(watch, steps, [name for name, _ in run.bare.named_children()]),
        steps=steps,
        steps_per_epoch=run.steps_per_epoch,
        examples=sum(count(run.data.load(index)) for index in chosen) / steps,
        cpu_ms=1000 * plain / steps,
        overhead=profiled / plain - 1,
        score_ms=None if score is None else 1000 * _time(lambda: run.score(score)),
    )


def _time_steps(run: Training, chosen: list[Any]) -> float:
    """Processor time of one step on each of these batches."""

    def steps() -> None:
        for index in chosen:
            with record_function("step"):
                run.step(index)
                run.progress.step += 1

    return _time(steps)


def _time(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


@contextmanager
def _named_parts(model: nn.Module) -> Iterator[None]:
    """A context in which the time in each of a model's children is recorded under the child's name.

    Descendants have hooks too, since a model may call them without their parent.
    """
    open_parts: list[ExitStack] = []
    handles: list[RemovableHandle] = []

    def watch(module: nn.Module, name: str) -> None:
        def begin(*_: Any) -> None:
            part = ExitStack()
            part.enter_context(record_function("within" if open_parts else name))
            open_parts.append(part)

        def end(*_: Any) -> None:
            open_parts.pop().close()

        handles.append(module.register_forward_pre_hook(begin))
        handles.append(module.register_forward_hook(end, always_call=True))

    for name, child in model.named_children():
        for module in child.modules():
            watch(module, _part(name))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _part(name: str) -> str:
    return f"model.{name}"


def _tables(
    watch: torch.profiler.profile, steps: int, children: list[str]
) -> tuple[list[tuple[str, float]], list[tuple[str, float, float]]]:
    """The parts and the operators of `Profile`."""
    ours = {"step", "within", *PHASES, *map(_part, children)}
    averages = watch.key_averages()
    total = {row.key: row.cpu_time_total for row in averages if row.key in ours}
    below = {f"  {name}": total[_part(name)] for name in children if _part(name) in total}
    parts = {name: total[name] for name in PHASES if name in total}
    rest = total["step"] - sum(parts.values())
    ordered = list(parts.items())
    ordered[2:2] = [*below.items(), ("  heads, losses and the rest", parts["forward"] - sum(below.values()))]
    ordered.append(("the rest", rest))
    operators = sorted((row for row in averages if row.key not in ours), key=lambda row: -row.self_cpu_time_total)
    own = [(row.key, row.self_cpu_time_total / total["step"], row.count / steps) for row in operators[:SHOWN_OPERATORS]]
    return [(name, spent / total["step"]) for name, spent in ordered], own

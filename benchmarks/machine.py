"""What the benchmarks share: the machine's own peak, honest clocks, and the last line of every report.

Times are the process's CPU time, which a busy neighbour disturbs least, and contestants take turns (A, B, A, B), so
that a slow minute of the machine falls on all of them. On several threads the wall clock counts instead.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F

from sidestep.layers.products import fast_products

PEAK_SHAPES = ((1024, 1024, 1024), (2048, 1024, 1024), (2048, 2048, 2048))
"""Rows, summed width and columns of the products that the peak is the best of."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one contestant over its rounds: CPU of all threads, and wall."""

    cpu: Sequence[float]
    wall: Sequence[float]

    @property
    def best(self) -> float:
        """The least CPU time: what the work takes when nobody disturbs it."""
        return min(self.cpu)

    @property
    def median(self) -> float:
        return statistics.median(self.cpu)

    @property
    def best_wall(self) -> float:
        return min(self.wall)


Work = Sequence[Callable[[], object]]
"""What a contestant does, in parts (one for each batch, say), so that it can be warmed with the last of them."""


def take_turns(contestants: Mapping[str, Work], rounds: int) -> dict[str, Timing]:
    """Warm every contestant with the last part of its work, then let each do all of it, in turn, `rounds` times."""
    for work in contestants.values():
        work[-1]()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            times[name].append(_seconds(work))
    return {name: Timing(*zip(*pairs, strict=True)) for name, pairs in times.items()}


def _seconds(work: Work) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for part in work:
        part()
    return time.process_time() - cpu, time.perf_counter() - wall


T = TypeVar("T")


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of one run, and what it gave."""
    begun = time.process_time()
    given = run()
    return time.process_time() - begun, given


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Peaks:
    """Multiply-adds a second (10^9) of the best large matrix product, for one number of threads.

    default: float32 by the route PyTorch takes by itself. fast: float32 by the faster library, where that is as exact.
    bf16: bfloat16.
    """

    threads: int
    default: float
    fast: float
    bf16: float

    @property
    def fp32(self) -> float:
        return max(self.default, self.fast)

    def of(self, precision: str) -> float:
        return self.bf16 if precision == "bf16" else self.fp32

    def __str__(self) -> str:
        return (
            f"peak on {self.threads} thread(s), 10^9 multiply-adds/s: fp32 {self.default:.0f} by default, "
            f"{self.fast:.0f} by the faster library; bf16 {self.bf16:.0f}"
        )


def peaks(number: int, quick: bool = False) -> Peaks:
    """Measure the peaks on `number` threads. Threads share the wall's time, so that is the clock here."""
    shapes = PEAK_SHAPES[:1] if quick else PEAK_SHAPES
    best = {"default": 0.0, "fast": 0.0, "bf16": 0.0}
    with threads(number), torch.no_grad():
        for rows, width, columns in shapes:
            x, weight = torch.randn(rows, width), torch.randn(columns, width)
            contestants: dict[str, Work] = {
                "default": [partial(F.linear, x, weight)],
                "fast": [partial(_fast, x, weight)],
                "bf16": [partial(F.linear, x.bfloat16(), weight.bfloat16())],
            }
            timings = take_turns(contestants, 5 if quick else 20)
            for name, timing in timings.items():
                seconds = timing.best if number == 1 else timing.best_wall
                best[name] = max(best[name], rows * width * columns / seconds / 1e9)
    return Peaks(number, **best)


def _fast(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    with fast_products():
        return F.linear(x, weight)


def products(fast: bool) -> AbstractContextManager[None]:
    """The setting under which a peer runs: PyTorch's default, or the faster float32 library that Sidestep takes."""
    return fast_products() if fast else nullcontext()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The model's name in /proc/cpuinfo, with its family and number, since a virtual machine may hide the name."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return "unknown"
    pairs = [line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line]
    found = {name.strip(): value.strip() for name, value in reversed(pairs)}
    family, number = (found.get(key, "?") for key in ("cpu family", "model"))
    return f"{found.get('model name', 'unknown')} (family {family}, model {number})"


def report(bench: str, protocol: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """The last line: one JSON object."""
    print(json.dumps(line_of(bench, protocol, results), default=_short))


def line_of(bench: str, protocol: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The results of a benchmark with the moment and the machine."""
    return {
        "bench": bench,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": processor(),
        "cores": cores(),
        "torch": torch.__version__,
        "protocol": dict(protocol),
        **results,
    }


def _short(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def rounded(value: float, digits: int = 3) -> float:
    """A number as short as its meaning: `digits` significant figures."""
    return float(f"{value:.{digits}g}")


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """Columns as wide as they need to be; the first is text, the others are numbers."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def main() -> None:
    torch.set_num_threads(1)
    for number in sorted({1, cores()}):
        print(peaks(number))


if __name__ == "__main__":
    main()

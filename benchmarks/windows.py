"""Windows of load on a server, and what they measured: the apparatus of `serve.py`."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from load import Generator, Order, Outcome, together
from served import Served, Shop

CLIENTS = (1, 4, 16, 64)


def ratio(one: float, other: float) -> float:
    """How much the one is of the other; no number where a busy machine left nothing of the other."""
    return one / other if other else math.nan


@dataclass
class Measured:
    """One row's rounds. cores: of HTTP and of the model, each round."""

    outcomes: list[Outcome] = field(default_factory=list)
    cores: list[tuple[float, float]] = field(default_factory=list)

    @property
    def all(self) -> Outcome:
        return together(self.outcomes)

    @property
    def rate(self) -> float:
        return median(outcome.rate for outcome in self.outcomes)

    def cells(self) -> list[str]:
        """Rate, p50, p99, and the cores of HTTP, the model and the load."""
        every = self.all
        cores = [sum(each) / len(self.cores) for each in zip(*self.cores, strict=True)]
        times = [f"{every.within(share):.1f}" for share in (0.5, 0.99)]
        return [f"{self.rate:.0f}", *times, *(f"{each:.2f}" for each in (*cores, every.cpu))]


CELLS = ["requests/s", "p50 ms", "p99 ms", "HTTP", "model", "load"]


@dataclass(frozen=True)
class Bench:
    """seconds: of one window. rounds: of every comparison. place: for files that go with the run."""

    shop: Shop
    load: Generator
    place: Path
    seconds: float
    rounds: int

    def bodies(self, **asked: Any) -> str:
        name = "-".join(f"{key}={value}" for key, value in asked.items() if not isinstance(value, dict))
        return self.shop.bodies(self.place / f"{name}-{len(list(self.place.iterdir()))}.jsonl", **asked)

    def closed(self, measured: Measured, server: Served, bodies: str, clients: int) -> None:
        """Twice as long for the most clients, whose answers come in bursts and tell the capacity."""
        warm, seconds = 0.1 * self.seconds, self.seconds * (1 + (clients == max(CLIENTS)))
        self._run(measured, server, Order(server.port, bodies, warm + seconds, clients, warm=warm))

    def open(self, measured: Measured, server: Served, bodies: str, rate: float) -> None:
        """Twice as long, since arrivals at random crowd and thin out."""
        warm = 0.2 * self.seconds
        self._run(measured, server, Order(server.port, bodies, warm + 2 * self.seconds, 16, rate, warm))

    def _run(self, measured: Measured, server: Served, order: Order) -> None:
        begun, before = time.perf_counter(), server.cpu()
        measured.outcomes.append(self.load.run(order))
        seconds = time.perf_counter() - begun
        http, model = ((after - was) / seconds for after, was in zip(server.cpu(), before, strict=True))
        measured.cores.append((http, model))

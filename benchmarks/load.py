"""The load of `make bench-serve`: a process of its own, which asks a server as fast or as often as it is told.

It reads one order a line on standard input and answers each with one line. Requests are made before the clock starts,
connections are kept, and an answer is read no further than its status and its length, so that little of the machine is
taken from the server; what is taken is told.

A closed loop keeps every connection busy: a new request is sent when the answer is there. An open loop sends at moments
drawn before (a Poisson process), whatever the server does, and counts the time from that moment, also where the request
had to wait for a connection: a slow server cannot thin out its own load.
"""

import asyncio
import json
import random
import resource
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import cast

from uvicorn import Config

LOST = "lost"
CONNECTIONS = 512
"""The most that are open at once in an open loop."""
STALE = 3.0
"""Seconds after which an idle connection is not used again; the server may be about to close it."""
PATIENCE = 30.0
"""Seconds to wait for the last answers."""


@dataclass(frozen=True)
class Order:
    """bodies: a file with the body of a request a line, sent in turn. seconds: how long new requests are sent.
    rate: arrivals a second; None is a closed loop of `clients`. warm: seconds at the start that are not counted.
    requests: how many to send at most.
    """

    port: int
    bodies: str
    seconds: float
    clients: int = 1
    rate: float | None = None
    warm: float = 0.0
    requests: int | None = None


@dataclass(frozen=True)
class Outcome:
    """seconds: what was counted took. statuses: of all that was counted; `LOST` where the connection broke. ms: of each
    answer with status 200, sorted. unsaid: how many 503 had no Retry-After. cpu: of the load's own process, as a share
    of the time. late_ms: by how much the sender itself was late, for 99 of 100.
    """

    seconds: float
    statuses: dict[str, int]
    ms: list[float]
    unsaid: int
    cpu: float
    late_ms: float

    @property
    def good(self) -> int:
        return self.statuses.get("200", 0)

    @property
    def bad(self) -> int:
        return sum(self.statuses.values()) - self.good

    @property
    def rate(self) -> float:
        """Answers with status 200 a second."""
        return self.good / self.seconds

    def within(self, share: float) -> float:
        """Milliseconds within which this share of them was answered."""
        return self.ms[min(int(share * len(self.ms)), len(self.ms) - 1)] if self.ms else float("nan")


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Several rounds as one."""
    return Outcome(
        sum(each.seconds for each in outcomes),
        dict(sum((Counter(each.statuses) for each in outcomes), Counter())),
        sorted(ms for each in outcomes for ms in each.ms),
        sum(each.unsaid for each in outcomes),
        sum(each.cpu for each in outcomes) / len(outcomes),
        max(each.late_ms for each in outcomes),
    )


class Generator:
    """The load's process, from outside."""

    def __enter__(self) -> "Generator":
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *ended: object) -> None:
        self._process.communicate()

    def begin(self, order: Order) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()

    def outcome(self) -> Outcome:
        """Of the order that was begun."""
        assert self._process.stdout is not None
        return Outcome(**json.loads(self._process.stdout.readline()))

    def run(self, order: Order) -> Outcome:
        self.begin(order)
        return self.outcome()


# Inside the process


class Load:
    """One order being carried out. waiting: when requests were due that have no
    connection yet.
    """

    def __init__(self, order: Order) -> None:
        self.order, self.loop = order, asyncio.get_running_loop()
        self.requests = [_request(body) for body in Path(order.bodies).read_bytes().splitlines()]
        self.sent, self.under_way, self.ended = 0, 0, False
        self.connections: set[Connection] = set()
        self.idle: list[Connection] = []
        self.waiting: deque[float] = deque()
        self.opening: set[asyncio.Task[None]] = set()
        self.noted: list[tuple[float, float, str, bool]] = []  # due, done, status, whether it said when to try again
        self.late: list[float] = []

    async def run(self) -> Outcome:
        await asyncio.gather(*(self._connect() for _ in range(self.order.clients)))
        cpu, self.begun = _cpu(), perf_counter()
        self.until = self.begun + self.order.seconds
        if self.order.rate is None:
            for _ in range(self.order.clients):
                self._ask()
        else:
            await self._arrivals(self.order.rate)
        while (self.under_way or self.waiting) and perf_counter() < self.until + PATIENCE:
            await asyncio.sleep(0.01)
        share = (_cpu() - cpu) / (perf_counter() - self.begun)
        self.ended = True
        for connection in self.connections:
            connection.transport.close()
        return self._outcome(share)

    def _outcome(self, cpu: float) -> Outcome:
        """A closed loop counts what was answered in its time, an open one what was due in it; failures count always
        where clients wait for them.
        """
        closed, first = self.order.rate is None, self.begun + self.order.warm
        until = self.until if self.order.requests is None else self.noted[-1][1]
        counted = [
            (due, done, status, said)
            for due, done, status, said in self.noted
            if first <= (done if closed else due) <= until or (closed and status != "200")
        ]
        statuses = Counter(status for _, _, status, _ in counted)
        if never := self.under_way + len(self.waiting):
            statuses[LOST] += never
        return Outcome(
            until - first,
            dict(statuses),
            sorted(round(1000 * (done - due), 3) for due, done, status, _ in counted if status == "200"),
            sum(status == "503" and not said for _, _, status, said in counted),
            round(cpu, 3),
            round(1000 * sorted(self.late)[int(0.99 * len(self.late))], 3) if self.late else 0.0,
        )

    async def _arrivals(self, rate: float) -> None:
        due, draw = self.begun, random.Random(0)
        while (due := due + draw.expovariate(rate)) < self.until:
            if (wait := due - perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.late.append(perf_counter() - due)
            self.waiting.append(due)
            self.send()
            if len(self.waiting) > len(self.opening) and len(self.connections) + len(self.opening) < CONNECTIONS:
                self.connect()

    def _ask(self) -> None:
        """A client of a closed loop asks as soon as it has its answer."""
        now = perf_counter()
        if now < self.until and (self.order.requests is None or self.sent + len(self.waiting) < self.order.requests):
            self.waiting.append(now)
            self.send()

    def connect(self) -> None:
        task = self.loop.create_task(self._connect())
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    async def _connect(self) -> None:
        try:
            await self.loop.create_connection(lambda: Connection(self), "127.0.0.1", self.order.port)
        except OSError:
            if self.waiting:
                self.noted.append((self.waiting.popleft(), perf_counter(), LOST, False))

    def send(self) -> None:
        """What waits, as far as there are connections."""
        while self.waiting and self.idle:
            connection = self.idle.pop()
            if perf_counter() - connection.since > STALE:
                connection.transport.close()
                continue
            request = self.requests[self.sent % len(self.requests)]
            self.sent, self.under_way = self.sent + 1, self.under_way + 1
            connection.send(request, self.waiting.popleft())

    def note(self, due: float, status: str, said: bool) -> None:
        self.noted.append((due, perf_counter(), status, said))
        self.under_way -= 1
        if self.order.rate is None:
            self._ask()
        else:
            self.send()


class Connection(asyncio.Protocol):
    """Kept alive; one request at a time. since: when it last became idle."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self.load, self.since = load, 0.0
        self.due: float | None = None
        self.read, self.length = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by descent
        self.load.connections.add(self)
        self._rest()
        self.load.send()

    def _rest(self) -> None:
        self.since = perf_counter()
        self.load.idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        self.due, self.read, self.length = due, b"", 0
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.read += data
        if not self.length:
            end = self.read.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head = self.read[:end].lower()
            at = self.head.index(b"content-length:") + 15
            self.length = end + 4 + int(self.head[at : at + 20].split(b"\r", 1)[0])
        if len(self.read) >= self.length and self.due is not None:
            due, self.due = self.due, None
            self._rest()
            self.load.note(due, self.head[9:12].decode(), b"\r\nretry-after:" in self.head)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.connections.discard(self)
        if self in self.load.idle:
            self.load.idle.remove(self)
        if self.load.ended:
            return
        if self.load.order.rate is None:
            self.load.connect()
        if self.due is not None:
            self.load.note(self.due, LOST, False)


def _request(body: bytes) -> bytes:
    head = "POST /v1/recommend HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length:"
    return f"{head} {len(body)}\r\n\r\n".encode() + body


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _carried_out(order: Order) -> Outcome:
    return await Load(order).run()


def main() -> None:
    faster = Config("", log_config=None).get_loop_factory()  # the server's own choice: uvloop where it is installed
    for line in sys.stdin:
        with asyncio.Runner(loop_factory=faster) as runner:
            outcome = runner.run(_carried_out(Order(**json.loads(line))))
        print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    main()

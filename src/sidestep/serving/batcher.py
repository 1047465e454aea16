"""Requests of many clients, searched together."""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sidestep.data.interactions import NO_TIME
from sidestep.serving.errors import FailedError, OverloadedError, ProcessEndedError

KEPT_FILTERS = 64
"""How many filters the model's process keeps laid over its tree; 6 bytes an item each."""
LEARNING = 0.2
"""How fast the expected time of a row follows what is measured."""
SAFETY = 0.6
"""A request is let in if it is expected to be answered within this share of its deadline."""
LOOKS, STUCK = 1.0, 60.0
"""Seconds between looks at an idle process, and after which a search is later than any deadline."""

log = logging.getLogger("sidestep.serving")


@dataclass(frozen=True)
class Filter:
    """Which items may be answered, for every row that names it. bits: one an item, packed."""

    name: str
    bits: bytes


@dataclass(frozen=True)
class Row:
    """One history of item numbers. excluded: items barred for it alone.

    times: when each item was taken, in milliseconds, `NO_TIME` where unknown; None for a model that reads no times, as
        all rows of a batcher are. at: when the answer is wanted, likewise.
    """

    history: Sequence[int]
    excluded: Sequence[int]
    k: int
    beams: int | None
    allowed: Filter | None
    explain: bool
    times: Sequence[int] | None = None
    at: int = NO_TIME

    @property
    def kind(self) -> tuple[Any, ...]:
        """What rows must have in common to be searched together, with the same answers as alone."""
        return self.k, self.beams, None if self.allowed is None else self.allowed.name, self.explain


@dataclass(frozen=True)
class Found:
    """One row's answer. paths: the steps of every item as `Step.as_numbers`, or none."""

    items: list[int]
    scores: list[float]
    paths: list[Any]


@dataclass(frozen=True)
class _Waiting:
    row: Row
    deadline: float
    found: "asyncio.Future[Found]"


@runtime_checkable
class AnsweringProcess(Protocol):
    async def answer(self, message: dict[str, Any], filters: Sequence[bytes] = ()) -> list[dict[str, Any]]: ...

    @property
    def alive(self) -> bool: ...

    def stop(self, now: bool = False) -> None: ...


class Batcher:
    """Rows wait until the model is free, and are then searched together, at most `most` of them.

    A model that is free waits for company only where the last batch was larger than what is here now, and no longer
    than `patience` seconds: so a lonely client never waits, and many clients who each wait for their answer are not
    split into halves for ever.

    A row is refused at once where it could not be answered before its deadline, judged by what is ahead of it and by
    how long rows have taken lately; a row whose deadline passes while it waits is dropped unsearched. Where nothing is
    ahead a row is always let in: it alone can tell whether searching is still as slow as it was.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[AnsweringProcess]],
        process: AnsweringProcess,
        most: int = 32,
        patience: float = 0.004,
        longest_queue: int = 1_024,
        told: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        """start: makes another process where this one has ended. told: of every batch, its rows and seconds."""
        self._start, self._process = start, process
        self._most, self._patience, self._longest_queue, self._told = most, patience, longest_queue, told
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._last, self._in_flight = 1, 0
        self._per_row, self._busy_since = 0.0, 0.0
        self._kept: OrderedDict[str, None] = OrderedDict()
        self._asking = 0
        self._draining, self.restarts, self._alive = False, 0, True
        self._task = asyncio.create_task(self._work())

    @property
    def depth(self) -> int:
        """Rows that wait or are being searched."""
        return len(self._waiting) + self._in_flight

    @property
    def alive(self) -> bool:
        """Whether a process is there, and not lost in a search."""
        stuck = self._in_flight > 0 and time.monotonic() - self._busy_since > STUCK
        return self._alive and self._process.alive and not stuck

    def expected(self, ahead: int | None = None) -> float:
        """Seconds until a row that came now would be answered. ahead: rows before it [`depth`]."""
        ahead = self.depth if ahead is None else ahead
        seconds = ahead * self._per_row
        if self._in_flight:
            seconds -= min(time.monotonic() - self._busy_since, self._in_flight * self._per_row)
        return seconds + min(max(ahead - self._in_flight, 0) + 1, self._most) * self._per_row

    async def ask(self, row: Row, deadline: float) -> Found:
        """deadline: on the clock of `time.monotonic`.

        Raises:
            OverloadedError: it would come too late, or has. ProcessEndedError: the model's process ended while it
            searched. FailedError.
        """
        return (await self.ask_all([row], deadline))[0]

    async def ask_all(self, rows: Sequence[Row], deadline: float) -> list[Found]:
        """The same for rows that come together: all are answered, or none is.

        Raises:
            As `ask`.
        """
        left = deadline - time.monotonic()
        expected = self.expected() + (len(rows) - 1) * self._per_row
        if self._draining or not self._alive:
            raise OverloadedError("The server is starting or stopping; try again", 1.0)
        if self.depth + len(rows) > self._longest_queue or (self.depth and expected > SAFETY * left):
            raise OverloadedError(
                f"Overloaded: {self.depth} requests are ahead, and this one would be answered in about "
                f"{1000 * expected:.0f} ms; its deadline is in {1000 * left:.0f} ms",
                expected,
            )
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(row, deadline, loop.create_future()) for row in rows]
        self._waiting.extend(waiting)
        self._arrived.set()
        self._asking += 1
        try:
            async with asyncio.timeout(left):
                return list(await asyncio.gather(*(each.found for each in waiting)))
        except TimeoutError:
            raise OverloadedError(
                f"Not answered within {1000 * left:.0f} ms; ask again, or set a later deadline_ms", self.expected()
            ) from None
        finally:
            self._asking -= 1
            for each in waiting:
                each.found.cancel()

    async def drain(self) -> None:
        """Answer what was let in, let nothing more in, and end the process, also one that does not answer."""
        self._draining = True
        while self._asking:  # each for as long as its deadline at most
            await asyncio.sleep(0.005)
        self._task.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._process.stop, self._in_flight > 0)

    async def _work(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOKS):
                    await self._arrived.wait()
            if not self._process.alive:
                await self._restart()
            if not self._waiting:
                continue
            await self._company()
            batch = self._take()
            if batch and not await self._search(batch):
                await self._restart()

    async def _company(self) -> None:
        """Wait a little, where company is likely."""
        until = time.monotonic() + self._patience
        while len(self._waiting) < min(self._last, self._most) and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                break

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        now = time.monotonic()
        while self._waiting and len(batch) < self._most:
            each = self._waiting.popleft()
            if not each.found.done() and each.deadline > now:
                batch.append(each)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _search(self, batch: list[_Waiting]) -> bool:
        """Answer them; False where the process ended meanwhile."""
        groups: dict[tuple[Any, ...], list[_Waiting]] = {}
        for each in batch:
            groups.setdefault(each.row.kind, []).append(each)
        filters = {each.row.allowed.name: each.row.allowed for each in batch if each.row.allowed is not None}
        new, old = self._filters(filters.values())
        message = {"keep": [each.name for each in new], "forget": old, "groups": list(map(_asked, groups.values()))}
        self._in_flight, self._busy_since = len(batch), time.monotonic()
        try:
            answers = await self._process.answer(message, [each.bits for each in new])
        except ProcessEndedError as error:
            for each in batch:
                _fail(each, error)
            return False
        finally:
            seconds = time.monotonic() - self._busy_since
            self._last, self._in_flight = len(batch), 0
        self._per_row += (seconds / len(batch) - self._per_row) * (LEARNING if self._per_row else 1)
        self._told(len(batch), seconds)
        for group, answer in zip(groups.values(), answers, strict=True):
            for number, each in enumerate(group):
                if "failed" in answer:
                    _fail(each, FailedError())
                elif not each.found.done():
                    paths = answer["paths"][number] if answer["paths"] else []
                    each.found.set_result(Found(answer["items"][number], answer["scores"][number], paths))
        return True

    def _filters(self, wanted: Iterable[Filter]) -> tuple[list[Filter], list[str]]:
        """Those of the wanted filters that the process does not keep yet, and those that it shall forget for them."""
        new = []
        for each in wanted:
            if each.name not in self._kept:
                new.append(each)
            self._kept[each.name] = None
            self._kept.move_to_end(each.name)
        old = []
        while len(self._kept) > max(
            KEPT_FILTERS, self._most
        ):  # a batch has no more, so none that it wants is forgotten
            old.append(self._kept.popitem(last=False)[0])
        return new, old

    async def _restart(self) -> None:
        """Another process instead of one that ended; until it is there nothing is let in."""
        self._alive, self.restarts = False, self.restarts + 1
        self._kept.clear()
        log.error("a model's process ended; another is started")
        while not self._alive:
            try:
                self._process = await self._start()
                self._alive = True
            except Exception as error:  # no memory for it, no file: whatever it is may pass
                log.error("a model's process does not start: %s", error)
                await asyncio.sleep(LOOKS)


def _asked(group: Sequence[_Waiting]) -> dict[str, Any]:
    row = group[0].row
    timed = {} if row.times is None else {
        "times": [each.row.times for each in group],
        "at": [each.row.at for each in group],
    }  # fmt: skip
    return timed | {
        "histories": [each.row.history for each in group],
        "excluded": [each.row.excluded for each in group],
        "k": row.k,
        "beams": row.beams,
        "allowed": None if row.allowed is None else row.allowed.name,
        "explain": row.explain,
    }


def _fail(each: _Waiting, error: Exception) -> None:
    if not each.found.done():
        each.found.set_exception(error)

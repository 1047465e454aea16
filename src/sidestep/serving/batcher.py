"""Batching of requests from many clients into one search."""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sidestep.data.interactions import NO_TIME
from sidestep.serving.cost import SAFETY, Cost
from sidestep.serving.errors import FailedError, OverloadedError, ProcessEndedError

KEPT_FILTERS = 64
"""Number of filters that the model's process keeps applied to its trie; 6 bytes an item each."""
LOOKS, LATE = 1.0, 5.0
"""Seconds between checks of an idle process, and seconds after which a process that does not answer is not ready."""
NOTHING: dict[str, Any] = {"keep": [], "forget": [], "groups": []}
"""A message that only a process that hangs does not answer at once."""

log = logging.getLogger("sidestep.serving")


@dataclass(frozen=True)
class Filter:
    """The items that may be recommended. name: identifies the content. bits: one per item, packed."""

    name: str
    bits: bytes


@dataclass(frozen=True)
class Row:
    """One history of item numbers to search for. excluded: items that are excluded for this row only.

    times: of each item, in milliseconds, `NO_TIME` if unknown; None for a model that reads no times, and then for all
        rows of a batcher. at: time of the request, in the same unit.
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
        """Rows of the same kind can be searched together, with the same results as alone."""
        return self.k, self.beams, None if self.allowed is None else self.allowed.name, self.explain


@dataclass(frozen=True)
class RowAnswer:
    """The result of one row. paths: the steps of every item as `Step.as_numbers`, or empty. reasons: why a second look
    put the first items at their places, or empty.
    """

    items: list[int]
    scores: list[float]
    paths: list[Any]
    reasons: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Waiting:
    row: Row
    allowed: float
    deadline: float
    answer: "asyncio.Future[RowAnswer]"


@runtime_checkable
class AnsweringProcess(Protocol):
    async def answer(self, message: dict[str, Any], filters: Sequence[bytes] = ()) -> list[dict[str, Any]]: ...

    @property
    def alive(self) -> bool: ...

    def stop(self, now: bool = False) -> None: ...


class Batcher:
    """A queue of rows, which are searched together when the model is free, at most `most` in a batch.

    A free model waits for more rows only if the last batch was larger than the queue is now, and at most `patience`
    seconds. So a single client never waits, and many clients that each wait for their answer are not split into two
    alternating half batches.

    A row is refused immediately if its expected answer time, computed from the queue and the cost of recent batches,
    exceeds its deadline. A row whose deadline passes in the queue is dropped without a search. With an empty queue a
    row is always accepted: only a search can update the cost. Where not all that wait can be searched at once in time,
    a batch is as large as `Cost.size` says.

    A process that has ended, or that hangs, is replaced by another one; an idle one is asked every second.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[AnsweringProcess]],
        process: AnsweringProcess,
        most: int = 32,
        patience: float = 0.004,
        longest_queue: int = 1_024,
        on_batch: Callable[[int, float], None] = lambda rows, seconds: None,
        hang_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """start: starts a new process when this one has ended. on_batch: called with rows and seconds of each batch.
        hang_seconds: after which a process that does not answer is ended. clock: of the deadlines, in seconds.
        """
        self._start, self._process = start, process
        self._most, self._patience, self._longest_queue, self._on_batch = most, patience, longest_queue, on_batch
        self._hang_seconds, self._clock = hang_seconds, clock
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._last, self._in_flight = 1, 0
        self._cost = Cost()
        self._busy_since: float | None = None
        self._kept: OrderedDict[str, None] = OrderedDict()
        self._open_calls = 0
        self._draining, self.restarts, self._alive = False, 0, True
        self._task = asyncio.create_task(self._work())

    @property
    def depth(self) -> int:
        """Rows in the queue or in a search."""
        return len(self._waiting) + self._in_flight

    @property
    def alive(self) -> bool:
        """Whether the process is running, and answers."""
        return self._alive and self._process.alive and self._busy_seconds <= min(LATE, self._hang_seconds)

    @property
    def _busy_seconds(self) -> float:
        """For how long the process has been busy with a message."""
        return 0.0 if self._busy_since is None else self._clock() - self._busy_since

    def expected(self, allowed: float, ahead: int | None = None) -> float:
        """Seconds until a new row would be answered. allowed: seconds until its deadline. ahead: number of rows before
        it, by default `depth`.
        """
        ahead = self.depth if ahead is None else ahead
        left = max(self._cost.of(self._in_flight) - self._busy_seconds, 0.0) if self._in_flight else 0.0
        most = min(self._cost.size(allowed), self._most)
        batches, before = divmod(max(ahead - self._in_flight, 0), most)
        return left + batches * self._cost.of(most) + self._cost.of(most if batches else before + 1)

    async def ask(self, row: Row, deadline: float) -> RowAnswer:
        """The answer to a row. deadline: on the clock.

        Raises:
            OverloadedError: the answer would be, or is, too late. ProcessEndedError: the model's process ended during
            the search. FailedError: an internal error.
        """
        return (await self.ask_all([row], deadline))[0]

    async def ask_all(self, rows: Sequence[Row], deadline: float) -> list[RowAnswer]:
        """The answers to several rows; either all are answered or none.

        Raises:
            As `ask`.
        """
        left = deadline - self._clock()
        expected = self.expected(left, self.depth + len(rows) - 1)
        if self._draining or not self._alive:
            raise OverloadedError("The server is starting or stopping; try again", 1.0)
        if self.depth + len(rows) > self._longest_queue or (self.depth and expected > SAFETY * left):
            raise OverloadedError(
                f"Overloaded: {self.depth} requests are ahead, and this one would be answered in about "
                f"{1000 * expected:.0f} ms; its deadline is in {1000 * left:.0f} ms",
                expected,
            )
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(row, left, deadline, loop.create_future()) for row in rows]
        self._waiting.extend(waiting)
        self._arrived.set()
        self._open_calls += 1
        try:
            async with asyncio.timeout(left):
                return list(await asyncio.gather(*(each.answer for each in waiting)))
        except TimeoutError:
            raise OverloadedError(
                f"Not answered within {1000 * left:.0f} ms; try again, or set a later deadline_ms", self.expected(left)
            ) from None
        finally:
            self._open_calls -= 1
            for each in waiting:
                each.answer.cancel()

    async def drain(self) -> None:
        """Answer the accepted rows, accept no others, and end the process, even if it does not answer."""
        self._draining = True
        while self._open_calls:  # each until its deadline at most
            await asyncio.sleep(0.005)
        self._task.cancel()
        await self._stop(now=self._busy_since is not None)

    async def _stop(self, now: bool) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._process.stop, now)

    async def _work(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOKS):
                    await self._arrived.wait()
            if not self._process.alive or not await (self._search_next() if self._waiting else self._answers()):
                await self._restart()

    async def _answers(self) -> bool:
        """Whether the idle process answers."""
        try:
            await self._exchange(NOTHING)
        except ProcessEndedError:
            return False
        return True

    async def _exchange(self, message: dict[str, Any], filters: Sequence[bytes] = ()) -> list[dict[str, Any]]:
        """The process's answers.

        Raises:
            ProcessEndedError: it ended, or it hangs.
        """
        self._busy_since = self._clock()
        try:
            async with asyncio.timeout(self._hang_seconds):
                return await self._process.answer(message, filters)
        except TimeoutError:
            raise ProcessEndedError(f"The model did not answer within {self._hang_seconds:g} seconds") from None
        finally:
            self._busy_since = None

    async def _search_next(self) -> bool:
        """Search the rows that wait, as many as fit in a batch; False if the process ended meanwhile."""
        await self._wait_for_more()
        batch = self._take()
        return not batch or await self._search(batch)

    async def _wait_for_more(self) -> None:
        """Wait up to `patience` seconds if more rows are likely."""
        until = self._clock() + self._patience
        while len(self._waiting) < min(self._last, self._most) and (left := until - self._clock()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                break

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        now = self._clock()
        most = self._most
        while self._waiting and len(batch) < most:
            each = self._waiting.popleft()
            if each.answer.done() or each.deadline <= now:
                continue
            if not batch and self._cost.of(min(len(self._waiting) + 1, most)) > SAFETY * (each.deadline - now):
                most = min(self._cost.size(each.allowed), most)
            batch.append(each)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _search(self, batch: list[_Waiting]) -> bool:
        """Search a batch and set its answers; False if the process ended meanwhile."""
        groups: dict[tuple[Any, ...], list[_Waiting]] = {}
        for each in batch:
            groups.setdefault(each.row.kind, []).append(each)
        filters = {each.row.allowed.name: each.row.allowed for each in batch if each.row.allowed is not None}
        new, old = self._filters(filters.values())
        message = {"keep": [each.name for each in new], "forget": old, "groups": list(map(_group, groups.values()))}
        self._in_flight, begun = len(batch), self._clock()
        try:
            answers = await self._exchange(message, [each.bits for each in new])
        except ProcessEndedError as error:
            for each in batch:
                _fail(each, error)
            return False
        finally:
            seconds = self._clock() - begun
            self._last, self._in_flight = len(batch), 0
        self._cost.saw(len(groups), len(batch), seconds)
        self._on_batch(len(batch), seconds)
        for group, answer in zip(groups.values(), answers, strict=True):
            for number, each in enumerate(group):
                if "failed" in answer:
                    _fail(each, FailedError())
                elif not each.answer.done():
                    paths = answer["paths"][number] if answer["paths"] else []
                    reasons = answer["reasons"][number] if answer.get("reasons") else []
                    found = RowAnswer(answer["items"][number], answer["scores"][number], paths, reasons)
                    each.answer.set_result(found)
        return True

    def _filters(self, needed: Iterable[Filter]) -> tuple[list[Filter], list[str]]:
        """The needed filters that the process does not have yet, and the names of those that it must drop for them."""
        new = []
        for each in needed:
            if each.name not in self._kept:
                new.append(each)
            self._kept[each.name] = None
            self._kept.move_to_end(each.name)
        old = []
        while len(self._kept) > max(
            KEPT_FILTERS, self._most
        ):  # a batch has at most this many, so none of its own filters is dropped
            old.append(self._kept.popitem(last=False)[0])
        return new, old

    async def _restart(self) -> None:
        """Start a new process; no row is accepted until it runs."""
        self._alive, self.restarts = False, self.restarts + 1
        self._kept.clear()
        log.error("a model's process %s; starting a new one", "hangs" if self._process.alive else "ended")
        await self._stop(now=True)
        while not self._alive:
            try:
                self._process = await self._start()
                self._alive = True
            except Exception as error:  # such as no memory or no file: may be temporary
                log.error("a model's process does not start: %s", error)
                await asyncio.sleep(LOOKS)


def _group(group: Sequence[_Waiting]) -> dict[str, Any]:
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
    if not each.answer.done():
        each.answer.set_exception(error)

"""The state of a running server, and its answer to a recommend request."""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from sidestep.data.interactions import NO_TIME
from sidestep.data.times import check_rising, read_time
from sidestep.errors import DataError, NotKeptError, UnknownItemError
from sidestep.recommenders.step import Step, named
from sidestep.serving import schema
from sidestep.serving.batcher import Row, RowAnswer
from sidestep.serving.editions import Edition, Editions
from sidestep.serving.errors import HistoriesUnavailableError
from sidestep.serving.events import Histories, seconds
from sidestep.serving.filters import NamedSet
from sidestep.serving.histories import open_histories
from sidestep.serving.settings import Settings
from sidestep.serving.watch import Numbers
from sidestep.serving.worker import Opener

log = logging.getLogger("sidestep.serving")

READY_SECONDS = 1.0
"""Seconds within which the store of histories must answer a readiness check."""
MANY = 10
"""Factor of the default deadline for a batch of requests."""


class Server:
    """The state that the routes share. One for each app; opened when the app starts."""

    def __init__(self, opener: Opener, settings: Settings) -> None:
        self.settings, self.numbers = settings, Numbers()
        self.sets: dict[str, NamedSet] = {}
        self.editions = Editions(opener, settings, self.numbers.searched, self.sets)
        self._histories: Histories | None = None
        self.stopping = False

    async def open(self) -> None:
        if self.settings.histories is not None:
            self._histories = open_histories(self.settings.histories, self.settings.kept_events)
        await asyncio.to_thread(self.read_sets)
        await self.editions.open()
        if self._histories is not None and not await self._histories.ready():
            log.warning("the store of histories does not answer yet")

    async def close(self) -> None:
        self.stopping = True
        await self.editions.close()
        if self._histories is not None:
            await self._histories.close()

    async def reload(self) -> dict[str, str]:
        await asyncio.to_thread(self.read_sets)
        return await self.editions.reload()

    def read_sets(self) -> None:
        """Raises: DataError: a file that is missing or not text."""
        for name, path in self.settings.sets.items():
            try:
                content = path.read_bytes()
                lines = content.decode("utf-8").split("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"Cannot read the set {name!r} from {str(path)!r}: {error}") from None
            self._keep(NamedSet.of(name, content, (line.strip() for line in lines if line.strip())))

    def put_set(self, name: str, content: bytes) -> dict[str, Any]:
        """Set the items of a set. To be called from a thread: the set may have a million items.

        Raises:
            RequestValidationError: not JSON, or not what `schema.SetRequest` expects.
        """
        try:
            sent = schema.SetRequest.model_validate_json(content)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        named = NamedSet.of(name, content, sent.items)
        self._keep(named)
        unknown = 0
        for edition in self.editions.all[:1]:
            unknown = len(edition.shelf.known(named.item_ids)[1])
        return {"name": name, "num_items": len(named.item_ids), "unknown": unknown}

    def _keep(self, named: NamedSet) -> None:
        """Prepare the set in all editions."""
        for edition in self.editions.all:
            edition.shelf.filters.keep(named)
        self.sets[named.name] = named

    @property
    def histories(self) -> Histories:
        """Raises: NotKeptError."""
        if self._histories is None:
            raise NotKeptError("This server stores no histories; start it with --histories FILE, or send the history")
        return self._histories

    def expected(self, inside: int, allowed: float) -> float:
        """Seconds until the fastest model would answer a new request.

        inside: accepted requests without an answer, whether or not they have reached a batcher. If there are none, the
            next request is accepted, since only a search can update the expected time. allowed: seconds until the
            deadline of the new one.
        """
        if not inside:
            return 0.0
        return min((edition.batcher.expected(allowed, inside) for edition in self.editions.all), default=0.0)

    async def ready(self) -> bool:
        if self.stopping or not self.editions.ready:
            return False
        try:
            async with asyncio.timeout(READY_SECONDS):
                return self._histories is None or await self._histories.ready()
        except TimeoutError:
            return False

    # Recommending

    async def recommend(self, requests: Sequence[schema.RecommendRequest]) -> list[dict[str, Any]]:
        """The answers in the order of the requests; requests for the same model are searched together."""
        factor = MANY if len(requests) > 1 else 1
        answers: list[dict[str, Any]] = [{} for _ in requests]
        by_model: dict[str | None, list[int]] = {}
        for number, each in enumerate(requests):
            by_model.setdefault(each.model, []).append(number)
        for model, numbers in by_model.items():
            with self.editions.using(model) as edition:
                own = [requests[number] for number in numbers]
                allowed_ms = min(each.deadline_ms or factor * self.settings.deadline_ms for each in own)
                deadline = time.monotonic() + allowed_ms / 1000
                prepared = await self._prepare(edition, own, allowed_ms)
                results = await edition.batcher.ask_all([row for row, _, _ in prepared], deadline)
                for number, (row, history, unknown), result in zip(numbers, prepared, results, strict=True):
                    answers[number] = _answer(edition, row, history, unknown, result)
        return answers

    async def _prepare(
        self, edition: Edition, requests: Sequence[schema.RecommendRequest], allowed_ms: float
    ) -> list[tuple[Row, list[int], list[str]]]:
        try:
            async with asyncio.timeout(allowed_ms / 1000):
                return list(await asyncio.gather(*(self._row(edition, each) for each in requests)))
        except TimeoutError:
            raise HistoriesUnavailableError("The store of histories did not answer before the deadline") from None

    async def _row(self, edition: Edition, request: schema.RecommendRequest) -> tuple[Row, list[int], list[str]]:
        """The row to search for, the known items of the history, and all unknown ids."""
        shelf, filters = edition.shelf, request.filters
        reads = shelf.bundle.reads
        at = read_time(request.at, "at", shelf.bundle.absolute_times)
        history, when = await self._history(request)
        known, unknown = shelf.known(history)
        times = None
        if reads.times:
            times = [time for each, time in zip(history, when, strict=True) if each in shelf.number_of]
        denied, more = shelf.known(filters.deny)
        allowed, most = shelf.filters.allowed(
            filters.categories, [self._set(name) for name in filters.sets], filters.allow, filters.conditions
        )
        seen = known if filters.exclude_seen else []
        row = Row(
            known[-reads.items :],
            list(dict.fromkeys([*seen, *denied])),
            min(request.k, shelf.num_items),
            request.beams,
            allowed,
            request.explain,
            None if times is None else times[-reads.items :],
            at,
        )
        return row, known, list(dict.fromkeys([*unknown, *more, *most]))

    async def _history(self, request: schema.RecommendRequest) -> tuple[list[str], list[int]]:
        """Item ids, oldest first, and their times in milliseconds, `NO_TIME` if unknown.

        Raises:
            DataError: only some items have times, and these are not in order.
        """
        if request.user_id is not None:
            events = await self.histories.history(request.user_id, schema.MAX_HISTORY)
            return [event.item_id for event in events], [round(1_000 * event.time) for event in events]
        items = [
            schema.HistoryItem(item_id=item, time=None) if isinstance(item, str) else item
            for item in request.history or ()
        ]
        read = [
            (item.item_id, NO_TIME if item.time is None else round(1_000 * seconds(item.time, "a history's time")))
            for item in items
        ]
        if all(item.time is not None for item in items):
            read.sort(key=lambda each: each[1])
        times = [time for _, time in read]
        check_rising(np.array(times, dtype=np.int64))
        return [item_id for item_id, _ in read], times

    def _set(self, name: str) -> NamedSet:
        if name not in self.sets:
            raise UnknownItemError(f"Unknown set {name!r}; this server has {', '.join(sorted(self.sets)) or 'none'}")
        return self.sets[name]


def _answer(edition: Edition, row: Row, history: list[int], unknown: list[str], result: RowAnswer) -> dict[str, Any]:
    shelf = edition.shelf
    answers = []
    for rank, item in enumerate(result.items):
        path = _path(edition, result.paths[rank]) if row.explain and result.paths else None
        reasons = result.reasons[rank] if row.explain and rank < len(result.reasons) else None
        answers.append({**shelf.card(item), "score": result.scores[rank], "path": path, "reasons": reasons})
    return {
        "model": edition.name,
        "bundle": edition.digest,
        "by": "model" if history else "popularity",
        "history": shelf.cards(history),
        "unknown": unknown,
        "recommendations": answers,
    }


def _path(edition: Edition, path: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The steps of an answer's path as `schema.Step` holds them."""
    return [
        {
            "level": step.level,
            "code": step.code,
            "probability": math.exp(step.log_prob),
            "name": step.name,
            "num_items": step.num_items,
            "decides": step.decides,
            "thought": [
                {
                    "cluster": each.number,
                    "name": each.name,
                    "probability": each.probability,
                    "num_items": each.num_items,
                }
                for each in step.clusters
            ],
            "thinks_of": None if step.thinks_of is None else step.thinks_of.as_json(),
            "looked_up": edition.shelf.cards([each.number for each in step.looked_up]),
        }
        for step in named([Step.of_numbers(numbers) for numbers in path], edition.shelf.bundle.path_names)
    ]

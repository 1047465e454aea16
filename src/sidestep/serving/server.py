"""What a running server holds, and how it answers a request to recommend."""

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
from sidestep.recommenders.step import Step
from sidestep.serving import schema
from sidestep.serving.batcher import Found, Row
from sidestep.serving.editions import Edition, Editions
from sidestep.serving.errors import HistoriesUnavailableError
from sidestep.serving.events import Histories
from sidestep.serving.filters import NamedSet
from sidestep.serving.histories import open_histories
from sidestep.serving.settings import Settings
from sidestep.serving.watch import Numbers
from sidestep.serving.worker import Opener

log = logging.getLogger("sidestep.serving")

READY_SECONDS = 1.0
"""How long the store of histories may take to say that it is there."""
MANY = 10
"""A batch of requests may take so many times as long as one."""


class Server:
    """What the routes share. Made once for each app; opened when it starts."""

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
            log.warning("the histories do not answer yet")

    async def close(self) -> None:
        self.stopping = True
        await self.editions.close()
        if self._histories is not None:
            await self._histories.close()

    async def reload(self) -> dict[str, str]:
        await asyncio.to_thread(self.read_sets)
        return await self.editions.reload()

    def read_sets(self) -> None:
        """Raises: DataError: a file that is not there, or no text."""
        for name, path in self.settings.sets.items():
            try:
                content = path.read_bytes()
                lines = content.decode("utf-8").split("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"Cannot read the set {name!r} from {str(path)!r}: {error}") from None
            self._keep(NamedSet.of(name, content, (line.strip() for line in lines if line.strip())))

    def put_set(self, name: str, content: bytes) -> dict[str, Any]:
        """Set the items of a set. Not to be called where others wait: it may hold a million items.

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
        """Look it up before anybody asks."""
        for edition in self.editions.all:
            edition.shelf.filters.keep(named)
        self.sets[named.name] = named

    @property
    def histories(self) -> Histories:
        """Raises: NotKeptError."""
        if self._histories is None:
            raise NotKeptError("This server keeps no histories; start it with --histories FILE, or send the history")
        return self._histories

    def expected(self, inside: int) -> float:
        """Seconds until any model would answer another request.

        inside: requests that were let in and are not answered, whether or not a batcher knows of them yet. Where there
        is none, the next is let in, to tell whether the models are still as slow.
        """
        if not inside:
            return 0.0
        return min((edition.batcher.expected(inside) for edition in self.editions.all), default=0.0)

    async def ready(self) -> bool:
        if self.stopping or not self.editions.ready:
            return False
        try:
            async with asyncio.timeout(READY_SECONDS):
                return self._histories is None or await self._histories.ready()
        except TimeoutError:
            return False

    # Recommending

    async def recommend(self, asked: Sequence[schema.RecommendRequest]) -> list[dict[str, Any]]:
        """Answers in the order asked; those of one model are searched together."""
        many = MANY if len(asked) > 1 else 1
        answers: list[dict[str, Any]] = [{} for _ in asked]
        by_model: dict[str | None, list[int]] = {}
        for number, each in enumerate(asked):
            by_model.setdefault(each.model, []).append(number)
        for model, numbers in by_model.items():
            with self.editions.using(model) as edition:
                some = [asked[number] for number in numbers]
                allowed_ms = min(each.deadline_ms or many * self.settings.deadline_ms for each in some)
                deadline = time.monotonic() + allowed_ms / 1000
                prepared = await self._prepared(edition, some, allowed_ms)
                answered = await edition.batcher.ask_all([row for row, _, _ in prepared], deadline)
                for number, (row, history, unknown), found in zip(numbers, prepared, answered, strict=True):
                    answers[number] = _answer(edition, row, history, unknown, found)
        return answers

    async def _prepared(
        self, edition: Edition, asked: Sequence[schema.RecommendRequest], allowed_ms: float
    ) -> list[tuple[Row, list[int], list[str]]]:
        try:
            async with asyncio.timeout(allowed_ms / 1000):
                return list(await asyncio.gather(*(self._row(edition, each) for each in asked)))
        except TimeoutError:
            raise HistoriesUnavailableError("The histories did not answer before a request's deadline") from None

    async def _row(self, edition: Edition, asked: schema.RecommendRequest) -> tuple[Row, list[int], list[str]]:
        """What is searched for, the known items of the history, and all ids that are not known."""
        shelf, filters = edition.shelf, asked.filters
        reads = shelf.bundle.reads
        at = read_time(asked.at, "at", shelf.bundle.absolute_times)
        history, when = await self._history(asked)
        known, unknown = shelf.known(history)
        times = None
        if reads.times:
            times = [time for each, time in zip(history, when, strict=True) if each in shelf.number_of]
        denied, more = shelf.known(filters.deny)
        allowed, most = shelf.filters.allowed(
            filters.categories, [self._set(name) for name in filters.sets], filters.allow
        )
        seen = known if filters.exclude_seen else []
        row = Row(
            known[-reads.items :],
            list(dict.fromkeys([*seen, *denied])),
            min(asked.k, shelf.num_items),
            asked.beams,
            allowed,
            asked.explain,
            None if times is None else times[-reads.items :],
            at,
        )
        return row, known, list(dict.fromkeys([*unknown, *more, *most]))

    async def _history(self, asked: schema.RecommendRequest) -> tuple[list[str], list[int]]:
        """Item ids, oldest first, and when each was taken, in milliseconds, `NO_TIME` where unknown.

        Raises:
            DataError: some of the items have times, and these fall.
        """
        if asked.user_id is not None:
            events = await self.histories.history(asked.user_id, schema.MAX_HISTORY)
            return [event.item_id for event in events], [round(1_000 * event.time) for event in events]
        items = [
            schema.HistoryItem(item_id=item, time=None) if isinstance(item, str) else item
            for item in asked.history or ()
        ]
        if items and all(item.time is not None for item in items):
            items.sort(key=lambda item: item.time or 0.0)
        times = [NO_TIME if item.time is None else round(1_000 * item.time) for item in items]
        check_rising(np.array(times, dtype=np.int64))
        return [item.item_id for item in items], times

    def _set(self, name: str) -> NamedSet:
        if name not in self.sets:
            raise UnknownItemError(f"Unknown set {name!r}; this server knows {', '.join(sorted(self.sets)) or 'none'}")
        return self.sets[name]


def _answer(edition: Edition, row: Row, history: list[int], unknown: list[str], found: Found) -> dict[str, Any]:
    shelf = edition.shelf
    answers = []
    for rank, item in enumerate(found.items):
        path = _path(edition, found.paths[rank]) if row.explain and found.paths else None
        answers.append({**shelf.card(item), "score": found.scores[rank], "path": path})
    return {
        "model": edition.name,
        "bundle": edition.digest,
        "by": "model" if history else "popularity",
        "history": shelf.cards(history),
        "unknown": unknown,
        "recommendations": answers,
    }


def _path(edition: Edition, path: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The steps of an answer's path as `schema.Step` holds them, with what is left under the codes so far."""
    names = edition.shelf.bundle.cluster_names
    steps = [Step.of_numbers(numbers).named(names) for numbers in path]
    codes = [step.code for step in steps]
    shown = []
    for step in steps:
        name, num_items = edition.shelf.step(codes[: step.level])
        thought = [
            {"cluster": each.number, "name": each.name, "probability": each.probability} for each in step.clusters
        ]
        shown.append(
            {
                "level": step.level,
                "code": step.code,
                "probability": math.exp(step.log_prob),
                "name": name,
                "num_items": num_items,
                "thought": thought,
            }
        )
    return shown

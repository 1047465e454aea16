"""Who waits for whom: laws of the batcher, with a model whose time is set by hand."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from sidestep.errors import ArtifactError
from sidestep.serving import batcher as batcher_module
from sidestep.serving.batcher import KEPT_FILTERS, Batcher, Filter, Row, RowAnswer
from sidestep.serving.errors import FailedError, OverloadedError, ProcessEndedError


class Model:
    """Answers a history with its own items, after `base + rows * each` seconds; notes what it was sent."""

    def __init__(self, base: float = 0.0, each: float = 0.0) -> None:
        self.base, self.each = base, each
        self.batches: list[dict[str, Any]] = []
        self.filters: dict[str, bytes] = {}
        self.dies, self.fails, self.stopped = False, False, False
        self.gone, self.killed = False, False

    async def answer(self, message: dict[str, Any], filters: Sequence[bytes] = ()) -> list[dict[str, Any]]:
        self.batches.append(message)
        await asyncio.sleep(self.base + self.each * self.rows(message))
        if self.dies:
            raise ProcessEndedError("gone")
        for name in message["forget"]:
            del self.filters[name]
        self.filters |= dict(zip(message["keep"], filters, strict=True))
        assert all(group["allowed"] is None or group["allowed"] in self.filters for group in message["groups"])
        if self.fails:
            return [{"failed": True} for _ in message["groups"]]
        return [
            {"items": group["histories"], "scores": [[0.0] * len(each) for each in group["histories"]], "paths": []}
            for group in message["groups"]
        ]

    @property
    def alive(self) -> bool:
        return not self.gone

    def stop(self, now: bool = False) -> None:
        self.stopped, self.killed = True, now

    @staticmethod
    def rows(message: dict[str, Any]) -> int:
        return sum(len(group["histories"]) for group in message["groups"])

    @property
    def sizes(self) -> list[int]:
        return [self.rows(message) for message in self.batches]


def row(number: int, **other: Any) -> Row:
    plain: dict[str, Any] = {"excluded": (), "k": 10, "beams": None, "allowed": None, "explain": False}
    return Row([number], **(plain | other))


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def run(test: Callable[[Batcher, Model], Awaitable[None]], model: Model | None = None, **settings: Any) -> Model:
    model = model or Model()

    async def within() -> None:
        async def start() -> Model:
            fresh = Model(model.base, model.each)
            model.batches, fresh.batches = fresh.batches, model.batches
            return fresh

        batcher = Batcher(start, model, **settings)
        await test(batcher, model)
        await batcher.drain()

    asyncio.run(within())
    return model


def test_everybody_gets_the_own_answer() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        found = await asyncio.gather(*(batcher.ask(row(n, k=1 + n % 3), soon()) for n in range(100)))
        assert [each.items for each in found] == [[n] for n in range(100)]

    run(test)


def test_rows_that_come_while_the_model_works_are_searched_together_and_never_too_many() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        await asyncio.gather(*(batcher.ask(row(n), soon()) for n in range(20)))
        assert model.sizes == [8, 8, 4]

    run(test, Model(0.01), most=8)


def test_a_lonely_client_never_waits_for_company() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        for n in range(3):
            begun = time.monotonic()
            await batcher.ask(row(n), soon())
            assert time.monotonic() - begun < 0.5

    run(test, patience=1.0)


def test_clients_that_each_wait_for_their_answer_are_not_split_into_halves() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        async def client(n: int) -> None:
            for _ in range(6):
                await batcher.ask(row(n), soon())
                await asyncio.sleep(0.002 * (n % 2))

        await asyncio.gather(*map(client, range(10)))
        assert max(model.sizes[-3:]) == 10

    run(test, Model(0.01), patience=0.05)


def test_only_rows_that_ask_alike_are_one_search() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        kinds = [{}, {"k": 3}, {"beams": 20}, {"explain": True}, {"allowed": Filter("a", b"1")}]
        await asyncio.gather(*(batcher.ask(row(n, **kinds[n % 5]), soon()) for n in range(10)))
        assert [len(group["histories"]) for group in model.batches[-1]["groups"]] == [2] * 5

    run(test)


def test_a_filter_travels_once_and_the_least_used_is_forgotten() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        for n in [0, 1, 0, *range(KEPT_FILTERS + 1), 0]:
            await batcher.ask(row(n, allowed=Filter(f"f{n}", bytes([n]))), soon())
        sent = [name for message in model.batches for name in message["keep"]]
        assert sent.count("f5") == 1
        assert len(model.filters) == KEPT_FILTERS

    run(test)


def test_what_would_come_too_late_is_refused_at_once_and_says_when_to_come_again() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        await batcher.ask(row(0), soon())  # from now on it knows how long a row takes
        asked = [asyncio.create_task(batcher.ask(row(n), soon(0.5))) for n in range(100)]
        done = await asyncio.gather(*asked, return_exceptions=True)
        refused = [each for each in done if isinstance(each, OverloadedError)]
        assert len(refused) > 60
        assert all(each.retry_after > 0 for each in refused)
        assert sum(isinstance(each, RowAnswer) for each in done) >= 5

    run(test, Model(0.0, 0.02), most=4)


def test_answers_never_come_after_their_deadline() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        async def client(n: int) -> float | None:
            begun = time.monotonic()
            try:
                await batcher.ask(row(n), begun + 0.15)
            except OverloadedError:
                return None
            return time.monotonic() - begun

        took = [seconds for seconds in await asyncio.gather(*map(client, range(50))) if seconds is not None]
        assert took
        assert max(took) < 0.25

    run(test, Model(0.02, 0.01), most=4)


def test_a_row_whose_client_is_gone_is_not_searched() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = asyncio.create_task(batcher.ask(row(0), soon()))
        await asyncio.sleep(0.005)
        gone = asyncio.create_task(batcher.ask(row(1), soon()))
        await asyncio.sleep(0.005)
        gone.cancel()
        await first
        await batcher.ask(row(2), soon())
        assert all(
            1 not in each for message in model.batches for group in message["groups"] for each in group["histories"]
        )

    run(test, Model(0.03))


def test_the_queue_has_an_end() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        done = await asyncio.gather(*(batcher.ask(row(n), soon()) for n in range(30)), return_exceptions=True)
        assert sum(isinstance(each, OverloadedError) for each in done) == 20

    run(test, Model(0.01), longest_queue=10)


def test_rows_that_come_together_are_all_answered_or_none_is() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        found = await batcher.ask_all([row(n) for n in range(20)], soon())
        assert [each.items for each in found] == [[n] for n in range(20)]
        with pytest.raises(OverloadedError):
            await batcher.ask_all([row(n) for n in range(50)], soon())

    run(test, most=8, longest_queue=40)


def test_draining_answers_what_was_let_in_and_lets_nothing_more_in() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        let_in = [asyncio.create_task(batcher.ask(row(n), soon())) for n in range(10)]
        await asyncio.sleep(0.005)
        draining = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await batcher.ask(row(99), soon())
        assert [each.items for each in await asyncio.gather(*let_in)] == [[n] for n in range(10)]
        await draining
        assert model.stopped

    run(test, Model(0.01), most=4)


def test_a_process_that_ends_fails_its_batch_alone_and_another_takes_over() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.dies = True
        with pytest.raises(ProcessEndedError):
            await batcher.ask(row(0), soon())
        await asyncio.sleep(0.01)
        assert (await batcher.ask(row(1), soon())).items == [1]
        assert batcher.restarts == 1

    run(test)


def test_one_that_ends_while_nobody_asks_is_met_before_anybody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "LOOKS", 0.01)

    async def test(batcher: Batcher, model: Model) -> None:
        await asyncio.sleep(0.02)
        assert batcher.alive
        model.gone = True
        assert not batcher.alive
        await asyncio.sleep(0.1)
        assert (batcher.alive, batcher.restarts) == (True, 1)
        assert (await batcher.ask(row(1), soon())).items == [1]

    run(test)


@pytest.mark.parametrize("error", [ArtifactError("was replaced"), OSError(12, "no memory")])
def test_one_that_does_not_start_is_tried_again_and_can_be_drained(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batcher_module, "LOOKS", 0.01)
    tries: list[bool] = []

    async def within() -> None:
        async def start() -> Model:
            tries.append(True)
            if len(tries) < 4:
                raise error
            return Model()

        model = Model()
        model.dies = True
        batcher = Batcher(start, model)
        with pytest.raises(ProcessEndedError):
            await batcher.ask(row(0), soon())
        with pytest.raises(OverloadedError):
            await batcher.ask(row(0), soon())
        await asyncio.sleep(0.2)
        assert (batcher.alive, batcher.depth, len(tries)) == (True, 0, 4)
        assert (await batcher.ask(row(1), soon())).items == [1]
        tries.clear()
        model.gone = True
        hopeless = Batcher(start, model)
        await asyncio.sleep(0.02)
        await asyncio.wait_for(hopeless.drain(), 5)
        await batcher.drain()

    asyncio.run(within())
    assert str(error) in caplog.text


def test_a_search_that_never_ends_does_not_keep_the_server_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "STUCK", 0.05)

    async def test(batcher: Batcher, model: Model) -> None:
        with pytest.raises(OverloadedError):
            await batcher.ask(row(0), soon(0.1))
        assert not batcher.alive
        await asyncio.wait_for(batcher.drain(), 5)
        assert model.killed

    async def within(model: Model) -> None:
        async def start() -> Model:
            raise AssertionError

        await test(Batcher(start, model), model)

    asyncio.run(within(Model(3_600.0)))


def test_slow_answers_do_not_shut_the_door_for_ever() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.base = 0.3
        await batcher.ask(row(0), soon())
        model.base = 0.0
        refused = 0
        for number in range(100):
            try:
                assert (await batcher.ask(row(number), soon(0.1))).items == [number]
            except OverloadedError:
                refused += 1
        assert refused == 0  # nothing was ahead of any
        assert batcher.expected() < 0.01

    run(test)


def test_a_bug_fails_its_rows_and_nothing_else() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.fails = True
        with pytest.raises(FailedError):
            await batcher.ask(row(0), soon())
        model.fails = False
        assert (await batcher.ask(row(1), soon())).items == [1]

    run(test)


def test_times_travel_with_their_rows_and_nothing_travels_where_none_are_read() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        rows = [row(n, times=[10 * n], at=n, k=1 + n % 2) for n in range(4)]
        await asyncio.gather(*(batcher.ask(each, soon()) for each in rows))
        groups = [group for message in model.batches for group in message["groups"]]
        sent = [each for g in groups for each in zip(g["at"], g["times"], g["histories"], strict=True)]
        assert sorted(sent) == [(n, [10 * n], [n]) for n in range(4)]
        model.batches.clear()
        await batcher.ask(row(5), soon())
        assert not {"times", "at"} & model.batches[0]["groups"][0].keys()

    run(test)

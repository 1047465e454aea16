"""Who waits for whom: laws of the batcher, with a model whose time is set by hand."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import virtual_time
from virtual_time import now

from sidestep.errors import ArtifactError
from sidestep.serving.batcher import KEPT_FILTERS, LATE, LOOKS, Batcher, Filter, Row, RowAnswer
from sidestep.serving.errors import FailedError, OverloadedError, ProcessEndedError


class Model:
    """Answers a history with its own items, after `base + rows * each` seconds; notes what it was sent."""

    def __init__(self, base: float = 0.0, each: float = 0.0) -> None:
        self.base, self.each = base, each
        self.batches: list[dict[str, Any]] = []
        self.filters: dict[str, bytes] = {}
        self.dies, self.fails, self.stopped = False, False, False
        self.gone, self.killed, self.hangs = False, False, False

    async def answer(self, message: dict[str, Any], filters: Sequence[bytes] = ()) -> list[dict[str, Any]]:
        if self.hangs:
            await asyncio.Event().wait()
        if message["groups"]:
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
    return now() + seconds


def run(test: Callable[[Batcher, Model], Awaitable[None]], model: Model | None = None, **settings: Any) -> Model:
    model = model or Model()

    async def within() -> None:
        async def start() -> Model:
            fresh = Model(model.base, model.each)
            model.batches, fresh.batches = fresh.batches, model.batches
            return fresh

        batcher = Batcher(start, model, clock=now, **settings)
        await test(batcher, model)
        await batcher.drain()

    virtual_time.run(within())
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
            begun = now()
            await batcher.ask(row(n), soon())
            assert now() == begun

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
        for rows in (1, 4, 4):  # from now on it knows how long a row takes
            await batcher.ask_all([row(n) for n in range(rows)], soon())
        asked = [asyncio.create_task(batcher.ask(row(n), soon(0.51))) for n in range(100)]
        done = await asyncio.gather(*asked, return_exceptions=True)
        refused = [each for each in done if isinstance(each, OverloadedError)]
        assert len(refused) == 100 - 20  # 5 batches of 4 take SAFETY * 0.51 seconds
        assert all(each.retry_after == pytest.approx(0.48, rel=0.1) for each in refused)
        assert sum(isinstance(each, RowAnswer) for each in done) == 20

    run(test, Model(0.0, 0.02), most=4)


def test_answers_never_come_after_their_deadline() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        async def client(n: int) -> float | None:
            begun = now()
            try:
                await batcher.ask(row(n), begun + 0.15)
            except OverloadedError:
                return None
            return now() - begun

        took = [seconds for seconds in await asyncio.gather(*map(client, range(50))) if seconds is not None]
        assert took
        assert max(took) <= 0.15

    run(test, Model(0.02, 0.01), most=4)


SEARCHES = [(0.1, 0.031), (0.01, 0.05), (0.3, 0.01)]
"""Seconds of a search, and of each of its rows: 32 rows at once are 4 times, hardly, and 16 times faster than alone."""


async def ask_again_and_again(batcher: Batcher, clients: int, deadline: float) -> tuple[list[float], list[float]]:
    """For clients who ask as soon as they are answered: how long each answer took, and when somebody was refused."""
    took, refused = list[float](), list[float]()

    async def client(n: int) -> None:
        while (begun := now()) < 12.0:
            try:
                await batcher.ask(row(n), begun + deadline)
                if now() <= 12.0:
                    took.append(now() - begun)
            except OverloadedError:
                refused.append(now())
                await asyncio.sleep(0.1)

    await batcher.ask(row(0), soon())  # all it knows is what one row takes
    await asyncio.gather(*map(client, range(clients)))
    return took, refused


@pytest.mark.parametrize(("fixed", "each"), SEARCHES)
@pytest.mark.parametrize("clients", [16, 64])
def test_nobody_is_refused_below_the_capacity_and_no_answer_is_lost_to_the_deadline(
    clients: int, fixed: float, each: float
) -> None:
    outcomes = []
    for deadline in (2.0, 60.0):

        async def test(batcher: Batcher, model: Model, deadline: float = deadline) -> None:
            outcomes.append(await ask_again_and_again(batcher, clients, deadline))

        run(test, Model(fixed, each))
    (took, refused), (patient, _) = outcomes
    assert max(took) <= 2.0
    if max(patient) <= 1.6:  # all of them fit
        assert not [at for at in refused if clients == 16 or at > 3.0]  # 64 at once are not yet known to fit
        assert len(took) >= 0.97 * len(patient)
    else:
        assert refused
        assert len(took) >= 0.9 * len(patient)


@pytest.mark.parametrize(("fixed", "each"), SEARCHES[:2])
def test_of_three_times_what_can_be_answered_two_thirds_are_refused_and_the_rest_is_in_time(
    fixed: float, each: float
) -> None:
    capacity = 32 / (fixed + 32 * each)
    took, late, refused = list[float](), 0, 0

    async def test(batcher: Batcher, model: Model) -> None:
        async def client(n: int) -> None:
            nonlocal late, refused
            begun = now()
            try:
                await batcher.ask(row(n), begun + 2.0)
                took.append(now() - begun)
            except OverloadedError as error:
                refused += 1
                late += "Not answered" in str(error)

        draw, clients = random.Random(0), list[asyncio.Task[None]]()
        while now() < 12.0:
            await asyncio.sleep(draw.expovariate(3 * capacity))
            clients.append(asyncio.create_task(client(len(clients))))
        await asyncio.gather(*clients)

    run(test, Model(fixed, each))
    assert len(took) >= 0.9 * 12.0 * capacity
    assert 0.6 < refused / (refused + len(took)) < 0.72
    assert late <= 0.01 * refused  # a refusal is said at once
    assert max(took) <= 2.0


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


def test_one_that_ends_while_nobody_asks_is_met_before_anybody_does() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        assert batcher.alive
        model.gone = True
        assert not batcher.alive
        await asyncio.sleep(LOOKS + 0.001)
        assert (batcher.alive, batcher.restarts) == (True, 1)
        assert (await batcher.ask(row(1), soon())).items == [1]

    run(test)


def test_one_that_hangs_while_nobody_asks_is_not_ready_and_then_replaced() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.hangs = True
        await asyncio.sleep(LOOKS + LATE)
        assert batcher.alive
        await asyncio.sleep(0.001)
        assert not batcher.alive
        await asyncio.sleep(12.0 - LATE)
        assert (batcher.alive, batcher.restarts, model.killed) == (True, 1, True)
        assert (await batcher.ask(row(1), soon())).items == [1]

    run(test, hang_seconds=12.0)


def test_one_that_hangs_in_a_search_is_replaced_and_what_waits_behind_is_answered() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.hangs = True
        searched = asyncio.create_task(batcher.ask(row(0), soon(60.0)))
        await asyncio.sleep(1.0)
        waits = asyncio.create_task(batcher.ask(row(1), soon(60.0)))
        await asyncio.sleep(LATE)
        assert not batcher.alive
        with pytest.raises(ProcessEndedError, match="did not answer within 12 seconds"):
            await searched
        assert now() == 12.0
        assert (await waits).items == [1]
        assert (batcher.alive, batcher.restarts, model.killed) == (True, 1, True)

    run(test, hang_seconds=12.0)


def test_one_that_is_slow_is_ready_again_once_it_has_answered() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        asked = asyncio.create_task(batcher.ask(row(0), soon(60.0)))
        await asyncio.sleep(11.0)
        assert not batcher.alive
        assert (await asked).items == [0]
        assert (batcher.alive, batcher.restarts) == (True, 0)

    run(test, Model(11.9), hang_seconds=12.0)


@pytest.mark.parametrize("error", [ArtifactError("was replaced"), OSError(12, "no memory")])
def test_one_that_does_not_start_is_tried_again_and_can_be_drained(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[bool] = []

    async def within() -> None:
        async def start() -> Model:
            tries.append(True)
            if len(tries) < 4:
                raise error
            return Model()

        model = Model()
        model.dies = True
        batcher = Batcher(start, model, clock=now)
        with pytest.raises(ProcessEndedError):
            await batcher.ask(row(0), soon())
        with pytest.raises(OverloadedError):
            await batcher.ask(row(0), soon())
        await asyncio.sleep(4 * LOOKS)
        assert (batcher.alive, batcher.depth, len(tries)) == (True, 0, 4)
        assert (await batcher.ask(row(1), soon())).items == [1]
        tries.clear()
        model.gone = True
        hopeless = Batcher(start, model, clock=now)
        await asyncio.sleep(2 * LOOKS)
        await hopeless.drain()
        await batcher.drain()

    virtual_time.run(within())
    assert str(error) in caplog.text


def test_a_search_that_never_ends_does_not_keep_the_server_from_ending() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.hangs = True
        with pytest.raises(OverloadedError):
            await batcher.ask(row(0), soon(0.1))
        await batcher.drain()
        assert (now(), model.killed, batcher.restarts) == (pytest.approx(0.1), True, 0)

    run(test)


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
        assert batcher.expected(5.0) < 0.01

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

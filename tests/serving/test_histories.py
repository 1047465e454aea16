"""Every store of histories keeps the same laws."""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import RedisNodes, RedisServer

from sidestep.errors import ConfigError, DataError, MissingExtraError
from sidestep.serving.errors import HistoriesUnavailableError
from sidestep.serving.events import Event, Histories
from sidestep.serving.histories import open_histories
from sidestep.serving.schema import MAX_HISTORY
from sidestep.serving.settings import Settings

KEPT = 5
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNodes]:
    nodes = RedisNodes(tmp_path_factory.mktemp("cluster"))
    yield nodes
    nodes.kill()


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'kept.sqlite'}"
    server = request.getfixturevalue(request.param)
    asyncio.run(on_nodes([server] if request.param == "redis" else server.nodes, "FLUSHALL"))
    return str(server.url)


async def on_nodes(servers: list[RedisServer], command: str) -> list[Any]:
    """What every one of some servers answers."""
    from redis.asyncio import Redis

    found = []
    for server in servers:
        async with Redis.from_url(server.url) as connection:
            found.append(await connection.execute_command(command))
    return found


def on(place: str, *steps: Callable[[Histories], Awaitable[Any]], kept: int = KEPT) -> list[Any]:
    """What each step finds; the store is closed and opened again after each."""

    async def one(step: Callable[[Histories], Awaitable[Any]]) -> Any:
        histories = open_histories(place, kept)
        try:
            return await step(histories)
        finally:
            await histories.close()

    return [asyncio.run(one(step)) for step in steps]


def event(n: int, user: str = "u", time: float | None = None, event_id: str | None = None) -> Event:
    return Event(user, f"item {n}", float(n) if time is None else time, event_id)


def items(events: list[Event]) -> list[str]:
    return [each.item_id for each in events]


def test_what_is_appended_is_read_by_time_then_by_arrival(place: str) -> None:
    some = [event(3), event(1), event(2, time=3.0), event(4, time=-1.5)]
    appended, read = on(place, lambda h: h.append(some), lambda h: h.history("u", 10))
    assert appended == 4
    assert read == [some[3], some[1], some[0], some[2]]


def test_a_limit_gives_the_latest(place: str) -> None:
    _, read, nobody = on(
        place,
        lambda h: h.append([event(n) for n in range(4)]),
        lambda h: h.history("u", 2),
        lambda h: h.history("stranger", 2),
    )
    assert items(read) == ["item 2", "item 3"]
    assert nobody == []


def test_an_event_id_counts_once_for_each_user_and_across_calls(place: str) -> None:
    twice = [event(1, event_id="a"), event(2, event_id="a"), event(1, user="v", event_id="a"), event(5)]
    counts = on(place, lambda h: h.append(twice), lambda h: h.append(twice), lambda h: h.history("u", 10))
    assert counts[:2] == [3, 1]
    assert items(counts[2]) == ["item 1", "item 5", "item 5"]


def test_only_the_latest_are_kept_and_what_was_pushed_out_does_not_come_back(place: str) -> None:
    many = [event(n, event_id=f"e{n}") for n in range(12)]
    _, again, read = on(place, lambda h: h.append(many), lambda h: h.append(many), lambda h: h.history("u", 100))
    assert again == 0
    assert items(read) == [f"item {n}" for n in range(12 - KEPT, 12)]


def test_to_forget_is_to_forget_ids_too_and_nobody_else(place: str) -> None:
    some = [event(1, event_id="a"), event(2), event(3, user="v")]
    forgotten, again, left, other = on(
        place,
        lambda h: h.append(some),
        lambda h: h.forget("u"),
        lambda h: h.append(some[:1]),
        lambda h: h.history("u", 9),
        lambda h: h.history("v", 9),
    )[1:]
    assert (forgotten, again) == (2, 1)
    assert items(left) == ["item 1"]
    assert items(other) == ["item 3"]


def test_appends_at_once_are_all_kept(place: str) -> None:
    async def many(histories: Histories) -> None:
        counts = await asyncio.gather(*(histories.append([event(n, event_id=str(n % 50))]) for n in range(200)))
        assert sum(counts) == 50

    _, read = on(place, many, lambda h: h.history("u", 1_000), kept=1_000)
    assert len(read) == len({each.event_id for each in read}) == 50


def test_a_long_history_is_kept_and_read_as_far_as_a_request_may_carry(place: str) -> None:
    kept = Settings({}).kept_events
    first, second = ([event(n) for n in range(begin, begin + 550)] for begin in (0, 550))
    read = on(
        place,
        lambda h: h.append(first),
        lambda h: h.append(second),
        lambda h: h.history("u", MAX_HISTORY),
        kept=kept,
    )[-1]
    assert items(read) == [f"item {n}" for n in range(100, 1_100)]


def test_a_call_is_kept_whole_or_not_at_all(place: str) -> None:
    for bad in ("\0", "half \ud800"):
        with pytest.raises(DataError, match="Cannot store"):
            on(place, lambda h, bad=bad: h.append([event(1), Event("u", bad, 2.0)]))  # type: ignore[misc]
    for never in (float("nan"), float("inf")):
        with pytest.raises(DataError, match="expected seconds"):
            on(place, lambda h, never=never: h.append([event(1), event(2, time=never)]))  # type: ignore[misc]
    assert on(place, lambda h: h.history("u", 9)) == [[]]


def test_a_name_that_cannot_be_kept_cannot_be_asked_for(place: str) -> None:
    for ask in (lambda h: h.history("half \ud800", 9), lambda h: h.forget("\0")):
        with pytest.raises(DataError, match="Cannot store"):
            on(place, ask)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, time=st.floats(-1e11, 1e11))
def test_any_text_comes_back_as_it_was(place: str, text: str, time: float) -> None:
    one = Event(text, text, time, text)
    _, read, _ = on(place, lambda h: h.append([one]), lambda h: h.history(text, 1), lambda h: h.forget(text))
    assert read == [one]


def test_it_is_ready_until_it_is_closed(place: str) -> None:
    async def closing(histories: Histories) -> None:
        assert await histories.ready()
        await histories.close()

    on(place, closing)


def test_two_servers_see_one_history(place: str) -> None:
    async def both(first: Histories) -> None:
        second = open_histories(place, KEPT)
        counts = await asyncio.gather(*(h.append([event(1, event_id="same")]) for h in (first, second) * 10))
        assert sum(counts) == 1
        assert len(await first.history("u", 9)) == len(await second.history("u", 9)) == 1
        await second.close()

    on(place, both)


def test_what_is_forgotten_is_gone_from_the_disk_while_the_server_runs(tmp_path: Path) -> None:
    def on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm"))

    async def appear_and_go(histories: Histories) -> None:
        await histories.append([Event("Ada Lovelace", "a private thing", 1.0, "private-id"), event(1, "other")])
        assert b"Lovelace" in on_disk()
        assert await histories.forget("Ada Lovelace") == 1
        left = on_disk()
        assert b"item 1" in left
        assert not [word for word in (b"Lovelace", b"a private thing", b"private-id") if word in left]

    on(str(tmp_path / "kept.sqlite"), appear_and_go)


def test_what_is_forgotten_while_somebody_reads_is_gone_once_they_have_read(tmp_path: Path) -> None:
    async def appear_and_go(histories: Histories) -> None:
        await histories.append([Event("Ada Lovelace", "a private thing", 1.0, "private-id")])
        reader = sqlite3.connect(tmp_path / "kept.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        begun = time.monotonic()
        assert await histories.forget("Ada Lovelace") == 1
        assert time.monotonic() - begun < 5
        reader.close()
        until = time.monotonic() + 20
        while any(b"Lovelace" in path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".sqlite-shm"):
            assert time.monotonic() < until
            await asyncio.sleep(0.1)

    on(str(tmp_path / "kept.sqlite"), appear_and_go)


def test_a_redis_that_is_gone_is_unavailable_and_no_bug(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.kill()

    async def fails(histories: Histories) -> None:
        assert not await histories.ready()
        with pytest.raises(HistoriesUnavailableError, match="do not answer"):
            await histories.append([event(1)])
        with pytest.raises(HistoriesUnavailableError, match="do not answer"):
            await histories.history("u", 1)

    on(server.url, fails)


def test_a_cluster_divides_users_among_its_nodes(cluster: RedisNodes) -> None:
    asyncio.run(on_nodes(cluster.nodes, "FLUSHALL"))
    users = [f"user {number}" for number in range(60)]
    many = [event(n, user, event_id=f"{user} {n}") for n in range(3) for user in users]

    async def appended_and_read(histories: Histories) -> list[list[str]]:
        assert await histories.append(many) == 180
        assert await histories.append(many) == 0
        return [items(await histories.history(user, 9)) for user in users]

    (read,) = on(cluster.url, appended_and_read)
    assert read == [["item 0", "item 1", "item 2"]] * 60
    assert all(size > 30 for size in asyncio.run(on_nodes(cluster.nodes, "DBSIZE")))  # three keys a user: 60 each


def test_a_cluster_that_is_gone_is_unavailable_and_no_bug(tmp_path: Path) -> None:
    nodes = RedisNodes(tmp_path)
    nodes.kill()

    async def fails(histories: Histories) -> None:
        assert not await histories.ready()
        with pytest.raises(HistoriesUnavailableError, match="do not answer"):
            await histories.append([event(1)])

    on(nodes.url, fails)


def test_a_file_of_somebody_else_or_of_the_future_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "theirs").execute("CREATE TABLE novels (title)").connection.close()
    with pytest.raises(DataError, match=r"another program's database \(tables novels\)"):
        open_histories(str(tmp_path / "theirs"), KEPT)
    sqlite3.connect(tmp_path / "newer").execute("PRAGMA user_version = 99").connection.close()
    with pytest.raises(DataError, match="format 99"):
        open_histories(str(tmp_path / "newer"), KEPT)
    (tmp_path / "text").write_text("no database at all, but longer than a header of one " * 40)
    with pytest.raises(DataError, match="Cannot store histories"):
        open_histories(str(tmp_path / "text"), KEPT)
    with pytest.raises(DataError, match="Cannot store histories"):
        open_histories(str(tmp_path / "text" / "below a file"), KEPT)


def test_a_place_is_named_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = ("redis-cluster://somewhere:1", "rediss-cluster://me:secret@somewhere")
    for place in ("redis://somewhere:1/2", "rediss://somewhere", "unix:///somewhere.sock", *clusters):
        assert type(open_histories(place, KEPT)).__name__ == "RedisHistories"
    with pytest.raises(ConfigError, match="expected a path"):
        open_histories("mysql://somewhere", KEPT)
    with pytest.raises(ConfigError, match="Cannot read --histories"):
        open_histories("redis://somewhere:port", KEPT)
    with pytest.raises(ConfigError, match="Cannot read --histories"):
        open_histories("redis-cluster://somewhere:port", KEPT)
    monkeypatch.setitem(sys.modules, "sidestep.serving.histories_redis", None)
    with pytest.raises(MissingExtraError, match=r"sidestep\[redis\]"):
        open_histories("redis://somewhere", KEPT)


def gone(folder: Path) -> None:
    for path in folder.glob("kept.sqlite*"):
        path.unlink()


def replaced(folder: Path) -> None:
    gone(folder)
    asyncio.run(open_histories(str(folder / "kept.sqlite"), KEPT).close())


def without_log(folder: Path) -> None:
    (folder / "kept.sqlite-wal").unlink()


def moved(folder: Path) -> None:
    (folder / "kept.sqlite").rename(folder / "elsewhere")


def overwritten(folder: Path) -> None:
    other = folder / "other.sqlite"
    asyncio.run(open_histories(str(other), KEPT).close())
    (folder / "kept.sqlite").write_bytes(other.read_bytes())


def emptied(folder: Path) -> None:
    (folder / "kept.sqlite").write_bytes(b"")


LOST = {
    gone: "deleted",
    moved: "deleted",
    without_log: "deleted",
    replaced: "replaced",
    overwritten: "overwritten",
    emptied: "overwritten",
}


@pytest.mark.parametrize("lose", LOST, ids=lambda lose: lose.__name__)
def test_nothing_is_acknowledged_by_a_file_that_is_not_in_its_place(
    tmp_path: Path, lose: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def steps(histories: Histories) -> None:
        await histories.append([event(1)])
        await asyncio.to_thread(lose, tmp_path)
        calls = (histories.append([event(2)]), histories.history("u", 9), histories.forget("u"))
        for call in calls:
            with pytest.raises(HistoriesUnavailableError, match=f"was {LOST[lose]} while it was in use"):
                await call
        assert not await histories.ready()

    on(str(tmp_path / "kept.sqlite"), steps)
    assert caplog.text.count("start the server again") == 1
    assert (tmp_path / "kept.sqlite").exists() == (lose not in (gone, moved))  # nobody made an empty one


def test_a_file_that_is_put_back_answers_again(tmp_path: Path) -> None:
    async def steps(histories: Histories) -> None:
        await histories.append([event(1)])
        (tmp_path / "kept.sqlite").rename(tmp_path / "elsewhere")
        assert not await histories.ready()
        (tmp_path / "elsewhere").rename(tmp_path / "kept.sqlite")
        assert await histories.ready()
        assert await histories.append([event(2)]) == 1

    *_, read = on(str(tmp_path / "kept.sqlite"), steps, lambda h: h.history("u", 9))
    assert items(read) == ["item 1", "item 2"]


def test_what_lay_in_a_log_that_was_deleted_is_in_the_file_once_the_server_has_ended(tmp_path: Path) -> None:
    async def steps(histories: Histories) -> None:
        await histories.append([event(1)])
        without_log(tmp_path)

    *_, read = on(str(tmp_path / "kept.sqlite"), steps, lambda h: h.history("u", 9))
    assert items(read) == ["item 1"]


def test_a_store_of_an_older_release_is_kept_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "kept.sqlite"
    on(str(place), lambda h: h.append([event(1)]))
    connection = sqlite3.connect(place)
    connection.execute("PRAGMA application_id = 0")
    connection.close()
    _, read = on(str(place), lambda h: h.append([event(2)]), lambda h: h.history("u", 9))
    assert items(read) == ["item 1", "item 2"]

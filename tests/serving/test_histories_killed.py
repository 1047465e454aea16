"""What was acknowledged is there when the server, or its store, was killed in the middle of things."""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis_server import RedisServer

from sidestep.serving.events import Event
from sidestep.serving.histories import open_histories

CHILD = Path(__file__).with_name("killed_child.py")
ROUNDS = [5, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1_200)])]


def acknowledged(place: str, number: int, rng: random.Random, server: RedisServer | None = None) -> list[str]:
    """What a child was told is kept, before it, or the server behind it, was killed at a random moment."""
    words = [sys.executable, str(CHILD), place, str(number)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(rng.uniform(0, 0.15))
        (server or child).kill()
        lines = [first, *child.stdout.read().splitlines(keepends=True)]
    return [line.strip() for line in lines if line.endswith("\n")]  # the last one may be cut off in the middle


def kept(place: str) -> list[Event]:
    async def read() -> list[Event]:
        histories = open_histories(place, 10_000)
        found = [await histories.history(f"user {name}", 10_000) for name in "abcd"]
        await histories.close()
        return [event for events in found for event in events]

    return asyncio.run(read())


def check(place: str, told: list[str]) -> None:
    counts = Counter(event.item_id for event in kept(place))
    assert told
    assert not set(told) - set(counts)
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_killed_server_has_lost_nothing_in_sqlite(tmp_path: Path, rounds: int) -> None:
    place, rng, told = str(tmp_path / "kept.sqlite"), random.Random(0), []
    for number in range(rounds):
        told += acknowledged(place, number, rng)
        check(place, told[-500:])
    check(place, told[-8_000:])


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("who", ["server", "redis"])
def test_a_killed_server_has_lost_nothing_in_redis(tmp_path: Path, rounds: int, who: str) -> None:
    server, rng, told = RedisServer(tmp_path), random.Random(0), []
    try:
        for number in range(rounds):
            told += acknowledged(server.url, number, rng, server if who == "redis" else None)
            if who == "redis":
                server.start()
            check(server.url, told[-500:])
        check(server.url, told[-8_000:])
    finally:
        server.kill()


def test_two_servers_on_one_file_lose_nothing_when_both_are_killed(tmp_path: Path) -> None:
    place = str(tmp_path / "kept.sqlite")  # which both make, at once
    with ThreadPoolExecutor(2) as threads:
        for both in ((0, 1), (2, 3)):
            told = list(threads.map(lambda number: acknowledged(place, number, random.Random(number)), both))
            assert all(told)
            check(place, told[0] + told[1])

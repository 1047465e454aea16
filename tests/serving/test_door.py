"""The door by itself, told message by message what comes over the wire."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from sidestep.serving.door import Door, Message
from sidestep.serving.settings import Settings
from sidestep.serving.watch import Numbers

SCOPE = {"type": "http", "method": "POST", "path": "/v1/recommend", "headers": []}
BEGUN = {"type": "http.request", "body": b"{", "more_body": True}
ENDED = {"type": "http.request", "body": b"}", "more_body": False}


async def reads_all(scope: Any, receive: Any, send: Any) -> None:
    """An app that answers once it has the whole body."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.05)
    await JSONResponse({"ok": True})(scope, receive, send)


class Client:
    """A request whose body comes as the test sends it."""

    def __init__(self, door: Door) -> None:
        self.sent: list[Message] = []
        self.wire: asyncio.Queue[Message] = asyncio.Queue()
        self.task = asyncio.ensure_future(door(dict(SCOPE), self.wire.get, self.note))

    async def note(self, message: Message) -> None:
        self.sent.append(message)

    async def status(self) -> int:
        await asyncio.wait_for(self.task, 10)
        return int(self.sent[0]["status"])

    @property
    def said(self) -> str:
        return str(json.loads(self.sent[1]["body"])["error"]["message"])


def door(seconds: float, told: list[int], *, full: bool = False) -> Door:
    def expected(inside: int, allowed: float) -> float:
        told.append(inside)
        return 5.0 if full else 0.0

    settings = Settings({"shop": Path()}, max_body=1_000, body_seconds=seconds)
    return Door(reads_all, settings, Numbers(), expected)


def test_who_is_still_sending_stands_in_nobodys_way() -> None:
    async def run() -> None:
        told: list[int] = []
        at = door(60.0, told)
        slow = [Client(at) for _ in range(20)]
        for each in slow:
            each.wire.put_nowait(BEGUN)
        await asyncio.sleep(0.02)
        quick = Client(at)
        quick.wire.put_nowait(BEGUN)
        quick.wire.put_nowait(ENDED)
        await asyncio.sleep(0.02)
        last = Client(at)
        last.wire.put_nowait(ENDED)
        assert [await quick.status(), await last.status()] == [200, 200]
        assert told[20:] == [0, 1]  # quick is inside and waits for its answer; the slow ones are not
        for each in slow:
            each.wire.put_nowait(ENDED)
        assert [await each.status() for each in slow] == [200] * 20
        assert at._inside == 0

    asyncio.run(run())


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("first", [[], [BEGUN]])
def test_a_body_that_does_not_come_is_not_waited_for(first: list[Message], full: bool) -> None:
    async def run() -> None:
        client = Client(door(0.05, [], full=full))
        for message in first:
            client.wire.put_nowait(message)
        assert await client.status() == 408
        assert client.said == "The body was not complete after 0.05 seconds; send it at once"

    asyncio.run(run())


def test_a_deadline_of_its_own_decides_whether_a_request_is_let_in() -> None:
    async def run() -> None:
        at = door(60.0, [], full=True)  # answered in five seconds; two are allowed where nothing is said
        bodies = {
            b"{}": 503,
            b'{"deadline_ms": 5000}': 503,
            b'{"k": 3, "deadline_ms" : 20000}': 200,
            b'{"history": ["\\"deadline_ms\\": 1"], "deadline_ms": 20000}': 200,
            b'{"deadline_ms": "20000"}': 503,
        }
        for body, status in bodies.items():
            client = Client(at)
            client.wire.put_nowait({**ENDED, "body": body})
            assert await client.status() == status, body

    asyncio.run(run())


def test_pieces_that_are_too_many_are_refused_once() -> None:
    async def run() -> None:
        client = Client(door(60.0, []))
        for _ in range(10):
            client.wire.put_nowait({**BEGUN, "body": b"x" * 200})
        assert await client.status() == 413
        assert [message["type"] for message in client.sent].count("http.response.start") == 1

    asyncio.run(run())

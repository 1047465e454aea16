"""Clients that send their head slowly, without end, or not at all: told to a connection by hand, on virtual time."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import virtual_time
from uvicorn.server import ServerState
from virtual_time import now

from sidestep.serving.connections import Connection, protocol
from sidestep.serving.settings import Settings

SETTINGS = Settings({"shop": Path()}, max_head=1_000, head_seconds=10.0)
IDLE = 75
GET = b"GET /sets HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """What a connection wrote, and when it was closed."""

    def __init__(self) -> None:
        super().__init__({})
        self.written, self.closed_at = b"", float("nan")

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        if not self.is_closing():
            self.closed_at = now()

    def is_closing(self) -> bool:
        return self.closed_at == self.closed_at

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3})", self.written)]

    @property
    def message(self) -> str:
        return str(json.loads(self.written.rpartition(b"\r\n\r\n")[2])["error"]["message"])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers /sets at once, everything else with the number of bytes in the body; /slow after a minute."""
    size, more = 0, scope["path"] != "/sets"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    text = str(size).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def on_wire(test: Callable[[Connection, Wire], Awaitable[None]]) -> None:
    async def within() -> None:
        kind = protocol(SETTINGS)
        config = uvicorn.Config(echo, http=kind, log_config=None, lifespan="off", ws="none", timeout_keep_alive=IDLE)
        config.load()
        wire, connection = Wire(), kind(config, ServerState(), {})  # type: ignore[call-arg]
        assert isinstance(connection, Connection)
        connection.connection_made(wire)
        await test(connection, wire)
        connection.connection_lost(None)

    virtual_time.run(within())


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[place : place + size] for place in range(0, len(data), size))


async def drip(connection: Connection, wire: Wire, data: bytes, seconds: float = 1.0) -> None:
    """A byte every second, as long as there is somebody to send it to."""
    for byte in pieces(data, 1):
        if wire.is_closing():
            return
        connection.data_received(byte)
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_head_that_is_complete_in_time_is_answered_however_it_comes(size: int) -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        for data in (GET, POST + b"5\r\nhello\r\n0\r\n\r\n", GET):
            for piece in pieces(data, size):
                connection.data_received(piece)
            await asyncio.sleep(60)
        assert wire.statuses == [200, 200, 200]
        assert wire.written.endswith(b"\r\n\r\n0")
        assert not wire.is_closing()

    on_wire(test)


@pytest.mark.parametrize("data", [b"GET /sets HTTP/1.1\r\nX-A: " + b"a" * 100, b"\r\n" * 50], ids=["head", "lines"])
@pytest.mark.parametrize("before", [b"", GET])
def test_a_head_that_drips_is_not_waited_for(before: bytes, data: bytes) -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        if before:
            connection.data_received(before)
            await asyncio.sleep(5)
        begun = now()
        await drip(connection, wire, data)
        assert wire.closed_at == begun + SETTINGS.head_seconds
        assert wire.statuses == ([200, 408] if before else [408])
        assert wire.message == "The head was not complete after 10 seconds; send it at once"

    on_wire(test)


def test_a_connection_without_a_request_is_kept_as_one_between_two() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        await asyncio.sleep(2 * IDLE)
        assert (wire.written, wire.closed_at) == (b"", IDLE)

    on_wire(test)


@pytest.mark.parametrize("size", [1, 100, 1_000_000])
def test_a_head_that_is_too_long_is_refused_and_not_read_to_its_end(size: int) -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        sent = 0
        head = b"GET /sets HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 50) for n in range(100)) + b"\r\n"
        for piece in pieces(head, size):
            if not wire.is_closing():
                connection.data_received(piece)
                sent += len(piece)
        assert sent <= SETTINGS.max_head + size
        assert wire.statuses == [431]
        assert wire.message == "The head is longer than 1,000 bytes; send less in it"

    on_wire(test)


def test_a_body_counts_as_no_head_but_what_follows_it_does() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        connection.data_received(POST)
        for _ in range(3_000):
            connection.data_received(b"1\r\nx\r\n")
        assert not wire.is_closing()
        connection.data_received(b"0\r\n")
        sent = 0
        while not wire.is_closing() and sent < 1_000_000:
            connection.data_received(b"X-Trailer: " + b"a" * 87 + b"\r\n")
            sent += 100
        assert sent < 20_000

    on_wire(test)


def test_the_rest_of_a_body_that_was_answered_early_is_not_waited_for() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        connection.data_received(b"POST /sets HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        await asyncio.sleep(1)
        begun = now()
        await drip(connection, wire, b"x" * 1_000)
        assert wire.closed_at == begun + SETTINGS.head_seconds
        assert wire.statuses == [200]

    on_wire(test)


def test_an_answer_is_not_cut_by_the_next_head() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        connection.data_received(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + GET[:10])
        await asyncio.sleep(59)
        assert (wire.statuses, wire.is_closing()) == ([], False)
        await asyncio.sleep(60)
        assert (wire.statuses, wire.is_closing()) == ([200, 408], True)

    on_wire(test)


def test_what_is_not_http_is_refused_in_the_shape_of_all_errors() -> None:
    async def test(connection: Connection, wire: Wire) -> None:
        connection.data_received(b"\x00\x01\x02" * 50)
        assert wire.statuses == [400]
        assert wire.message == "Invalid HTTP request received; send HTTP/1.1"
        assert wire.is_closing()

    on_wire(test)

"""HTTP connections whose clients are waited for only so long, and whose heads have an end.

The HTTP library reads a request's line and headers for as long as they come. Bodies are the door's (`door.py`).
"""

import asyncio
import logging
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sidestep.serving.door import failure
from sidestep.serving.settings import Settings

FRAMING = 8
"""Bytes around each byte of a body that are not counted as head: a chunk of one byte has five."""

log = logging.getLogger("sidestep.serving")


class Connection(HttpToolsProtocol):
    """A head that is longer than `max_head` bytes gets 431, one that is not complete after `head_seconds` gets 408, and
    both are the end of the connection; so is the rest of a body that comes too late for its answer. A connection on
    which nothing was sent is kept as long as one between two requests.
    """

    settings: Settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_body = False
        self._limit: asyncio.TimerHandle | None = None
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > self.settings.max_head:
            self._refuse_head()
        elif self._waits and self._limit is None:
            self._limit = self.loop.call_later(self.settings.head_seconds, self._too_late)

    @property
    def _answered(self) -> bool:
        """Whether no request of this connection waits for its answer."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits(self) -> bool:
        """Whether bytes must follow for which nobody else waits."""
        return self._answered if self._in_body else self._head_bytes > 0

    def _too_late(self) -> None:
        self._limit = None
        if not self._answered:  # the head of a next request; this one is answered first
            self._limit = self.loop.call_later(self.settings.head_seconds, self._too_late)
        elif self._in_body:
            self.transport.close()
        else:
            seconds = self.settings.head_seconds
            self._refuse(408, "too_slow", f"The head was not complete after {seconds:g} seconds; send it at once")

    def _stop_clock(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    # What the parser of the HTTP library calls

    def on_message_begin(self) -> None:
        self._head_bytes = max(self._head_bytes, 1)  # it may follow the message before in the same piece
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._stop_clock()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.settings.max_head:
            self._refuse_head()  # it came at once
            raise ValueError  # the parser stops
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= (1 + FRAMING) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._head_bytes = False, 0
        self._stop_clock()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            self._refuse(400, "http_error", f"{msg.rstrip('.')}; send HTTP/1.1")

    def _refuse_head(self) -> None:
        self._refuse(431, "too_large", f"The head is longer than {self.settings.max_head:,} bytes; send less in it")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """An answer in the shape of all others, unless another one is being written; then the end."""
        log.warning("connection refused", extra={"status": status, "reason": message})
        if self._answered:
            answer = failure(status, code, message, {"Connection": "close"})
            head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
            head += [name + b": " + value for name, value in answer.raw_headers]
            self.transport.write(b"\r\n".join([*head, b"", bytes(answer.body)]))
        self.transport.close()


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """The connections of a server with these settings."""
    return type("Connection", (Connection,), {"settings": settings})

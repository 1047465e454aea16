"""The middleware for every request: size limits, keys, load shedding, logging."""

import asyncio
import hmac
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from starlette.responses import JSONResponse

from sidestep.serving.cost import SAFETY
from sidestep.serving.errors import StoppedError
from sidestep.serving.settings import Settings
from sidestep.serving.watch import Numbers

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/healthz", "/readyz")
BUSY = 0.05
"""Expected waiting time in seconds below which a request's deadline is not checked here."""
DEADLINE = re.compile(rb'"deadline_ms"\s*:\s*([0-9]{1,9})')
METRICS, REQUEST_ID = "/metrics", b"x-request-id"
GIVEN_ID = re.compile(rb"[!-~]{1,128}")
"""What is taken for a request's id: printable, without blanks."""
ASSETS, ADMIN, RECOMMEND = "/assets/", "/v1/admin/", "/v1/recommend"
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
]

log = logging.getLogger("sidestep.serving")


class Shed:
    """The route of a request that is refused before routing."""

    path = RECOMMEND


def failure(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The JSON response of an error."""
    safe = message.encode("utf-8", "replace").decode()  # a message may quote invalid input
    return JSONResponse({"error": {"code": code, "message": safe}}, status, headers)


def overloaded(message: str, seconds: float) -> JSONResponse:
    return failure(503, "overloaded", message, {"Retry-After": str(max(1, math.ceil(seconds)))})


class Door:
    """An ASGI middleware.

    expected: seconds until a new request would be answered, given the number of requests inside and its own seconds
        until its deadline. A request whose deadline is too near is refused here, before it is parsed: under overload,
        refusals must be cheap.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        numbers: Numbers,
        expected: Callable[[int, float], float] = lambda inside, allowed: 0.0,
    ) -> None:
        self._app, self._settings, self._numbers, self._expected = app, settings, numbers, expected
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, path = time.perf_counter(), scope["path"]
        status, request_id = 500, _request_id(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *HEADERS, (REQUEST_ID, request_id)]
            await send(message)

        try:
            refused = self._refused(scope)
            limit = self._settings.max_admin_body if path.startswith(ADMIN) else self._settings.max_body
            if refused is not None:
                await refused(scope, receive, send_with_headers)
            elif _length(scope) > limit:
                await _too_large(limit)(scope, receive, send_with_headers)
            elif path == RECOMMEND:
                await self._admit(scope, receive, send_with_headers, limit)
            else:
                await self._within(scope, receive, send_with_headers, limit)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "none")  # not the path, which contains ids
            self._numbers.answered(route, status, seconds)
            fields = {"method": scope["method"], "route": route, "status": status, "ms": round(1000 * seconds, 1)}
            log.info("request", extra={**fields, "request_id": request_id.decode()})

    async def _admit(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Pass the request on, unless it would be answered too late."""
        received: list[Message] = []

        async def replay() -> Message:
            return received.pop() if received else await receive()

        if self._expected(self._inside, self._settings.deadline_ms / 1000) > BUSY:
            try:
                async with asyncio.timeout(self._settings.body_seconds):
                    received.append(await receive())
            except TimeoutError:
                await _too_slow(self._settings.body_seconds)(scope, receive, send)
                return
            whole = not received[0].get("more_body", False)
            allowed = self._deadline(received[0].get("body", b""))
            seconds = self._expected(self._inside, allowed)
            if whole and seconds > SAFETY * allowed:
                scope["route"] = Shed
                message = f"Overloaded: this would be answered in about {1000 * seconds:.0f} ms, too near its deadline"
                await overloaded(message, seconds)(scope, receive, send)
                return
        whole = False

        async def counted() -> Message:
            nonlocal whole
            message = await replay()
            if not whole and not message.get("more_body", False):  # counts once the body is complete
                whole = True
                self._inside += 1
            return message

        try:
            await self._within(scope, counted, send, limit)
        finally:
            self._inside -= whole

    def _deadline(self, body: bytes) -> float:
        """A request's deadline in seconds, read from the body without parsing JSON."""
        matches = DEADLINE.findall(body)
        return int(matches[0]) / 1000 if len(matches) == 1 else self._settings.deadline_ms / 1000

    def _refused(self, scope: Scope) -> JSONResponse | None:
        path = scope["path"]
        if path in OPEN or path.startswith(ASSETS) or (path == METRICS and self._settings.open_metrics):
            return None
        admin = path.startswith(ADMIN)
        expected = self._settings.admin_key if admin else self._settings.api_key
        if expected is None and admin:
            return failure(403, "admin_off", "This server has no admin key; start it with --admin-key-file FILE")
        if expected is not None and not hmac.compare_digest(_key(scope), expected.encode()):
            name = "admin key" if admin else "API key"
            message = f"Expected the {name} in the header 'Authorization: Bearer KEY'"
            return failure(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
        return None

    async def _within(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Pass the request on, and stop a body that is too long, whatever its Content-Length, or too slow."""
        received, whole = 0, False
        until = asyncio.get_running_loop().time() + self._settings.body_seconds
        refusal: JSONResponse | None = None
        answering = False

        async def counted() -> Message:
            nonlocal received, whole, refusal
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                refusal = _too_slow(self._settings.body_seconds)
                raise StoppedError from None
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if received > limit:
                refusal = _too_large(limit)
                raise StoppedError
            return message

        async def begun(message: Message) -> None:
            nonlocal answering
            if refusal is not None:  # the framework has turned it into another error
                raise StoppedError
            answering = True
            await send(message)

        try:
            await self._app(scope, counted, begun)
        except StoppedError:
            if refusal is not None and not answering:
                await refusal(scope, receive, send)


def _too_large(limit: int) -> JSONResponse:
    message = f"The body is longer than {limit:,} bytes; send less at once"
    return failure(413, "too_large", message, {"Connection": "close"})


def _too_slow(seconds: float) -> JSONResponse:
    message = f"The body was not complete after {seconds:g} seconds; send it at once"
    return failure(408, "too_slow", message, {"Connection": "close"})


def _request_id(scope: Scope) -> bytes:
    """The client's own, or a new one."""
    given = dict(scope["headers"]).get(REQUEST_ID, b"")
    return given if GIVEN_ID.fullmatch(given) else uuid4().hex.encode()


def _length(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


def _key(scope: Scope) -> bytes:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    given = headers.get(b"authorization", b"")
    if given.lower().startswith(b"bearer "):
        return given[7:].strip()
    return headers.get(b"x-api-key", b"")

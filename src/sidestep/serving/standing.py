"""The server process: it listens until a signal stops it."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from sidestep.errors import ConfigError, SidestepError
from sidestep.serving.app import make_app
from sidestep.serving.connections import protocol
from sidestep.serving.server import Server
from sidestep.serving.settings import Settings
from sidestep.serving.watch import log_as_json
from sidestep.serving.worker import Opener

GRACE, KEEP_ALIVE = 30, 75
"""Seconds for open requests to finish after a stop signal; and seconds that an idle connection is kept, which is longer
than load balancers keep theirs, so that they are the ones to close it.
"""

BACKLOG = 2_048
"""Maximum number of connections that wait to be accepted."""

log = logging.getLogger("sidestep.serving")


def run(opener: Opener, settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP reloads the bundles. on_ready: called with the address once it answers.

    Raises:
        ConfigError: the address is in use. ArtifactError, DataError: a bundle, a set or a store that does not open.
    """
    log_as_json()
    loop_factory = uvicorn.Config("", log_config=None).get_loop_factory()  # uvloop if it is installed
    with _listen(host, port) as listening, asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(opener, settings, listening, on_ready))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # explicit, or loops keep Nagle's delay
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None
    return listening


class _HttpServer(uvicorn.Server):
    """Without uvicorn's signal handling, which raises the signals again and ends the process before all is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(opener: Opener, settings: Settings, listening: socket.socket, on_ready: Callable[[str], None]) -> None:
    app = make_app(opener, settings)
    server: Server = app.state.server
    await server.open()  # before listening, so that an error is reported in one line
    config = uvicorn.Config(
        app,
        http=protocol(settings),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    http_server = _HttpServer(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, http_server.handle_exit, number, None)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(server))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    host, port = listening.getsockname()[:2]
    listening.listen(BACKLOG)  # not earlier: a refused client tries another server
    on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        await http_server.serve(sockets=[listening])
    finally:
        await server.close()


async def _reload(server: Server) -> None:
    try:
        await server.reload()
    except (SidestepError, OSError) as error:
        log.error("not reloaded, the old bundles stay in service: %s", error)

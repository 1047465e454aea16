"""A server that stands until it is told to stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from sidestep.errors import ConfigError, SidestepError
from sidestep.serving.app import make_app
from sidestep.serving.server import Server
from sidestep.serving.settings import Settings
from sidestep.serving.watch import log_as_json
from sidestep.serving.worker import Opener

GRACE, KEEP_ALIVE = 30, 75
"""Seconds that answers under way have when the server is told to stop; and that an idle connection is kept, longer than
load balancers keep theirs, so that it is they who close it.
"""

BACKLOG = 2_048
"""Connections that may wait to be taken."""

log = logging.getLogger("sidestep.serving")


def run(opener: Opener, settings: Settings, host: str, port: int, told: Callable[[str], None]) -> None:
    """Listen, and answer until SIGINT or SIGTERM; SIGHUP reads the bundles again. told: the address, once it answers.

    Raises:
        ConfigError: the address is taken. ArtifactError, DataError: a bundle, a set or a store that does not open.
    """
    log_as_json()
    faster = uvicorn.Config("", log_config=None).get_loop_factory()  # uvloop where it is installed
    with _listening(host, port) as listening, asyncio.Runner(loop_factory=faster) as runner:
        runner.run(_stand(opener, settings, listening, told))


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or loops leave Nagle's delay on
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None
    return listening


class _Standing(uvicorn.Server):
    """Signals are ours: uvicorn would send them to the process again, which would end it before all is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _stand(opener: Opener, settings: Settings, listening: socket.socket, told: Callable[[str], None]) -> None:
    app = make_app(opener, settings)
    server: Server = app.state.server
    await server.open()  # before listening, so that what does not open is told in one line
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    standing = _Standing(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, standing.handle_exit, number, None)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(_reload(server))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    host, port = listening.getsockname()[:2]
    listening.listen(BACKLOG)  # not before: who is refused tries another server
    told(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        await standing.serve(sockets=[listening])
    finally:
        await server.close()


async def _reload(server: Server) -> None:
    try:
        await server.reload()
    except (SidestepError, OSError) as error:
        log.error("not reloaded, what was served stays: %s", error)

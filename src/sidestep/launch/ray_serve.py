"""The server on Ray Serve: the same application in replicas on the nodes of a cluster, behind Ray's own proxies.

A replica is what `sidestep serve` is on one machine: its models are processes of their own, its answers are the
library's. Where the bundles change, Ray 2.60 replaces the replicas in turn, each after its last request; a release that
keeps them and only tells them the wanted editions finds them ready for it, too.
"""

import logging
import queue
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from sidestep import artifact
from sidestep.errors import ConfigError, EngineError, SidestepError
from sidestep.launch.ray_data import session
from sidestep.serving.app import make_app
from sidestep.serving.histories import SHARED
from sidestep.serving.settings import Settings
from sidestep.serving.worker import Opener

NAME, BUNDLES = "sidestep", "bundles"
READY_SECONDS, POLL_SECONDS, GRACE_SECONDS = 600.0, 0.2, 30.0
log = logging.getLogger("sidestep.serving")


class Replica:
    """What Ray starts on its nodes: the application, told which editions of its bundles are wanted."""

    def __init__(self, opener: Opener, settings: Settings) -> None:
        self._application = make_app(opener, settings)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._application

    async def reconfigure(self, config: dict[str, dict[str, str]]) -> None:
        await follow(self._application.state.server, config[BUNDLES])


class Cluster:
    """An application that is served by Ray; from `start` on.

    replicas: how many servers; two numbers are the bounds of an autoscaler, which counts open requests.
    """

    def __init__(self, opener: Opener, settings: Settings, replicas: tuple[int, int], cores: float = 1.0) -> None:
        _refuse_local_histories(settings)
        bundles = {name: folder.absolute() for name, folder in settings.bundles.items()}  # replicas have other folders
        self._settings = settings = replace(settings, bundles=bundles)
        self._serve = _serve_of_ray()
        fewest, most = replicas
        number: dict[str, Any] = {"num_replicas": fewest}
        if fewest < most:
            number = {"autoscaling_config": {"min_replicas": fewest, "max_replicas": most}}
        self._arguments = opener, settings
        self._deployment = self._serve.deployment(
            self._serve.ingress()(Replica),
            name=NAME,
            ray_actor_options={"num_cpus": cores},
            max_ongoing_requests=settings.max_queue,
            graceful_shutdown_timeout_s=GRACE_SECONDS,
            **number,
        )

    def start(self, host: str, port: int) -> None:
        """Return once every replica has loaded its bundles.

        Raises:
            EngineError: Ray gave up.
        """
        self._serve.start(
            http_options={"host": host, "port": port}, logging_config={"enable_access_log": False, "log_level": "ERROR"}
        )
        self._run(editions(self._settings.bundles))

    def change(self) -> dict[str, str]:
        """Let all replicas load what lies in the bundles' folders now; return once they have. Requests are answered
        meanwhile. Returns the digests by the models' names.

        Raises:
            ArtifactError: altered bytes; nothing is changed then. EngineError: Ray gave up.
        """
        for folder in self._settings.bundles.values():
            artifact.verify(folder, "export it again")
        wanted = editions(self._settings.bundles)
        self._run(wanted)
        return wanted

    def stop(self) -> None:
        self._serve.shutdown()

    def _run(self, wanted: Mapping[str, str]) -> None:
        """What differs from what runs already is the configuration alone: the wanted editions."""
        try:
            deployment = self._deployment.options(user_config={BUNDLES: dict(wanted)})
            self._serve.run(deployment.bind(*self._arguments), name=NAME, route_prefix="/", blocking=False)
        except RuntimeError as error:
            first = (str(error).strip().splitlines() or ["no reason given"])[0][:200]
            raise EngineError(f"Ray Serve did not start the replicas: {first}; its logs have the reason") from None
        _wait_until_healthy(self._serve)


async def follow(server: Any, wanted: Mapping[str, str]) -> None:
    """Let a server load its bundles again where they are not the wanted editions. One that cannot be loaded is logged,
    and the old one stays in service.
    """
    current = {edition.name: edition.digest for edition in server.editions.all}
    if not current or all(wanted[name].startswith(digest) for name, digest in current.items()):
        return
    try:
        await server.reload()
    except (SidestepError, OSError) as error:
        log.error("not reloaded, the old bundles stay in service: %s", error)


def editions(bundles: Mapping[str, Path]) -> dict[str, str]:
    """The digest of every bundle by its model's name."""
    return {name: artifact.read_manifest(folder).digest for name, folder in bundles.items()}


def _refuse_local_histories(settings: Settings) -> None:
    if settings.histories is not None and not settings.histories.startswith(tuple(f"{scheme}://" for scheme in SHARED)):
        raise ConfigError(
            f"--histories {settings.histories!r} is a file of one machine, and replicas may run on several; use "
            "redis://HOST, or leave it out"
        )


def _serve_of_ray() -> Any:
    from ray import serve

    return serve


def _wait_until_healthy(serve: Any) -> None:
    """Ray returns from a change before the replicas have taken it."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        status = serve.status().applications[NAME]
        if status.status == "RUNNING" and all(each.status == "HEALTHY" for each in status.deployments.values()):
            return
        if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise EngineError(f"Ray Serve reports {status.status}: {str(status.message)[:300]}")
        time.sleep(POLL_SECONDS)
    raise EngineError(f"Ray Serve was not ready within {READY_SECONDS:g} seconds")


def run(
    opener: Opener,
    settings: Settings,
    replicas: tuple[int, int],
    host: str,
    port: int,
    on_ready: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP changes the bundles in all replicas.

    Raises:
        MissingExtraError: no Ray. ConfigError: histories in a file. EngineError: Ray gave up.
    """
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    with session(max(replicas[1], 2)):
        cluster = Cluster(opener, settings, replicas)
        try:
            cluster.start(host, port)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda number, _: signals.put(number))
            on_ready(f"http://{host}:{port}")
            while signals.get() == signal.SIGHUP:
                _change(cluster)
        finally:
            cluster.stop()


def _change(cluster: Cluster) -> None:
    try:
        log.info("bundles in service: %s", cluster.change())
    except (SidestepError, OSError) as error:
        log.error("not changed, the old bundles stay in service: %s", error)

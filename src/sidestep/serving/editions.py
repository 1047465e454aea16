"""Bundles in service: each has a name, and is replaced by a newer one without failing a request."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sidestep import artifact, bundle
from sidestep.errors import SidestepError, UnknownModelError, did_you_mean
from sidestep.serving.batcher import Batcher
from sidestep.serving.filters import NamedSet
from sidestep.serving.memory import give_back
from sidestep.serving.settings import Settings
from sidestep.serving.shelf import Shelf
from sidestep.serving.worker import ModelProcess, Opener

log = logging.getLogger("sidestep.serving")

OnBatch = Callable[[str, int, float], None]


@dataclass
class Edition:
    """One bundle with its process. requests: number of requests that use it."""

    name: str
    shelf: Shelf
    batcher: Batcher
    requests: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def digest(self) -> str:
        """The first 12 digits of the bundle's digest."""
        return self.shelf.bundle.digest[:12]

    async def retire(self) -> None:
        """Wait for the requests that use it, then end its process."""
        while self.requests:
            self.left.clear()
            await self.left.wait()
        await self.batcher.drain()


class Editions:
    """The editions of all models.

    on_batch: called after every batch with the model's name, rows and seconds. sets: prepared in every new edition.
    """

    def __init__(self, opener: Opener, settings: Settings, on_batch: OnBatch, sets: Mapping[str, NamedSet]) -> None:
        self._opener, self._settings, self._on_batch, self._sets = opener, settings, on_batch, sets
        self._current: dict[str, Edition] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        return list(self._settings.bundles)

    @property
    def all(self) -> list[Edition]:
        return list(self._current.values())

    @property
    def ready(self) -> bool:
        return len(self._current) == len(self.names) and all(edition.batcher.alive for edition in self.all)

    def unknown(self, item_ids: Iterable[str]) -> list[str]:
        """The ids that are in no catalogue, each once."""
        catalogues = [edition.shelf.number_of for edition in self.all]
        return [each for each in dict.fromkeys(item_ids) if not any(each in known for known in catalogues)]

    async def open(self) -> None:
        """Start every model.

        Raises:
            ArtifactError: a bundle that does not load or fails its check.
        """
        try:
            for name in self.names:
                self._current[name] = await self._load(name)
        except BaseException:
            await self.close()
            raise

    @contextmanager
    def using(self, name: str | None) -> Iterator[Edition]:
        """The model's current edition, which stays open while it is in use.

        Raises:
            UnknownModelError: no model with this name.
        """
        name = self.names[0] if name is None else name
        if name not in self._current:
            names = ", ".join(self.names)
            raise UnknownModelError(f"Unknown model {name!r}{did_you_mean(name, self.names)}; served are {names}")
        edition = self._current[name]
        edition.requests += 1
        try:
            yield edition
        finally:
            edition.requests -= 1
            edition.left.set()

    async def reload(self) -> dict[str, str]:
        """Load the current bundles from their folders and replace the old ones. If a bundle does not load or fails its
        check, the old one stays. Returns the short digests of the bundles in service.

        Raises:
            ArtifactError: see `open`; models before the failed one may have been replaced.
        """
        async with self._one_at_a_time:
            for name in self.names:
                await self._replace(name)
        return {edition.name: edition.digest for edition in self.all}

    async def _replace(self, name: str) -> None:
        new = await self._load(name)
        old, self._current[name] = self._current[name], new
        log.info("reloaded", extra={"model": name, "old": old.digest, "new": new.digest})
        self._later(old.retire())

    async def _renew(self, name: str, digest: str) -> None:
        """Replace an edition whose process cannot be restarted because its folder now holds another bundle."""
        async with self._one_at_a_time:
            if self._current[name].shelf.bundle.digest == digest:
                await self._replace(name)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s", error)

    async def close(self) -> None:
        await asyncio.gather(*(edition.retire() for edition in self.all), *self._working, return_exceptions=True)

    async def _load(self, name: str) -> Edition:
        loop = asyncio.get_running_loop()
        folder, settings = self._settings.bundles[name], self._settings
        content = await loop.run_in_executor(None, bundle.read, folder)
        shelf = await loop.run_in_executor(None, self._make_shelf, content)
        batcher = Batcher(
            partial(self._restart, name, folder, content.digest),
            await self._start(folder, content.digest),
            settings.max_batch,
            settings.patience_ms / 1000,
            settings.max_queue,
            partial(self._on_batch, name),
            settings.hang_seconds,
        )
        give_back()
        return Edition(name, shelf, batcher)

    def _make_shelf(self, content: bundle.Bundle) -> Shelf:
        shelf = Shelf(content)
        for named in list(self._sets.values()):
            shelf.filters.keep(named)
            unknown = len(shelf.filters.known(named.item_ids)[1])
            if unknown:
                log.warning("%d of the %d ids of the set %r are unknown", unknown, len(named.item_ids), named.name)
        return shelf

    async def _restart(self, name: str, folder: Path, digest: str) -> ModelProcess:
        try:
            return await self._start(folder, digest)
        except SidestepError:
            with suppress(SidestepError):
                if artifact.read_manifest(folder).digest != digest and not self._one_at_a_time.locked():
                    self._later(self._renew(name, digest))
            raise

    async def _start(self, folder: Path, digest: str) -> ModelProcess:
        loop = asyncio.get_running_loop()
        start = partial(ModelProcess.start, self._opener, folder, digest, self._settings.threads)
        return await loop.run_in_executor(None, start)

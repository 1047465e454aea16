"""The model in a process of its own, so that it and HTTP do not wait for one interpreter lock."""

import asyncio
import json
import multiprocessing
import signal
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sidestep.errors import ArtifactError, SidestepError
from sidestep.serving.errors import ProcessEndedError


@runtime_checkable
class Answerer(Protocol):
    """See `pipeline.answering.Answering`."""

    def keep_filter(self, name: str, bits: bytes) -> None: ...

    def forget_filter(self, name: str) -> None: ...

    def answer(
        self,
        histories: Sequence[Sequence[int]],
        excluded: Sequence[Sequence[int]],
        k: int,
        beams: int | None,
        allowed: str | None,
        explain: bool,
        times: Sequence[Sequence[int]] | None = None,
        at: Sequence[int] | None = None,
    ) -> dict[str, Any]: ...


@runtime_checkable
class Opener(Protocol):
    """Makes an answerer of the bundle in a folder whose digest is given, for so many threads."""

    def __call__(self, folder: Path, digest: str, threads: int) -> Answerer: ...


LAST_SECONDS = 60
"""What a process that is told to end has for its parent to end it."""


class ModelProcess:
    """A bundle's model, answering in a child process. Messages are JSON; filters follow them as bits."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self._process, self._connection = process, connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @classmethod
    def start(cls, opener: Opener, folder: Path, digest: str, threads: int) -> "ModelProcess":
        """Wait until the bundle is loaded and has answered as it should.

        Raises:
            ArtifactError: it has not.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_answer_on, args=(theirs, opener, str(folder), digest, threads), daemon=True)
        process.start()
        theirs.close()
        try:
            said = json.loads(ours.recv_bytes())
        except EOFError:
            said = {"failed": f"{str(folder)!r}: the process that should load it ended"}
        if "failed" in said:
            process.join()
            raise ArtifactError(said["failed"])
        return cls(process, ours)

    async def answer(self, message: dict[str, Any], filters: Sequence[bytes] = ()) -> list[dict[str, Any]]:
        """filters: the bits of each filter that the message names as new.

        Raises:
            ProcessEndedError: the process ended before it answered.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._exchange, message, filters)

    def _exchange(self, message: dict[str, Any], filters: Sequence[bytes]) -> list[dict[str, Any]]:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
            for bits in filters:
                self._connection.send_bytes(bits)
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise ProcessEndedError("the model's process ended") from None

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def stop(self, now: bool = False) -> None:
        """End the process, once it has answered what it was asked. now: at once, whatever it does."""
        if now:
            self._process.kill()
        self._thread.shutdown()
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _answer_on(connection: Connection, opener: Opener, folder: str, digest: str, threads: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to all; the parent decides
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_SECONDS))  # systemd does, too; the parent ends us sooner
    try:
        model = opener(Path(folder), digest, threads)
    except (SidestepError, OSError) as error:
        connection.send_bytes(json.dumps({"failed": str(error)}).encode())
        return
    connection.send_bytes(b'{"ready": true}')
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:  # the parent is gone
            return
        for name in message["forget"]:
            model.forget_filter(name)
        for name in message["keep"]:
            model.keep_filter(name, connection.recv_bytes())
        answers = [_answered(model, group) for group in message["groups"]]
        connection.send_bytes(json.dumps(answers).encode())


def _answered(model: Answerer, group: dict[str, Any]) -> dict[str, Any]:
    """A bug that one request finds must not end the process, which would take others' answers with it."""
    try:
        return model.answer(**group)
    except Exception:
        traceback.print_exc()
        return {"failed": True}

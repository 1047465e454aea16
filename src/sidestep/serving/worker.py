"""The model in its own process, so that it does not share an interpreter lock with HTTP."""

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
from sidestep.serving.memory import give_back


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
    """Loads the bundle in a folder, if it has the given digest, as an answerer with a number of threads."""

    def __call__(self, folder: Path, digest: str, threads: int) -> Answerer: ...


LAST_SECONDS, LOAD_SECONDS = 60, 600.0
"""Seconds after SIGTERM in which the parent can end the process in an orderly way, and seconds for loading."""


class ModelProcess:
    """A bundle's model in a child process. Messages are JSON; the bits of new filters follow them."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self._process, self._connection = process, connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @classmethod
    def start(cls, opener: Opener, folder: Path, digest: str, threads: int) -> "ModelProcess":
        """Start a process, and wait until it has loaded and checked the bundle.

        Raises:
            ArtifactError: the bundle does not load or fails its check.
        """
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_answer_on, args=(theirs, opener, str(folder), digest, threads), daemon=True)
        process.start()
        theirs.close()
        try:
            late = {"failed": f"{str(folder)!r} was not loaded within {LOAD_SECONDS:g} seconds"}
            reply = json.loads(ours.recv_bytes()) if ours.poll(LOAD_SECONDS) else late
        except EOFError:
            reply = {"failed": f"{str(folder)!r}: the process that loads it ended"}
        if "failed" in reply:
            process.kill()
            process.join()
            raise ArtifactError(reply["failed"])
        return cls(process, ours)

    async def answer(self, message: dict[str, Any], filters: Sequence[bytes] = ()) -> list[dict[str, Any]]:
        """The answers to a message. filters: the bits of each filter under "keep" in the message.

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
        """End the process after its current answer. now: end it immediately."""
        if now:
            self._process.kill()
        self._thread.shutdown()
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _answer_on(connection: Connection, opener: Opener, folder: str, digest: str, threads: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all processes; the parent decides
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_SECONDS))  # systemd sends it to all; the parent ends us
    try:
        model = opener(Path(folder), digest, threads)
    except (SidestepError, OSError) as error:
        connection.send_bytes(json.dumps({"failed": str(error)}).encode())
        return
    give_back()
    connection.send_bytes(b'{"ready": true}')
    while True:
        try:
            message = json.loads(connection.recv_bytes())
        except EOFError:  # the parent has ended
            return
        for name in message["forget"]:
            model.forget_filter(name)
        for name in message["keep"]:
            model.keep_filter(name, connection.recv_bytes())
        answers = [_answer(model, group) for group in message["groups"]]
        connection.send_bytes(json.dumps(answers).encode())


def _answer(model: Answerer, group: dict[str, Any]) -> dict[str, Any]:
    """The answer to a group. An error in one request must not end the process and lose the others' answers."""
    try:
        return model.answer(**group)
    except Exception:
        traceback.print_exc()
        return {"failed": True}

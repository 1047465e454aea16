"""Teachers: who answers a chat, and the file that keeps what they have answered."""

import hashlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from sidestep.errors import ArtifactError, TeacherError, brief
from sidestep.llm.chat import Messages

Given = TypeVar("Given")
Result = TypeVar("Result")
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers of a server that may be another the next time."""


@runtime_checkable
class Teacher(Protocol):
    """Answers a chat."""

    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on besides the chat and the number of the draw."""
        ...

    def ask(self, messages: Messages, draw: int) -> str:
        """One answer; draw: another number asks for another."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """A server with OpenAI's interface (`/chat/completions`), such as vLLM's, llama.cpp's or a provider's.

    key: sent as a bearer token, where there is one. waits: seconds before each further attempt.
    """

    url: str
    model: str
    temperature: float
    max_tokens: int
    key: str | None = None
    timeout: float = 120.0
    waits: Sequence[float] = (1.0, 4.0, 16.0)

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def ask(self, messages: Messages, draw: int) -> str:
        """Raises:
        TeacherError: the server refuses, cannot be reached, or answers something else.
        """
        return self._text(self._answer({**self.settings, "messages": messages, "seed": draw}))

    def first_tokens(self, messages: Messages, most: int) -> dict[str, float]:
        """The `most` likeliest first tokens of an answer, each with its log-probability. Raises as `ask`."""
        settings = {"model": self.model, "temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": most}
        content = self._answer({**settings, "messages": messages})
        try:
            first = json.loads(content)["choices"][0]["logprobs"]["content"][0]
            return {entry["token"]: float(entry["logprob"]) for entry in first["top_logprobs"]}
        except (ValueError, KeyError, IndexError, TypeError):
            raise TeacherError(
                f"The server at {self.url!r} answers {brief(content.decode(errors='replace'))!r}; expected "
                "choices[0].logprobs.content[0].top_logprobs, as OpenAI's interface has it; take a server that gives "
                "log-probabilities"
            ) from None

    def _answer(self, request: dict[str, Any]) -> bytes:
        body = json.dumps(request).encode()
        for wait in (*self.waits, None):
            try:
                return self._post(body)
            except urllib.error.HTTPError as error:
                problem = f"answers {error.code} ({brief(error.read().decode(errors='replace'), 200)})"
                if error.code not in AGAIN:
                    break
            except OSError as error:  # no connection, or one that ended or took too long
                problem = f"cannot be reached ({getattr(error, 'reason', error)})"
            if wait is not None:
                time.sleep(wait)
        raise TeacherError(
            f"The server at {self.url!r} {problem}; start one there that serves {self.model!r}, or name another. What "
            "it has answered is kept, and the same command goes on"
        )

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            content: bytes = response.read()
        return content

    def _text(self, content: bytes) -> str:
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise TeacherError(
                f"The server at {self.url!r} answers {brief(content.decode(errors='replace'))!r}; expected "
                "choices[0].message.content, as OpenAI's interface has it"
            )
        return text


class Answers:
    """What teachers have answered, a JSON line each, appended as it comes; a line that a killed process has cut is
    asked for again. key: of the recipe, which may name another file.
    """

    def __init__(self, path: Path, key: str = "llm.answers") -> None:
        self._path, self._lock, self._known = path, threading.Lock(), dict[str, str]()
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                self._known[entry["key"]] = entry["text"]
            except (ValueError, KeyError, TypeError):
                raise ArtifactError(
                    f"{str(path)!r}, line {number} is {brief(line.decode(errors='replace'), 60)!r}, no answer of a "
                    f"model; remove the line, or name another file in {key}"
                ) from None

    def __len__(self) -> int:
        return len(self._known)

    def ask(self, teacher: Teacher, messages: Messages, draw: int) -> str:
        """The answer that is kept, or else the teacher's, which is then kept."""
        known = self.known(teacher.settings, messages, draw)
        if known is None:
            known = teacher.ask(messages, draw)
            self.keep(teacher.settings, messages, draw, known)
        return known

    def known(self, settings: Mapping[str, Any], messages: Messages, draw: int) -> str | None:
        """The answer of a teacher of these settings that is kept."""
        return self._known.get(_key(settings, messages, draw))

    def keep(self, settings: Mapping[str, Any], messages: Messages, draw: int, text: str) -> None:
        """Keep an answer, here and in the file."""
        key = _key(settings, messages, draw)
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "text": text}) + "\n")
            self._known[key] = text


def in_parallel(function: Callable[[Given], Result], each: Sequence[Given], parallel: int) -> Iterator[Result]:
    """The results in the order of what is given, so many at a time. After an error, what waits is not begun."""
    with ThreadPoolExecutor(parallel) as pool:
        try:
            yield from pool.map(function, each)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _key(settings: Mapping[str, Any], messages: Messages, draw: int) -> str:
    return hashlib.sha256(json.dumps([settings, messages, draw], sort_keys=True).encode()).hexdigest()

"""The settings of a server."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """bundles: folders by model name; the first model is the default.
    histories: a SQLite file or a redis:// address for users' events; None for no store.
    sets: files with one item id per line, by the names of the sets; read again at every reload.
    threads: of each model. max_batch: maximum rows of a search. patience_ms: maximum time that a free model waits for
        more rows.
    deadline_ms: default deadline of a request; ten times as long for a batch of requests.
    max_queue: maximum number of waiting rows of a model. max_body: maximum bytes of a request's body.
    body_seconds: maximum time for a body to arrive. max_head, head_seconds: the same of a request's line and headers.
    hang_seconds: a model that does not answer for so long is replaced by another process.
    kept_events: number of latest events that are stored per user; by default as many as a request may carry, so that
        models of long histories read as much of them.
    api_key: required by every request except those for the page and for health; None for no key.
    open_metrics: whether /metrics needs no key, as where only this machine can ask.
    admin_key: required to reload bundles and to set sets; None disables both.
    """

    bundles: dict[str, Path]
    histories: str | None = None
    sets: dict[str, Path] = field(default_factory=dict)
    threads: int = 1
    max_batch: int = 32
    patience_ms: float = 4.0
    deadline_ms: int = 2_000
    max_queue: int = 1_024
    max_body: int = 1_000_000
    max_admin_body: int = 200_000_000
    body_seconds: float = 30.0
    max_head: int = 65_536
    head_seconds: float = 10.0
    hang_seconds: float = 30.0
    kept_events: int = 1_000
    api_key: str | None = None
    admin_key: str | None = None
    open_metrics: bool = False

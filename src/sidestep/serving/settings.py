"""How a server is run."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """bundles: folders by the models' names, the first of which answers where none is named.
    histories: a SQLite file or a redis:// address that keeps users' events; None keeps none.
    sets: files with one item id a line, by the names of the sets; read again at every reload.
    threads: of each model. max_batch: rows searched together. patience_ms: how long a free model may wait for company.
    deadline_ms: of a request that sets none; a batch of requests has ten times as long.
    max_queue: requests of a model that may wait. max_body: bytes of a request's body.
    body_seconds: how long a body may take to come.
    kept_events: the latest events of a user that are kept.
    api_key: what every request must carry, but for those of the page and of health; None asks for nothing.
    admin_key: what lets a request reload bundles and set sets; None lets nobody.
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
    kept_events: int = 200
    api_key: str | None = None
    admin_key: str | None = None

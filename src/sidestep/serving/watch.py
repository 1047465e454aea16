"""Monitoring: metrics for Prometheus, and logs as JSON lines."""

import json
import logging
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from sidestep.serving.editions import Editions

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64)

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Numbers:
    """One server's counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here, model = self.registry, ("model",)
        self._requests = Counter("sidestep_requests", "Answered requests.", ("route", "status"), registry=here)
        self._seconds = Histogram(
            "sidestep_request_seconds", "Time from request to response.", ("route",), buckets=SECONDS, registry=here
        )
        self._rows = Histogram("sidestep_batch_rows", "Rows of a search.", model, buckets=ROWS, registry=here)
        self._busy = Counter("sidestep_search_seconds", "Time of the model's searches.", model, registry=here)
        self._depth = Gauge("sidestep_queue_rows", "Rows in the queue or in a search.", model, registry=here)
        self._restarts = Gauge("sidestep_process_restarts", "Restarts of the model's process.", model, registry=here)
        self._items = Gauge("sidestep_items", "Items of the catalogue.", ("model", "bundle"), registry=here)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def searched(self, model: str, rows: int, seconds: float) -> None:
        self._rows.labels(model).observe(rows)
        self._busy.labels(model).inc(seconds)

    def page(self, editions: Editions) -> bytes:
        self._items.clear()
        for edition in editions.all:
            self._depth.labels(edition.name).set(edition.batcher.depth)
            self._restarts.labels(edition.name).set(edition.batcher.restarts)
            self._items.labels(edition.name, edition.digest).set(edition.shelf.num_items)
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: its message, and the fields of `extra`."""

    _OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= {name: value for name, value in vars(record).items() if name not in self._OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json() -> None:
    """Log everything, including the HTTP server's own lines, as JSON on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("sidestep", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = name != "uvicorn.access"  # our lines have more fields

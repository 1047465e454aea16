"""Histories in one SQLite file."""

import asyncio
import logging
import secrets
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sidestep.errors import DataError
from sidestep.serving.errors import HistoriesUnavailableError
from sidestep.serving.events import REMEMBERED, Event, check_events, check_text
from sidestep.serving.histories_file import StoreFile

log = logging.getLogger("sidestep.serving")

VERSION = 1
BUSY_SECONDS, CUT_SECONDS, CUT_AGAIN_SECONDS = 10.0, 0.1, 1.0
"""Seconds that a writer waits for another one, that a truncation of the log waits for readers, and until its retry."""
READERS = 2
T = TypeVar("T")

TABLES = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    time REAL NOT NULL,
    event_id TEXT
);
CREATE INDEX events_of_users ON events (user_id, time, number);
CREATE TABLE seen (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    UNIQUE (user_id, event_id)
);
CREATE INDEX seen_of_users ON seen (user_id, number);
"""

Work = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class SqliteHistories:
    """A write-ahead log that is synced at every commit. One thread writes all waiting work in one transaction, so that
    many clients share a sync. Readers are never blocked. Several processes may share the file.

    A file that is deleted or replaced meanwhile makes the store unavailable, until the file is back or the server is
    started again: nothing is acknowledged that only a nameless file holds.
    """

    def __init__(self, path: Path, max_length: int) -> None:
        """Open or create the file.

        Raises:
            DataError: the file is something else, or was written by a newer Sidestep.
        """
        path = path.absolute()  # all connections use the same file, even for ":memory:"
        self._path, self._max_length = path, max_length
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        self._closed, self._to_cut, self._lost = False, False, False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _prepared(path)
            self._file = StoreFile.of(path, self._connection)
        except (sqlite3.Error, OSError) as error:
            raise DataError(f"Cannot store histories in {str(path)!r}: {error}; name another file") from None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="histories")
        self._own = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._writer = threading.Thread(target=self._write_on, name="histories-writer", daemon=True)
        self._writer.start()

    async def append(self, events: Sequence[Event]) -> int:
        """See `Histories.append`."""
        check_events(events)
        return await self._write(lambda connection: _append(connection, events, self._max_length))

    async def history(self, user_id: str, limit: int) -> list[Event]:
        """See `Histories.history`."""
        check_text(user_id)
        limit = min(limit, self._max_length)
        rows = await self._read(
            "SELECT item_id, time, event_id FROM events WHERE user_id = ? ORDER BY time DESC, number DESC LIMIT ?",
            (user_id, limit),
        )
        return [Event(user_id, *row) for row in reversed(rows)]

    async def forget(self, user_id: str) -> int:
        """See `Histories.forget`. The bytes are overwritten in the file, and the write-ahead log is truncated: at once,
        or as soon as no reader uses it.
        """
        check_text(user_id)

        def delete(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM seen WHERE user_id = ?", (user_id,))
            return connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount

        count = await self._write(delete)
        if not await self._on_reader(_cut):
            self._to_cut = True
            self._waiting.put((lambda connection: None, Future()))  # wakes the writer
        return count

    async def ready(self) -> bool:
        """See `Histories.ready`."""
        try:
            await self._read("SELECT 1", ())
        except HistoriesUnavailableError:
            return False
        return self._writer.is_alive()

    async def close(self) -> None:
        """Waiting work is still written."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            await asyncio.to_thread(self._writer.join)
            self._readers.shutdown()
            for connection in self._opened:
                connection.close()

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise HistoriesUnavailableError("The histories are closed")
        done: Future[T] = Future()
        self._waiting.put((work, done))
        try:
            return await asyncio.wrap_future(done)
        except sqlite3.Error as error:
            raise HistoriesUnavailableError(f"The histories in {str(self._path)!r} do not answer: {error}") from None

    async def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        return await self._on_reader(lambda connection: connection.execute(query, values).fetchall())

    async def _on_reader(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def on_own_connection() -> T:
            self._check_file()
            if not hasattr(self._own, "connection"):
                self._own.connection = _connect(self._path, create=False)
                self._opened.append(self._own.connection)
            return work(self._own.connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, on_own_connection)
        except (sqlite3.Error, RuntimeError) as error:
            raise HistoriesUnavailableError(f"The histories in {str(self._path)!r} do not answer: {error}") from None

    def _check_file(self) -> None:
        """Raises: HistoriesUnavailableError: the file is not in its place any more."""
        problem = self._file.problem()
        if problem and not self._lost:
            log.error("%s; put it back, or start the server again", problem)
        self._lost = problem is not None
        if problem:
            raise HistoriesUnavailableError(f"The histories do not answer: {problem}")

    def _write_on(self) -> None:
        stopping = False
        while not stopping:
            batch: list[Work | None] = []
            with suppress(Empty):
                batch.append(self._waiting.get(timeout=CUT_AGAIN_SECONDS if self._to_cut else None))
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            stopping = None in batch  # nothing is queued after it
            work = [each for each in batch if each is not None]
            if work:
                self._commit(work)
            if self._to_cut:
                with suppress(sqlite3.Error):
                    self._to_cut = not _cut(self._connection)
        self._connection.close()

    def _commit(self, batch: Sequence[Work]) -> None:
        """Commit all work in one transaction, each piece completely or not at all; results are set after the sync."""
        results: list[tuple[Future[Any], Any]] = []
        try:
            self._check_file()
            self._connection.execute("BEGIN IMMEDIATE")
            for work, done in batch:
                self._connection.execute("SAVEPOINT piece")
                try:
                    results.append((done, work(self._connection)))
                except Exception as error:
                    self._connection.execute("ROLLBACK TO piece")
                    results.append((done, error))
                self._connection.execute("RELEASE piece")
            self._connection.execute("COMMIT")
            self._check_file()  # what is acknowledged lies where it will be looked for
        except (sqlite3.Error, HistoriesUnavailableError) as error:
            with suppress(sqlite3.Error):  # in any case the writer continues and every caller gets a result
                self._connection.execute("ROLLBACK")
            results = [(done, error) for _, done in batch]
        for done, result in results:
            if not done.set_running_or_notify_cancel():
                continue  # the caller has gone
            if isinstance(result, BaseException):
                done.set_exception(result)
            else:
                done.set_result(result)


def _connect(path: Path, create: bool = True) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _cut(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and truncate it; False if a reader still uses it."""
    connection.execute(f"PRAGMA busy_timeout = {int(1000 * CUT_SECONDS)}")
    try:
        return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")


def _prepared(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")  # two processes may open a new file at once
        _make_tables(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if version > VERSION:
        raise DataError(f"{str(path)!r} has format {version}, this Sidestep reads up to {VERSION}; upgrade Sidestep")
    if version == 0 and tables:
        raise DataError(
            f"{str(path)!r} is another program's database (tables {', '.join(tables[:3])}); name a new file"
        )
    if version == 0:
        for statement in filter(str.strip, TABLES.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {secrets.randbelow(2**31 - 1) + 1}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _append(connection: sqlite3.Connection, events: Sequence[Event], max_length: int) -> int:
    new = 0
    for event in events:
        if event.event_id is not None:
            once = "INSERT OR IGNORE INTO seen (user_id, event_id) VALUES (?, ?)"
            if not connection.execute(once, (event.user_id, event.event_id)).rowcount:
                continue
        values = (event.user_id, event.item_id, event.time, event.event_id)
        connection.execute("INSERT INTO events (user_id, item_id, time, event_id) VALUES (?, ?, ?, ?)", values)
        new += 1
    for user_id in {event.user_id for event in events}:
        connection.execute(
            "DELETE FROM events WHERE number IN (SELECT number FROM events WHERE user_id = ? "
            "ORDER BY time DESC, number DESC LIMIT -1 OFFSET ?)",
            (user_id, max_length),
        )
        connection.execute(
            "DELETE FROM seen WHERE number IN (SELECT number FROM seen WHERE user_id = ? "
            "ORDER BY number DESC LIMIT -1 OFFSET ?)",
            (user_id, REMEMBERED * max_length),
        )
    return new

"""Whether a SQLite file that is in use is still the one that lies at its path."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

MAGIC, ID_AT, ID_BYTES = b"SQLite format 3\0", 68, 4
"""The first bytes of every SQLite file, and where its `application_id` stands (https://sqlite.org/fileformat.html)."""
BESIDE = ("", "-wal", "-shm")
"""Ends of the names of the files that all connections of a write-ahead log share."""

Identity = tuple[int, int]


@dataclass(frozen=True)
class StoreFile:
    """What lay at a path when it was opened. files: device and inode of each file. store_id: of the content, drawn when
    the store was made; 0 in stores of older releases.
    """

    path: Path
    files: tuple[Identity | None, ...]
    store_id: int

    @classmethod
    def of(cls, path: Path, connection: sqlite3.Connection) -> "StoreFile":
        store_id = connection.execute("PRAGMA application_id").fetchone()[0]
        return cls(path, tuple(_identity(Path(f"{path}{end}")) for end in BESIDE), store_id)

    def problem(self) -> str | None:
        """What happened to the file since; None where it is still in its place.

        SQLite itself goes on in files that have no name any more: what it commits there is lost with them.
        """
        for end, opened in zip(BESIDE, self.files, strict=True):
            path = Path(f"{self.path}{end}")
            now = _identity(path)
            if now != opened:
                return f"{str(path)!r} was {'deleted' if now is None else 'replaced'} while it was in use"
        try:
            with self.path.open("rb") as file:
                head = file.read(ID_AT + ID_BYTES)
        except OSError as error:
            return f"{str(self.path)!r} cannot be read: {error.strerror}"
        # the id of a new store may still be in the write-ahead log alone
        if not head.startswith(MAGIC) or int.from_bytes(head[ID_AT:], "big") not in (0, self.store_id):
            return f"{str(self.path)!r} was overwritten while it was in use"
        return None


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

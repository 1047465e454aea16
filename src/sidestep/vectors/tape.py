"""Numbers that are written one after the other and may be more than memory holds."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

IN_MEMORY = 1 << 28
"""Bytes of a tape that stays in memory; a larger one is a file."""
Array = np.ndarray[Any, np.dtype[Any]]


class Tape:
    """An array that grows at its end. One of more than `IN_MEMORY` bytes is a file without a name in the folder of
    temporary files (`TMPDIR`), which goes with the last array over it, however the process ends.

    most: entries that may be written, of which the place is chosen.
    """

    def __init__(self, kind: Any, most: int) -> None:
        self._kind: np.dtype[Any] = np.dtype(kind)
        on_disk = most * self._kind.itemsize > IN_MEMORY
        self._file = tempfile.TemporaryFile() if on_disk else io.BytesIO()  # noqa: SIM115
        self._length = 0

    def __del__(self) -> None:
        if not isinstance(self._file, io.BytesIO):  # whose memory an array may still show
            with suppress(OSError):  # what a full disk did not take is written once more, and nobody waits for it
                self._file.close()

    def __len__(self) -> int:
        return self._length

    def write(self, values: Array) -> None:
        """Append values `[n]`, which are cast.

        Raises:
            OSError: the disk is full.
        """
        self._file.seek(0, io.SEEK_END)
        self._file.write(np.ascontiguousarray(values, self._kind).view(np.uint8).data)
        self._length += len(values)

    def read(self, begin: int, end: int) -> Array:
        """The entries `begin` to `end` in memory."""
        self._file.seek(begin * self._kind.itemsize)
        return np.frombuffer(bytearray(self._file.read((end - begin) * self._kind.itemsize)), self._kind)

    def parts(self, entries: int) -> Iterator[Array]:
        """Everything, so many entries at a time."""
        for begin in range(0, len(self), entries):
            yield self.read(begin, min(begin + entries, len(self)))

    def array(self) -> Array:
        """Everything as one array. Pages of a file come with use, and the system drops them where it needs room."""
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getbuffer(), self._kind)
        self._file.flush()
        if not len(self):
            return np.empty(0, self._kind)
        return np.memmap(self._file, self._kind, "r+", shape=(len(self),)).view(np.ndarray)

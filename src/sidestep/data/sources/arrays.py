"""Arrays of somebody's `.npy` and `.npz` files. Nothing is ever unpickled, and nothing is allocated on trust."""

import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sidestep.data.sources.content import check_name, check_size
from sidestep.errors import DataError, brief

Array = np.ndarray[Any, np.dtype[Any]]
DAMAGED = (
    *(ValueError, EOFError, OSError, MemoryError, OverflowError, KeyError, TypeError, AttributeError, SyntaxError),
    *(
        tokenize.TokenError,
        RecursionError,
        RuntimeError,
        NotImplementedError,
        IndexError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
    ),
)
"""What numpy and zipfile raise for bytes that are no array."""


def read_array(path: Path) -> Array:
    """The one array of an `.npy` file.

    Raises:
        DataError: no such file, an archive of arrays, damaged bytes, or pickled objects.
    """
    loaded = _load(path)
    if isinstance(loaded, dict):
        raise DataError(f"{str(path)!r} is an archive of arrays (.npz), expected one array saved with numpy.save")
    return loaded


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array of an `.npz` file, or the one of an `.npy` file under the file's name.

    Raises:
        DataError: see `read_array`; also archives that unpack to more than they may.
    """
    loaded = _load(path)
    return loaded if isinstance(loaded, dict) else {path.stem: loaded}


def _load(path: Path) -> Array | dict[str, Array]:
    check_name(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's advice to save anew what Python 2 saved
        return _read(path)


def _read(path: Path) -> Array | dict[str, Array]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            check_size(path, unpacked, path.stat().st_size)
            with np.load(path, allow_pickle=False) as arrays:
                return {name: _checked(arrays[name], path) for name in arrays.files}
        _check_header(path)
        return _checked(np.load(path, allow_pickle=False), path)
    except DataError:
        raise
    except DAMAGED as error:
        kind = path.suffix or "an array"
        reason = "pickled objects are never read" if "pickle" in str(error) else brief(error, 160)
        raise DataError(f"Cannot read {str(path)!r} as {kind}: {reason}; expected an array of numbers") from None


def _checked(value: Any, path: Path) -> Array:
    if not isinstance(value, np.ndarray):
        raise DataError(f"Cannot read {str(path)!r} as {path.suffix}: it holds no array of numbers")
    return value


def _check_header(path: Path) -> None:
    """Refuse an `.npy` file whose header promises other than its bytes hold, before anything is allocated.

    Raises:
        ValueError: what the header promises is not there, or it promises pickled objects.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("pickle")
        wanted = dtype.itemsize
        for length in shape:
            wanted *= length
        held = path.stat().st_size - file.tell()
    if wanted != held:
        raise ValueError(f"its header promises {wanted:,} bytes of numbers, it holds {held:,}")

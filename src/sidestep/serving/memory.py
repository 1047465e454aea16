"""Memory that only loading needed, returned to the system."""

import ctypes
import gc
import sys
from contextlib import suppress


def give_back() -> None:
    """Return what was freed to the system, where the C library keeps it (glibc); elsewhere only collect garbage."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

"""Matrix products in float32 with the library that is fast on this processor.

PyTorch computes float32 products with MKL, which on AMD processors runs at less than half the speed of oneDNN, which it
also ships. PyTorch uses oneDNN only with a switch that *permits* rounding to bfloat16. On processors without matrix
tiles (AMX), oneDNN has no bfloat16 kernel and stays in float32; this is checked here before the switch is used.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch

FLOAT32_ERROR = 1e-5
"""Rounding to bfloat16 would leave a relative error of about 4e-3, float32 one of about 1e-6."""


_inside: list[str] = []
"""The original value of the switch, once for every open context; the switch is global to the process."""
_lock = Lock()


@contextmanager
def fast_products() -> Iterator[None]:
    """A context in which float32 products on the CPU use the faster library. The choice does not depend on a measured
    time, so the same machine always makes the same choice and computes the same bits.
    """
    with _switched() if _reroute() else nullcontext():
        yield


@contextmanager
def _switched() -> Iterator[None]:
    """Contexts of several threads may overlap: the first one in saves the switch, the last one out restores it."""
    setting = _switch()
    with _lock:
        _inside.append(_inside[0] if _inside else setting.fp32_precision)
        setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                setting.fp32_precision = before


@cache
def _reroute() -> bool:
    """Whether MKL is slow on this processor, and oneDNN exact."""
    return _is_amd() and bool(torch.backends.mkl.is_available()) and _is_exact()  # type: ignore[no-untyped-call]


def _switch() -> Any:
    return getattr(torch.backends.mkldnn, "matmul", None)


def _is_amd() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    vendor = cpuinfo.read_text() if cpuinfo.is_file() else platform.processor()
    return "AuthenticAMD" in vendor


def _is_exact() -> bool:
    """Whether a product with the switch on has an error of float32 size."""
    if not hasattr(_switch(), "fp32_precision"):
        return False
    values = torch.arange(256 * 256, dtype=torch.float64).mul(0.7).sin().view(256, 256)
    with _switched():
        product = values.float() @ values.float().T
    exact = values.float().double() @ values.float().double().T
    return bool((product - exact).abs().max() <= FLOAT32_ERROR * exact.abs().max())

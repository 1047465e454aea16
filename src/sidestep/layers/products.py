"""Matrix products in float32 through the library that is fast on this processor.

PyTorch sends float32 products to MKL, which on AMD processors runs at less than half the rate of oneDNN, shipped beside
it, for the very same product. PyTorch reaches oneDNN only behind a switch that *permits* it to round to bfloat16;
without matrix tiles (AMX) it has no such kernel and stays in float32, which is checked here before it is relied on.
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
"""What the switch stood at, once for every context that is entered; it is one for the whole process."""
_lock = Lock()


@contextmanager
def fast_products() -> Iterator[None]:
    """Inside, float32 products on the CPU take the faster route. It never depends on a measured time, so that the same
    machine takes the same route each time, and gives the same bits.
    """
    with _switched() if _reroute() else nullcontext():
        yield


@contextmanager
def _switched() -> Iterator[None]:
    """Threads may come and go: the first one in notes how the switch stood, the last one out puts it back."""
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
    """Whether MKL is slow here, and oneDNN exact."""
    return _is_amd() and bool(torch.backends.mkl.is_available()) and _is_exact()  # type: ignore[no-untyped-call]


def _switch() -> Any:
    return getattr(torch.backends.mkldnn, "matmul", None)


def _is_amd() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text() if cpuinfo.is_file() else platform.processor()
    return "AuthenticAMD" in told


def _is_exact() -> bool:
    """Whether a product behind the switch has float32's error."""
    if not hasattr(_switch(), "fp32_precision"):
        return False
    values = torch.arange(256 * 256, dtype=torch.float64).mul(0.7).sin().view(256, 256)
    with _switched():
        product = values.float() @ values.float().T
    exact = values.float().double() @ values.float().double().T
    return bool((product - exact).abs().max() <= FLOAT32_ERROR * exact.abs().max())

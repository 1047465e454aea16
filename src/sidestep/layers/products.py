"""Matrix products in float32 through the library that is fast on this processor.

PyTorch sends float32 products to MKL, which on AMD processors takes less than half of what oneDNN, shipped beside it,
takes for the very same product. PyTorch reaches oneDNN only behind a switch that *permits* it to round to bfloat16;
without matrix tiles (AMX) it has no such kernel and stays in float32, which is checked here before it is relied on.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

FLOAT32_ERROR = 1e-5
"""Rounding to bfloat16 would leave a relative error of about 4e-3, float32 one of about 1e-6."""


@contextmanager
def fast_products() -> Iterator[None]:
    """Inside, float32 products on the CPU take the faster route. It never depends on a measured time, so that the same
    machine takes the same route each time, and gives the same bits.
    """
    if not _reroute():
        yield
        return
    setting = _switch()
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
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
    setting = _switch()
    if not hasattr(setting, "fp32_precision"):
        return False
    values = torch.arange(256 * 256, dtype=torch.float64).mul(0.7).sin().view(256, 256)
    before, setting.fp32_precision = setting.fp32_precision, "bf16"
    try:
        product = values.float() @ values.float().T
    finally:
        setting.fp32_precision = before
    exact = values.float().double() @ values.float().double().T
    return bool((product - exact).abs().max() <= FLOAT32_ERROR * exact.abs().max())

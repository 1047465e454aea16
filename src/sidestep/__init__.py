"""Sidestep: semantic IDs, one thoughtful step at a time."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidestep.pipeline.world import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, and `sidestep --help` passes through here.
    if name == "load":
        from sidestep.pipeline.world import load

        return load
    raise AttributeError(f"module 'sidestep' has no attribute {name!r}")

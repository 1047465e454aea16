"""Sidestep: semantic IDs, one thoughtful step at a time."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidestep.pipeline.exporting import from_pretrained, load, save_pretrained

__all__ = ["from_pretrained", "load", "save_pretrained"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, and `sidestep --help` passes through here.
    if name in __all__:
        from sidestep.pipeline import exporting

        return getattr(exporting, name)
    raise AttributeError(f"module 'sidestep' has no attribute {name!r}")

"""Modules that are imported when they are first used, since they cost a tenth of a second and tens of megabytes."""

from importlib import import_module
from types import ModuleType
from typing import Any


class _AtUse(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def at_use(name: str) -> ModuleType:
    """A stand-in for a module of a library, which is imported when something of it is asked for."""
    return _AtUse(name)

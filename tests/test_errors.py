"""Every error of the package is in one of two trees, and the trees are as they are drawn."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import sidestep
from sidestep import errors
from sidestep.errors import SidestepError

pytest.importorskip("fastapi", reason="the server's errors need the serve extra", exc_type=ImportError)

SOURCE = Path(sidestep.__file__).parent


def drawn() -> dict[str, str | None]:
    """Every error of the drawing with the one above it; None for a root."""
    above: dict[str, str | None] = {}
    path: list[str] = []
    for indent, name in re.findall(
        r"^    ((?:[|` ] {3}|[|`]-- )*)(\w+Error)\b", errors.__doc__ or "", flags=re.MULTILINE
    ):
        depth = len(indent) // 4
        path[depth:] = [name]
        above[name] = path[depth - 1] if depth else None
    return above


def defined() -> dict[str, type[Exception]]:
    """Every class of the package whose name ends with Error, by its name."""
    found: dict[str, type[Exception]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        names = [
            node.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ClassDef)
        ]
        module = ".".join(("sidestep", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for name in names:
            if name.endswith(("Error", "Exception")):
                assert name not in found, f"two errors are called {name}"
                found[name] = getattr(importlib.import_module(module), name)
    return found


def test_the_drawing_is_the_two_trees() -> None:
    bases = {name: error.__mro__[1].__name__ for name, error in defined().items()}
    assert drawn() == {name: base if base in bases else None for name, base in bases.items()}
    assert [name for name, base in drawn().items() if base is None] == ["SidestepError", "ServerError"]


def test_what_a_user_can_mend_is_in_the_ground_module_and_what_goes_wrong_inside_is_not_a_users_mistake() -> None:
    for name, error in defined().items():
        if issubclass(error, SidestepError):
            assert error.__module__ == "sidestep.errors", name
        else:
            assert error.__module__ == "sidestep.serving.errors", name
            assert not issubclass(error, ValueError), f"{name} could be taken for a validation error"


def test_every_error_says_what_it_is_of() -> None:
    assert all(error.__doc__ and "__doc__" in vars(error) for error in defined().values())


def test_what_is_unavailable_says_when_to_ask_again() -> None:
    from sidestep.serving.errors import OverloadedError, ProcessEndedError

    assert OverloadedError("later", 2.5).retry_after == 2.5
    assert str(OverloadedError("later", 2.5)) == "later"
    assert ProcessEndedError("gone").retry_after == 1.0


def test_the_names_that_docstrings_say_are_raised_exist() -> None:
    """`Raises:` of a docstring names errors; one that is renamed must not live on there."""
    known = set(defined()) | {
        "ValueError",
        "TypeError",
        "KeyError",
        "OSError",
        "TimeoutError",
        "RequestValidationError",
    }
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"Raises: ?\n?((?:.*\n)*?)(?:\n|.*\"\"\")", text):
            unknown = set(re.findall(r"\b\w+Error\b", block)) - known
            assert not unknown, f"{path.name} names {', '.join(sorted(unknown))}"

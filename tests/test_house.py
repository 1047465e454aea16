"""The house rules that a program can check: the worst case counts, not the average."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_imports import MODULES, module_name

LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS = 350, 60, 8
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def num_arguments(function: Function) -> int:
    """Arguments of a signature, without `self` and `cls`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_file_and_no_function_asks_for_a_noun(path: Path) -> None:
    """The verbs of the command line and of the library list their options by name, as many as there are."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    for function in functions(path):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno + 1 <= LONGEST_FUNCTION, function.name
        if module_name(path).split(".")[0] != "cli" and module_name(path) != "recommenders.facade":
            assert num_arguments(function) <= MOST_ARGUMENTS, function.name


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {path.stem for path in MODULES}
    assert not names & {"utils", "util", "common", "helpers", "helper", "base", "misc"}


def test_nobody_compares_the_kind_of_a_method() -> None:
    """A method is asked for what it does; see `methods/method.py`."""
    for path in MODULES:
        if module_name(path).split(".")[0] != "methods":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare):
                    text = ast.unparse(node)
                    assert not ("METHODS[" in text and ".kind" in text), text
                    assert "method.kind" not in text, text


def test_a_rule_sees_what_it_forbids(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    arguments = ", ".join(f"a{number}" for number in range(9))
    module.write_text(f"class C:\n    def f(self, {arguments}):\n" + "        pass\n" * 61)
    [function] = functions(module)
    assert num_arguments(function) == 9
    assert function.end_lineno is not None
    assert function.end_lineno - function.lineno + 1 == 62

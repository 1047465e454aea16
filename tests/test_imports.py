"""The floor plan, enforced: which room may import which, and what an import of ours may cost."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sidestep
from sidestep.imports import at_use

SOURCE = Path(sidestep.__file__).parent

GROUND = ("artifact", "durable", "lock", "config", "errors", "imports")
ALLOWED: dict[str, tuple[str, ...]] = {
    "errors": (),
    "imports": (),
    "losses": (),
    "layers": (),
    "progress": (),
    "config": ("errors",),
    "lock": ("errors",),
    "plugins": ("errors",),
    "durable": ("lock", "errors"),
    "artifact": ("durable", "errors", "imports"),
    "training": ("layers.products", "layers.item_rows", *GROUND, "progress"),
    "data": GROUND,
    "encoders": ("data", *GROUND),
    "vectors": ("encoders", "data", *GROUND),
    "sids": ("vectors", "encoders.directions", "data", "layers", "losses", "plugins", *GROUND),
    "scorers": ("vectors.graph", "data", "layers", "config"),
    "generators": ("sids", "scorers", "data", "layers", "losses", "config", "errors"),
    "search": ("sids.trie", "data"),
    "objectives": ("generators", "scorers", "sids", "vectors", "data", "layers.item_rows", "losses", "config"),
    "rerankers": ("recommenders", "scorers", "layers.state", "data", "losses", *GROUND),
    "llm": ("rerankers", "recommenders", "encoders.language_models", "vectors", "data", "losses", "progress", *GROUND),
    "methods": (
        *(
            "objectives",
            "evaluation.metrics",
            "llm",
            "rerankers",
            "recommenders",
            "generators",
            "scorers",
            "sids",
            "vectors",
        ),
        *("data", "training", "layers.clock", "layers.item_rows", "plugins", "config", "errors"),
    ),
    "recipes": ("methods", "config", "errors"),
    "recommenders": ("search", "sids", "data", "layers.products", "errors"),
    "evaluation": ("recommenders", "sids", "data", *GROUND),
    "bundle": ("sids", "data", *GROUND),
    "fast": (
        *("bundle", "recommenders.facade", "recommenders.portions", "recommenders.step", "sids.flat_trie", "data"),
        "errors",
    ),
    "serving": ("recommenders.step", "bundle", "sids.semantic_ids", "data", *GROUND),
    "pipeline": (
        *("fast", "bundle"),
        *("recipes", "methods", "objectives", "training", "evaluation", "rerankers", "recommenders", "generators"),
        *("llm.filter", "llm.teacher", "scorers", "sids", "vectors", "encoders.directions", "data", "layers.products"),
        *("layers.item_rows", "progress", *GROUND),
    ),
    "workshop": ("pipeline", "methods", "evaluation", "sids", "vectors", "encoders.directions", "data", *GROUND),
    "studies": (
        "workshop",
        "pipeline",
        "scorers.target_attention",
        "vectors",
        "recipes",
        "methods",
        "training.log",
        "evaluation",
        "data",
        *GROUND,
    ),
    "report": (
        "launch.plan",
        "studies",
        "workshop",
        "pipeline",
        "methods",
        "evaluation",
        "recommenders",
        "sids",
        "data",
        *GROUND,
    ),
    "launch": ("serving", "progress", *GROUND),
    "cli": (
        *(
            "launch",
            "serving",
            "fast",
            "bundle",
            "recommenders.facade",
            "report",
            "studies",
            "workshop",
            "pipeline",
            "recipes",
            "methods",
            "data.inspect",
            "data.sources.example",
            "data.times",
        ),
        *GROUND,
    ),
    "__main__": ("cli",),
    "": ("pipeline", "recipes", "methods.recipe", "data.sources.example", "errors"),  # sidestep/__init__.py, lazily
}
"""For every room, the rooms (or the single modules) that it may import besides itself."""

MODULES = sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name within the package; the package itself is the empty name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Every module of ours that a file names, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; the contract reads absolute ones"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "sidestep":
                yield _longest_module(name.removeprefix("sidestep").removeprefix("."))


def _longest_module(name: str) -> str:
    """`data.catalog.Catalog` -> `data.catalog`."""
    parts = name.split(".")
    while parts and not (SOURCE.joinpath(*parts).is_dir() or SOURCE.joinpath(*parts).with_suffix(".py").is_file()):
        parts.pop()
    return ".".join(parts)


def permitted(target: str, allowed: tuple[str, ...]) -> bool:
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


def in_order(graph: Mapping[str, set[str]]) -> list[str]:
    """Raises `graphlib.CycleError` when there is a circle."""
    return list(TopologicalSorter(graph).static_order())


def test_every_room_has_its_place_in_the_contract() -> None:
    assert {module_name(path).split(".")[0] for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_import_downward_only(path: Path) -> None:
    name = module_name(path)
    room = name.split(".")[0]
    others = [target for target in imported(path) if target.split(".")[0] != room]
    wrong = [target for target in others if not permitted(target, ALLOWED[room])]
    assert not wrong, f"{name or 'sidestep'} imports {', '.join(wrong)}; {room!r} may import {', '.join(ALLOWED[room])}"


def test_the_contract_itself_has_no_circle() -> None:
    order = in_order({room: {name.split(".")[0] for name in allowed} for room, allowed in ALLOWED.items()})
    spine = [
        "cli",
        "report",
        "pipeline",
        "methods",
        "objectives",
        "generators",
        "sids",
        "vectors",
        "encoders",
        "data",
        "artifact",
    ]
    assert [room for room in reversed(order) if room in spine] == spine


def test_modules_import_each_other_without_circles() -> None:
    in_order({name: set(imported(path)) - {name} for path in MODULES if (name := module_name(path))})


def test_a_recommender_never_knows_a_generator() -> None:
    assert "generators" not in ALLOWED["recommenders"]
    assert "generators" not in ALLOWED["evaluation"]


def test_the_contract_sees_imports_inside_functions_and_under_type_checking(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from sidestep.sids.trie import Trie\n"
        "def f():\n    from sidestep import losses\n    import sidestep.pipeline.run\n"
    )
    assert set(imported(module)) == {"sids.trie", "losses", "pipeline.run"}


HEAVY = ("torch", "polars", "sklearn", "scipy", "numpy", "pydantic", "transformers", "trl", "peft", "datasets")


@pytest.mark.parametrize(
    "statement",
    [
        "import sidestep",
        "import sidestep.cli",
        "import sys; sys.argv = ['sidestep', '--help']; from sidestep.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
    ids=["import sidestep", "import sidestep.cli", "sidestep --help"],
)
def test_help_and_import_cost_no_heavy_library(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


OF_LANGUAGE_MODELS = ("transformers", "trl", "peft", "datasets")


def test_only_functions_import_the_libraries_of_language_models() -> None:
    """The room that asks them, and the encoders, import them when a model is asked; nobody else knows them."""
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(node) for part in ast.walk(tree) if isinstance(part, ast.FunctionDef) for node in ast.walk(part)}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0] for name in names} & set(OF_LANGUAGE_MODELS):
                assert id(node) in inside, path
                assert module_name(path).split(".")[0] in ("llm", "encoders"), path


@pytest.mark.slow
def test_no_module_of_ours_brings_the_libraries_of_language_models_along() -> None:
    names = [module_name(path) for path in MODULES if module_name(path) and path.stem != "__main__"]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    try: importlib.import_module('sidestep.' + name)\n"
        "    except ImportError as error: assert not str(error.name).startswith('sidestep'), error\n"
        f"print(*[name for name in {OF_LANGUAGE_MODELS} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_graph_answers_without_torch() -> None:
    """Neither the server's model process nor `sidestep recommend` waits for its import or holds its memory."""
    code = (
        "import sidestep.fast.answering, sidestep.fast.model, sidestep.pipeline.recommend, sidestep.report.terminal\n"
    )
    code += "import sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_module_stands_in_until_something_of_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = at_use("slow_to_import")
    assert "slow_to_import" not in sys.modules
    assert module.answer == 42
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_nothing_but_its_engines_knows_ray_and_they_import_it_when_they_run() -> None:
    """Ray is an extra of hundreds of megabytes; neither a verb nor the local engine may wait for it or need it."""
    knowing = set()
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "ray" for name in names):
                knowing.add(module_name(path))
                assert node not in tree.body, path
    assert knowing == {"launch.ray_data", "launch.ray_serve"}


def test_a_server_imports_no_reader_of_logs() -> None:
    code = (
        "import sys, sidestep.serving.app; print(any(name.startswith('sidestep.data.sources') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_help_uses_less_than_a_second_of_processor_time() -> None:
    code = "import sys, time; sys.argv = ['sidestep', '--help']; from sidestep.cli import main\n"
    code += "try: main()\nexcept SystemExit: print(time.process_time(), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stderr) < 1.0


def test_all_names_what_the_package_offers() -> None:
    offered = ["Model", "Recipe", "SidestepError", "example", "fit", "from_pretrained", "load", "recipe"]
    assert sorted(sidestep.__all__) == dir(sidestep) == sorted([*offered, "save_pretrained", "__version__"])
    assert sidestep.__doc__ is not None
    for name in sidestep.__all__:
        assert getattr(sidestep, name) is not None
        assert name.startswith("_") or re.search(rf"^{name} {{2,}}\w", sidestep.__doc__, flags=re.MULTILINE)
        assert name.startswith("_") or getattr(sidestep, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sidestep.nothing

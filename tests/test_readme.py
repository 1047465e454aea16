"""What the documents promise exists: commands, files, functions, and the Python example."""

import ast
import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer

import sidestep
from command import MODEL, WORLD, succeed
from sidestep.cli import app
from sidestep.config import merge
from sidestep.data import sources
from sidestep.methods.keys import sections
from sidestep.methods.table import RECIPE
from sidestep.recipes import built_in

ROOT = Path(__file__).parents[1]
SOURCE = Path(sidestep.__file__).parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MADE = {ROOT / "docs" / "reference" / f"{name}.md" for name in ("commands", "python", "recipe")}
"""Pages that `docs/pages.py` makes when the site is built."""


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands() -> Iterator[str]:
    """Every `sidestep ...` line of the documents' shell blocks and code spans, without its comment."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
        lines += re.findall(r"`(sidestep [^`]+)`", text)
        for line in (part.strip() for each in lines for part in each.split(" && ")):
            words = line.partition("#")[0].strip().removeprefix(".venv/bin/")
            if words.startswith("sidestep ") and not words.startswith("sidestep --"):
                yield words


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_in_the_documents_parses(line: str) -> None:
    _, verb, *words = shlex.split(line)
    group = typer.main.get_command(app)
    command = group.commands[verb]  # type: ignore[attr-defined]
    if words:
        command.make_context(verb, words)
    if verb in ("run", "tokenize") and words and not words[0].endswith(".toml"):
        assert words[0] in built_in()


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # make bench-NAME installs the extra of that name
    for path in DOCUMENTS:
        for target in re.findall(r"\bmake ([a-z-]+)", "\n".join([*blocks(path, "sh"), *_spans(path)])):
            named = rf"^{target} = \[" if target.startswith("bench-") else rf"^{target}:"
            assert re.search(named, extras + makefile, flags=re.MULTILINE), f"{path.name} names make {target}"


def _spans(path: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "make test"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_file_map_is_the_package() -> None:
    text = (ROOT / "docs" / "design" / "map.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE))
    paths = {name for name in named if "/" in name}
    assert all((ROOT / name).exists() for name in paths), [name for name in paths if not (ROOT / name).exists()]
    rooms = {path.name for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    mapped = {Path(name).name for name in paths if name.startswith("src/sidestep/")}
    assert mapped == rooms - {"__init__.py"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        made = (path.parent / target).resolve() in MADE
        assert made or target.startswith("https://") or (path.parent / target).exists(), target


def test_the_readme_is_short_and_names_how_to_cite() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900
    assert f"version: {version('sidestep')}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/-]+\.md)$", config, flags=re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert named == pages | {path.relative_to(ROOT / "docs").as_posix() for path in MADE}


def test_the_python_example_runs(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks(ROOT / "docs" / "quickstart.md", "python")
    tiny = example.replace("runs/demo", str(finished)).replace("P00", "P")  # two digits are enough for 48 items
    exec(compile(tiny, "quickstart.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 * (1 + 3)
    assert all(line.startswith("   level ") for line in lines[1:4])


GUIDES = [path for path in DOCUMENTS if blocks(path, "python") and path.name not in ("README.md", "quickstart.md")]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_the_examples_of_the_guides_run(path: Path, finished: Path, shop: Path) -> None:
    """On a tiny shop, whose files and run have the names that the guides use; a fragment finds a `model`."""
    given = {"model": sidestep.load(finished)}
    for example in blocks(path, "python"):
        known = example.replace("B004756YJA", "P03").replace("B004ZT0SSG", "P17")
        exec(compile(known, path.name, "exec"), given)


TOUR = ("quickstart", "guides/own-data", "guides/own-vectors", "guides/choosing", "guides/evaluating",
        "guides/growing", "guides/semantic-ids", "guides/report", "guides/aligning")  # fmt: skip
ELSEWHERE = re.compile(r"FOLDER|example|serve|reproduce|record|published|kunde|events\.csv|--profile")
"""Commands on files that are not here, or that go on for ever; tests of their own run them."""
SMALLER = {"P003": "P03", "P017": "P17", "u0007": "u07", "12,5": "1", "runs/nyc": "runs/beauty"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_guides_run_one_after_the_other(finished: Path, shop: Path) -> None:
    """On a tiny shop, with a tiny model, in the order of the site."""
    (shop / "runs" / "demo").unlink()
    shutil.copytree(finished, shop / "runs" / "beauty")
    for name in ("tiger", "tiger-beauty"):
        succeed("run", "s2gr-planted", "method=tiger", *WORLD, "--out", f"runs/{name}")
    (shop / "sold-out.txt").write_text("P01\n")
    (shop / "asked.jsonl").write_text('["P03"]\n')
    (shop / "new.jsonl").write_text('{"item_id": "P99", "title": "Alderbrook Compact Skillet", "text": "Skillet"}\n')
    np.save(shop / "vectors.npy", np.random.default_rng(0).standard_normal((48, 8), dtype=np.float32))
    np.save(shop / "ids.npy", np.arange(48 * 2).reshape(48, 2))
    ran = 0
    for page in TOUR:
        for block in blocks(ROOT / "docs" / f"{page}.md", "sh"):
            for line in block.splitlines():
                known = re.sub("|".join(SMALLER), lambda found: SMALLER[found[0]], line.partition("#")[0])
                _, *words = shlex.split(known) if known.startswith("sidestep ") else [""]
                if not words or ELSEWHERE.search(known):
                    continue
                words += {"run": WORLD if words[1] == "s2gr-planted" else MODEL, "init": ("--force",)}.get(words[0], ())
                succeed(*words)
                ran += 1
    assert ran > 25


@pytest.fixture
def shop(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `log.csv`, `items.csv` and the run `runs/demo`."""
    dataset = sources.read(sidestep.recipe("s2gr-planted", WORLD).data, 0)
    ids, log = dataset.catalog.item_ids, dataset.interactions
    rows = {"user_id": [log.user_ids[user] for user in log.users], "item_id": [ids[item] for item in log.items]}
    pl.DataFrame(rows).with_columns(time=log.known_times // 1000).write_csv(tmp_path / "log.csv")
    dataset.catalog.table.write_csv(tmp_path / "items.csv")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(finished)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lines_of_python_print_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a smaller model: the same lines, with other figures."""
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(ROOT / "README.md", "python")
    tiny = {"SETTINGS": merge({}, MODEL, RECIPE)}
    exec(compile(example.replace('train={"epochs": 8}', "**SETTINGS"), "README.md", "exec"), tiny)
    (shown,) = re.findall(r"```\n(<sidestep model.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert _shape(capsys.readouterr().out) == _shape(shown)
    assert sidestep.load("bundle").recommend(["P003"], 1).item_ids


def _shape(text: str) -> list[str]:
    """The lines of an output without its figures, ids, frames and folders."""
    plain = re.sub(r"[0-9.,]+", "0", re.sub(r"P\d+", "P", text))
    return [re.sub(r"[\s─═┌┬┐└┴┘├┼┤╞╪╡]+", " ", line).strip() for line in plain.splitlines()]


# --- docs/methods.md ---

METHODS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_/]+\.py::[\w.]+)`", METHODS))))
def test_every_function_in_the_methods_exists(name: str) -> None:
    path, _, dotted = name.partition("::")
    body: list[ast.stmt] = ast.parse((SOURCE / path).read_text(encoding="utf-8")).body
    for part in dotted.split("."):
        found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part]
        assert found, f"{path} has no {dotted}"
        body = found[0].body


def test_every_equation_of_s2gr_is_mapped() -> None:
    section = METHODS.partition("## TIGER")[0]
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", section, flags=re.MULTILINE)]
    assert numbers == list(range(3, 25))


# --- the site ---


def test_the_pages_that_are_made_name_every_key_command_and_function() -> None:
    pytest.importorskip("mkdocs", reason="no mkdocs; `pip install -e '.[docs]'`")
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    recipe, commands, python = pages.recipe_page(), pages.commands_page(), pages.python_page()
    assert all(
        f"`{key.name.removeprefix(section.name + '.')}`" in recipe
        for section in sections(RECIPE)
        for key in section.keys
    )
    assert all(f"## `sidestep {name}`" in commands for name in ("run", "recommend", "sids report", "serve"))
    assert "| `--explain` |" in commands
    assert all(f"## `sidestep.{name}`" in python for name in ("fit", "load", "Model"))
    assert "- **`times`**: when each item of the history was taken" in python


def test_the_claims_name_tests_that_exist() -> None:
    named = set(re.findall(r"\btests/[\w/.]+", (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []

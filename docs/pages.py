"""Pages of the documentation that are made from the code when it is built, so that they cannot disagree with it."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import sidestep
from sidestep.cli import app
from sidestep.methods.keys import KeysOf, described, sections
from sidestep.methods.table import RECIPE, rows
from sidestep.pipeline.aligning import Alignment
from sidestep.recommenders.facade import Answer, Answers, Recommendation
from sidestep.recommenders.step import NamedCluster, OlderItem, Step


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, content in (("recipe", recipe_page()), ("commands", commands_page()), ("python", python_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def recipe_page() -> str:
    """Every key with its type, default and description."""
    parts = [
        "# Recipe keys\n\nA recipe is a TOML file; what it leaves out has the default. Any key can be set on the "
        "command line, as in "
        '`train.epochs=10`, or in Python, as in `sidestep.fit(..., train={"epochs": 10})`. A misspelt key is refused '
        "with the nearest one. This page is made from the sections' own docstrings.\n"
    ]
    parts += [_section(section) for section in sections(RECIPE)]
    parts += ["## What `sidestep align` takes\n\nIts section is no part of a recipe: keys follow the run's name.\n"]
    parts += [_section(section) for section in sections(Alignment)]
    names = "".join(f"| `{name}` | {_cell(summary)} | {_cell(paper)} |\n" for name, summary, paper in rows())
    parts.append(f"## The values of `method`\n\n| name | what it is | paper |\n|---|---|---|\n{names}")
    return "\n".join(parts)


def _section(section: KeysOf) -> str:
    title = f"## `[{section.name}]`" if section.name else "## At the top"
    lines = "".join(f"| {_names(names)} | {kinds} | {_cell(text)} |\n" for names, kinds, text in _together(section))
    table = f"| key: default | takes | what it does |\n|---|---|---|\n{lines}"
    return f'{title}\n\n{section.text}\n\n<div class="stacked" markdown>\n\n{table}\n</div>\n'


def _together(section: KeysOf) -> Iterator[tuple[list[tuple[str, str]], str, str]]:
    """Keys that share a description as one row: their names with defaults, their types, the description."""
    left = list(section.keys)
    while left:
        same = [key for key in left if key.text == left[0].text]
        left = [key for key in left if key.text != same[0].text]
        names = [(key.name.removeprefix(f"{section.name}."), key.default) for key in same]
        yield names, "<br>".join(dict.fromkeys(_cell(key.type) for key in same)), same[0].text


def _names(names: list[tuple[str, str]]) -> str:
    return "<br>".join(f"`{name}`: {f'`{_cell(default)}`' if default else 'none'}" for name, default in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<NA>", "&lt;NA&gt;")


def commands_page() -> str:
    """Every verb with its arguments and options."""
    group: Any = typer.main.get_command(app)
    parts = ["# Command line\n\n`sidestep VERB --help` prints the same. A mistake is one line and exit code 2.\n"]
    for name, command in sorted(_verbs(group)):
        options = "".join(_option(each) for each in command.params if each.name != "help")
        table = f"\n| | |\n|---|---|\n{options}" if options else ""
        parts.append(f"## `sidestep {name}`\n\n{_plain(command.help)}\n{table}")
    return "\n".join(parts)


def _verbs(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command, f"{prefix}{name} ")
        elif not command.hidden:
            yield f"{prefix}{name}", command


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    names = names if option.param_type_name == "option" else f"`{option.name.upper()}`"
    return f"| {names} | {_cell(_plain(getattr(option, 'help', '') or ''))} |\n"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("<", "&lt;")


def python_page() -> str:
    """What the package offers, and what a model and its answers have."""
    parts = ["# Python\n\n`dir(sidestep)` and `help(sidestep)` tell the same.\n"]
    parts += [_function(f"sidestep.{name}", getattr(sidestep, name), "##") for name in FUNCTIONS]
    parts.append(f"## `sidestep.Model`\n\n{_prose(sidestep.Model)}\n")
    parts += [_member(name) for name in sorted(dir(sidestep.Model)) if not name.startswith("_") and name not in INNER]
    parts.append("## What it answers with\n")
    parts += [f"### `{kind.__name__}`\n\n{_fields(kind)}{_prose(kind)}\n" for kind in ANSWERS]
    return "\n".join(parts)


FUNCTIONS = ("example", "fit", "load", "from_pretrained", "save_pretrained", "recipe")
WIDEST = 80
ANSWERS = (Answers, Answer, Recommendation, Step, NamedCluster, OlderItem)
INNER = {"batch_size", "make_names", "recommender", "source", "path_names"}


def _member(name: str) -> str:
    value = inspect.getattr_static(sidestep.Model, name, None)
    if inspect.isfunction(value):
        return _function(f"model.{name}", value, "###")
    return f"### `model.{name}`\n\n{_prose(value)}\n" if value is not None else ""


def _function(name: str, function: Any, level: str) -> str:
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    shown = str(inspect.Signature(plain))
    if len(name + shown) > WIDEST:
        shown = shown.replace("(", "(\n    ", 1).replace(", ", ",\n    ").removesuffix(")") + ",\n)"
    return f"{level} `{name}`\n\n```py\n{name}{shown}\n```\n\n{_prose(function, [each.name for each in plain])}\n"


def _fields(kind: Any) -> str:
    names = getattr(kind, "__dataclass_fields__", {})
    return f"Fields: {', '.join(f'`{name}`' for name in names)}.\n\n" if names else ""


def _prose(value: Any, names: list[str] | None = None) -> str:
    """A docstring as Markdown: what it says, a list of what it says of each name, and what it raises."""
    text = inspect.cleandoc(value.__doc__ or "")
    if re.match(r"\w+\(.*\)$", text):  # the docstring that a dataclass makes of its fields
        return ""
    body, _, raised = text.partition("Raises:\n")
    intent, texts = described(body, names or list(getattr(value, "__dataclass_fields__", {})))
    listed = "".join(f"\n- **{', '.join(same)}**: {_plain(text)}" for same, text in _by_text(texts))
    errors = f"\n\n*Raises* {_plain(raised)}" if raised.strip() else ""
    return f"{_plain(intent)}\n{listed}{errors}"


def _by_text(texts: dict[str, str]) -> Iterator[tuple[list[str], str]]:
    for text in dict.fromkeys(texts.values()):
        yield [f"`{name}`" for name, other in texts.items() if other == text], text

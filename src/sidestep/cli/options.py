"""Arguments, options and output of several verbs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sidestep.errors import ConfigError

if TYPE_CHECKING:
    from sidestep.pipeline.run import Run

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A built-in recipe, a TOML file, or a run folder to resume.")
]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, such as train.epochs=10")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="The run folder [default: runs/RECIPE].")]
ForceOption = Annotated[bool, typer.Option("--force", help="Repeat stages that were run with other settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
HistoryOption = Annotated[
    str | None,
    typer.Option(help="Item ids, oldest first: a,b,c or a JSON list of ids, or of {item_id, time}."),
]
AtOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="When the answer is wanted: ISO 8601 (UTC), or milliseconds since 1970."),
]
UserOption = Annotated[list[str] | None, typer.Option(help="A user of the log, by outside id; may be repeated.")]
HistoriesOption = Annotated[Path | None, typer.Option(help="A file with one JSON list of item ids per line.")]
AllUsersOption = Annotated[bool, typer.Option("--all-users", help="Every user of the log.")]
CountOption = Annotated[int, typer.Option(help="Number of items.")]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Show the path of codes and thoughts.")]
KeepSeenOption = Annotated[bool, typer.Option("--keep-seen", help="Recommend items of the history too.")]
_IDS = "a file with one item id per line, or ids in the format of --history."
AllowOption = Annotated[str | None, typer.Option(metavar="FILE", help=f"Only these: {_IDS}")]
DenyOption = Annotated[str | None, typer.Option(metavar="FILE", help=f"None of these: {_IDS}")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="On a column of the catalogue: 'price<=20', 'in_stock=true', 'brand=a'; may be repeated.",
    ),
]
UnknownOption = Annotated[Literal["error", "skip"], typer.Option(help="What to do with unknown items of a history.")]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(as_json: bool, value: Any, text: str) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False) if as_json else text, flush=True)


def check_file(out: Path | None) -> None:
    """Raises: ConfigError: the output file is a folder, a device or a pipe. Called before any work is done."""
    if out is None:
        return
    try:
        str(out).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(f"--out {str(out)!a} is no UTF-8 text; choose another name") from None
    if out.exists() and not out.is_file():
        kind = "a folder" if out.is_dir() else "no regular file"
        raise ConfigError(f"--out {str(out)!r} is {kind}; expected the name of a file to write")


def open_run(recipe: str, overrides: list[str] | None, out: Path | None, force: bool) -> "Run":
    from sidestep.pipeline.run import RECIPE, Run
    from sidestep.recipes import read

    if (Path(recipe) / RECIPE).is_file():
        if overrides or out:
            raise ConfigError(
                f"{recipe!r} is a run folder and has its recipe; name the recipe instead to change keys or the folder"
            )
        return Run.open(Path(recipe), force=force)
    return Run.open(out or Path("runs") / Path(recipe).stem, read(recipe, overrides or ()), force)

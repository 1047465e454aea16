"""What there is to choose from: methods, recipes, and the keys of a recipe."""

from typing import Annotated

import typer

from sidestep.cli.options import JsonOption, show


def methods(as_json: JsonOption = False) -> None:
    """The methods that can be trained, with their papers."""
    from sidestep.methods.table import rows

    listed = [{"method": name, "summary": summary, "paper": paper} for name, summary, paper in rows()]
    show(as_json, listed, "\n".join(f"{r['method']:20} {r['summary']:42} {r['paper']}" for r in listed))


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A recipe to print, instead of the list of all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The built-in recipes, or the text of one: a file to start from."""
    from sidestep.recipes import built_in, read, text

    if name is not None:
        show(as_json, read(name).model_dump(mode="json", exclude_unset=True), text(name).rstrip())
        return
    listed = [{"recipe": name, "summary": summary} for name, summary in built_in().items()]
    show(as_json, listed, "\n".join(f"{r['recipe']:20} {r['summary']}" for r in listed))


def config(
    name: Annotated[str | None, typer.Argument(metavar="[SECTION|KEY]", help="Such as train, or train.epochs.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The keys of a recipe, and of `sidestep align`, with types, defaults and meanings: all, a section's, or one."""
    from dataclasses import asdict

    from sidestep.methods.keys import named
    from sidestep.methods.table import RECIPE
    from sidestep.pipeline.aligning import Alignment
    from sidestep.report.terminal import keys_text

    found = named((RECIPE, Alignment), name)
    show(as_json, [asdict(each) for each in found], keys_text(found))

"""`sidestep example`: two files to try everything on."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.options import ForceOption, say
from sidestep.errors import ConfigError


def example(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to.", show_default=True)] = Path("."),
    force: ForceOption = False,
) -> None:
    """Write log.csv and items.csv of a made-up shop, to try everything on."""
    from sidestep.data.sources.example import example as made
    from sidestep.durable import write_text

    paths = [folder / name for name in ("log.csv", "items.csv")]
    for path in paths:
        if path.exists() and not force:
            raise ConfigError(f"{str(path)!r} exists; choose another folder, or overwrite it with --force")
    folder.mkdir(parents=True, exist_ok=True)
    for path, table in zip(paths, made(), strict=True):
        write_text(path, table.write_csv())
        say(f"wrote {path}: {len(table):,} rows of {', '.join(table.columns)}")

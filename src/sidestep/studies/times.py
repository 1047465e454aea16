"""How long a cell took, in METHOD-SEED-DIGEST.times.json beside it: the cell's own file holds nothing that differs when
the same run is recorded again. Cells of earlier releases hold their seconds themselves.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidestep import durable
from sidestep.errors import ArtifactError

SUFFIX = ".times.json"
SECONDS = "seconds"
SECTIONS = ("training", "analysis")


def beside(path: Path) -> Path:
    """The file of a cell's times."""
    return path.with_name(f"{path.stem}{SUFFIX}")


def apart(cell: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A cell's JSON without its seconds, and these by section and name."""
    found = {section: {name: value for name, value in (cell[section] or {}).items() if SECONDS in name}
             for section in SECTIONS}  # fmt: skip
    rest = {
        section: {name: value for name, value in cell[section].items() if name not in found[section]}
        for section in SECTIONS
        if cell[section] is not None
    }
    return {**cell, **rest}, {section: times for section, times in found.items() if times}


def keep(path: Path, times: Mapping[str, Any]) -> None:
    """Write the times of a cell, unless an earlier measurement is there."""
    if times and not beside(path).is_file():
        durable.write_json(beside(path), times)


def joined(path: Path, cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's JSON with its times, where they are known.

    Raises:
        ArtifactError: a file of times that holds something else.
    """
    file = beside(path)
    times = durable.read_json(file) if file.is_file() else {}
    sections = times.values() if isinstance(times, dict) else [None]
    if not all(isinstance(section, dict) and all(map(_is_number, section.values())) for section in sections):
        raise ArtifactError(f"{str(file)!r} holds no times of a cell; restore it, or remove it")
    return {**cell, **{name: {**cell[name], **more} for name, more in times.items() if cell.get(name)}}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

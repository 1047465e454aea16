"""Every file of a run and of a bundle, damaged: commands that read it refuse in one line, others answer as before.

The table in `docs/files.md` says which is which.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from command import WORLD, Done, is_refusal, sidestep, succeed
from sealing import reseal
from sidestep import artifact

RUN = {
    "recommend": lambda run, place: ("recommend", run, "--user", "u01", "--json"),
    "evaluate": lambda run, place: ("evaluate", run, "--json"),
    "analyse": lambda run, place: ("analyse", run, "--users", "20"),
    "sids report": lambda run, place: ("sids", "report", run, "--json", "--out", place / "page.html"),
    "export": lambda run, place: ("export", run, "--to", place / "bundle"),
}
BUNDLE = {"recommend": lambda run, place: ("recommend", run, "--history", "i000", "--unknown", "skip", "--json")}

DOCS = Path(__file__).parents[2] / "docs" / "files.md"
HEADING = "## Damaged runs"


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def delete(path: Path, draw: random.Random) -> None:
    path.unlink()


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (flip, truncate, delete)


def plain(done: Done) -> str:
    """An answer without its times."""
    lines = [line for line in done.out.splitlines() if "ms" not in line and "MB" not in line]
    return "\n".join(lines)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_every_damaged_file_is_refused_or_does_not_count(
    finished: Path, tmp_path: Path, kind: str, damage: Callable[[Path, random.Random], None]
) -> None:
    whole, commands = finished, RUN if kind == "run" else BUNDLE
    if kind == "bundle":
        whole = tmp_path / "whole"
        succeed("export", finished, "--to", whole)
    draw, met = random.Random(0), dict[tuple[str, str], str]()
    here = tmp_path / "here"
    shutil.copytree(whole, here)
    right = {name: plain(sidestep(*words(here, tmp_path))) for name, words in commands.items()}
    for file in files(whole):
        for name, words in commands.items():
            shutil.rmtree(here)
            shutil.copytree(whole, here)
            damage(here / file, draw)
            done = sidestep(*words(here, tmp_path))
            same = done.code == 0 and plain(done) == right[name]
            assert same or is_refusal(done), (file, name, done)
            met[file, name] = "same" if same else "refused"
    if kind == "run" and damage is flip:
        compare(met, 0)


def compare(met: dict[tuple[str, str], str], column: int) -> None:
    """What was met is what the table says. column: of the two words in a cell, for damage and for a swap."""
    section = DOCS.read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    (_, *names), _, *rows = rows
    said = {
        (first, name): cell.split(" / ")[column]
        for first, *cells in rows
        for name, cell in zip(names, cells, strict=True)
    }
    counted = {key: found for key, found in met.items() if not key[0].endswith(artifact.MANIFEST)}
    parts = {(file, name): (file.split("/")[0], name) for file, name in counted}
    assert {(key, found) for key, found in counted.items() if said.get(parts[key], found) != found} == set()
    assert {first for first, _ in said} == {file.split("/")[0] for file, _ in met}


def parts(run: Path) -> list[str]:
    """The recipe and the artifacts in a run."""
    return ["recipe.json", *sorted(str(path.parent.relative_to(run)) for path in run.rglob(artifact.MANIFEST))]


def swap(here: Path, other: Path, part: str) -> None:
    """The recipe or an artifact of another run, sealed there."""
    if (here / part).is_file():
        shutil.copy(other / part, here / part)
        return
    shutil.rmtree(here / part)
    shutil.copytree(other / part, here / part)


def swap_resealed(here: Path, other: Path, part: str) -> None:
    """An artifact of another run that claims to be made from what this run holds."""
    manifest = artifact.read_manifest(here / part)
    swap(here, other, part)
    reseal(here / part, parents=manifest.parents, config=manifest.config)


def swap_file(here: Path, other: Path, part: str) -> None:
    """A file of another bundle."""
    shutil.copy(other / part, here / part)


def swap_file_resealed(here: Path, other: Path, part: str) -> None:
    """A file of another bundle, under a manifest that names its hash."""
    swap_file(here, other, part)
    files = artifact.read_manifest(here).files
    reseal(here, files={**files, part: artifact.file_hash(here / part)})


UNTELLABLE = {
    *((part, name) for part in ("model", "recipe.json") for name in RUN),
    ("sids", "sids report"),
}
"""Parts that claim this run's parents, and commands that read nothing made from them, like what was trained again."""
SWAPS: dict[Callable[[Path, Path, str], None], str] = {
    swap: "run",
    swap_resealed: "run",
    swap_file: "bundle",
    swap_file_resealed: "bundle",
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("change", SWAPS, ids=lambda change: change.__name__)
def test_what_belongs_to_another_run_is_refused_or_does_not_count(
    finished: Path, tmp_path: Path, change: Callable[[Path, Path, str], None]
) -> None:
    whole, commands = finished, RUN if SWAPS[change] == "run" else BUNDLE
    other = tmp_path / "other"
    succeed("run", "s2gr-planted", *WORLD, "seed=1", "--out", other)
    if SWAPS[change] == "bundle":
        succeed("export", finished, "--to", tmp_path / "whole")
        succeed("export", other, "--to", tmp_path / "other-bundle")
        whole, other = tmp_path / "whole", tmp_path / "other-bundle"
    here, met = tmp_path / "here", dict[tuple[str, str], str]()
    shutil.copytree(whole, here)
    right = {name: plain(sidestep(*words(here, tmp_path))) for name, words in commands.items()}
    for part in parts(whole) if SWAPS[change] == "run" else artifact.read_manifest(whole).files:
        for name, words in commands.items():
            if change is swap_resealed and (part, name) in UNTELLABLE:
                continue
            shutil.rmtree(here)
            shutil.copytree(whole, here)
            change(here, other, part)
            done = sidestep(*words(here, tmp_path))
            same = done.code == 0 and plain(done) == right[name]
            assert same or is_refusal(done), (part, name, done)
            met[part, name] = "same" if same else "refused"
    if change is swap:
        compare(met, 1)

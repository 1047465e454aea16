"""Every file of a run and of a bundle, damaged: commands that read it refuse in one line, others answer as before.

`DEPENDS` is the table of which is which; `.` stands for an answer that is the same.
"""

import json
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

DEPENDS = """
                        recommend  evaluate  analyse  sids report  export
recipe.json             refused    refused   refused  refused      refused
catalog                 refused    refused   refused  refused      refused
interactions            refused    refused   refused  refused      refused
vectors                 .          .         .        refused      .
aligned                 .          .         .        refused      .
tokenizer               .          .         .        refused      .
sids                    refused    .         refused  refused      refused
model                   refused    .         refused  .            refused
evaluation              .          refused   .        .            .
train                   .          .         .        .            .
tokenizer-train         .          .         .        .            .
"""
"""Of a finished run of S2GR, for a changed byte of a file of tensors or tables. A damaged manifest is refused by all
that depend on the artifact, also through others: see `test_lineage.py`.
"""


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
            met[file, name] = "." if same else "refused"
    if kind == "run" and damage is flip:
        for line in DEPENDS.strip().splitlines()[1:]:
            first, *expected = line.replace("sids report", "sids-report").split()
            parts = [
                file for file in files(whole) if file.split("/")[0] == first and not file.endswith("manifest.json")
            ]
            for name, wanted in zip(commands, expected, strict=True):
                assert {met[file, name] for file in parts} == {wanted}, (first, name)


def parts(run: Path) -> list[str]:
    """The artifacts in a run."""
    return sorted(str(path.parent.relative_to(run)) for path in run.rglob(artifact.MANIFEST))


def swap(here: Path, other: Path, part: str) -> None:
    """An artifact of another run, sealed there."""
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
            shutil.rmtree(here)
            shutil.copytree(whole, here)
            change(here, other, part)
            done = sidestep(*words(here, tmp_path))
            same = done.code == 0 and plain(done) == right[name]
            assert same or is_refusal(done), (part, name, done)
            met[part, name] = "." if same else "refused"
    print(json.dumps({f"{part} {name}": found for (part, name), found in met.items()}))

"""Every file of a run and of a bundle, damaged: commands that read it refuse in one line, others answer as before.

`DEPENDS` is the table of which is which; `.` stands for an answer that is the same.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from command import Done, sidestep, succeed

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


def is_refusal(done: Done) -> bool:
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    return done.code == 2 and len(lines) == 1


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

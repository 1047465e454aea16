"""What is published: the source distribution, the wheel that is built from it, and what an environment with the wheel
alone can do.
"""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sidestep"


def call(*words: object, folder: Path, path: str = "") -> str:
    """What a command prints."""
    environment = {**os.environ, "PYTHONPATH": path}
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def build(kind: str, folder: Path, out: Path) -> Path:
    hatchling = pytest.importorskip("hatchling", reason="hatchling builds the package; make install installs it")
    path = str(Path(hatchling.__file__).parents[1])
    call(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out, folder=folder, path=path)
    return next(out.glob("*.tar.gz" if kind == "sdist" else "*.whl"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_of_the_source_distribution_is_the_package_and_works_by_itself(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff"} <= {path.name for path in unpacked.iterdir()}
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path / "wheel")) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("sidestep/")}
        wheel.extractall(tmp_path / "site")
    ours = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.rglob("*") if path.is_file()}
    assert packed == {name for name in ours if "__pycache__" not in name}

    assert "sidestep = sidestep.cli:main" in next((tmp_path / "site").glob("*.dist-info/entry_points.txt")).read_text()
    alone = os.pathsep.join([str(tmp_path / "site"), sysconfig.get_path("purelib")])  # our dependencies, not our tree
    assert str(tmp_path) in call(
        sys.executable, "-c", "import sidestep; print(sidestep.__file__)", folder=tmp_path, path=alone
    )
    newcomer(tmp_path, alone)


def newcomer(folder: Path, path: str) -> None:
    """Follow the README line by line, in an empty folder, up to the server."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (shown,) = re.findall(r"```\n(<sidestep model.*?)```", text, flags=re.DOTALL)
    said = call(sys.executable, "-c", lines, folder=folder, path=path)
    assert said.splitlines()[0] == shown.splitlines()[0]
    assert len(said.splitlines()) == len(shown.splitlines())
    _, _, commands = text.partition("## On the command line")
    (block,) = re.findall(r"```sh\n(.*?)```", commands.partition("\n## ")[0], flags=re.DOTALL)
    steps = [step.strip() for line in block.splitlines() for step in line.partition("#")[0].split(" && ")]
    assert [step.split()[1] for step in steps] == ["example", "init", "run", "recommend", "export", "serve"]
    for step in steps[:-1]:
        said = call(sys.executable, "-m", *shlex.split(step), folder=folder, path=path)
        assert step.split()[1] != "recommend" or "\n  1. P" in said
    assert (folder / steps[-1].split()[-1] / "manifest.json").is_file()

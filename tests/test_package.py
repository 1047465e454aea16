"""What is published: the source distribution, the wheel that is built from it, and what an environment with the wheel
alone can do.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from command import WORLD

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

    alone = os.pathsep.join([str(tmp_path / "site"), sysconfig.get_path("purelib")])  # our dependencies, not our tree
    assert str(tmp_path) in call(
        sys.executable, "-c", "import sidestep; print(sidestep.__file__)", folder=tmp_path, path=alone
    )
    sidestep = (sys.executable, "-m", "sidestep")
    call(*sidestep, "run", "s2gr-planted", *WORLD, "--out", "run", folder=tmp_path, path=alone)
    call(*sidestep, "export", "run", "--to", "bundle", folder=tmp_path, path=alone)
    said = call(*sidestep, "recommend", "bundle", "--history", "P01,P02", "--k", "3", folder=tmp_path, path=alone)
    assert said.count("\n  ") >= 3
    assert "sidestep = sidestep.cli:main" in next((tmp_path / "site").glob("*.dist-info/entry_points.txt")).read_text()

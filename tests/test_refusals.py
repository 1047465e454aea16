"""What the system refuses is one line and exit code 2, and the state before is whole."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command import WORLD, contents, refuse, succeed
from sidestep import durable
from sidestep.pipeline.run import LOCK


def failing_at(number: int, code: int) -> Callable[[Path], None]:
    """`sync`, refused by the system from its number-th call on; all files and folders are synced before a rename."""
    left = number

    def sync(path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(code, os.strerror(code), str(path))

    return sync


@pytest.mark.parametrize(("number", "code"), [(0, errno.ENOSPC), (9, errno.ENOSPC), (13, errno.EIO), (3, errno.EROFS)])
def test_an_export_that_cannot_be_written_leaves_the_old_bundle(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    succeed("export", finished, "--to", tmp_path / "bundle", "--field", "brand")
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        sync = failing_at(number, code)
        patch.setattr(durable, "sync", sync)
        patch.setattr("sidestep.artifact.sync", sync)
        message = refuse("export", finished, "--to", tmp_path / "bundle")
    assert os.strerror(code) in message
    assert ("what was there before is unchanged" in message) == (code == errno.ENOSPC)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("number", [0, 5, 11, 22])
def test_a_run_on_a_full_disk_keeps_its_whole_stages_and_goes_on_from_them(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    words = ("tokenize", "s2gr-planted", *WORLD, "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        sync = failing_at(number, errno.ENOSPC)
        patch.setattr(durable, "sync", sync)
        patch.setattr("sidestep.artifact.sync", sync)
        assert "No space left on device" in refuse(*words)
    assert durable.left_behind(tmp_path) == []
    succeed(*words)
    timed = ("tokenizer-train", "behaviour-train")
    made = {name: digest for name, digest in contents(tmp_path / "run").items() if not name.startswith(timed)}
    assert made.items() <= contents(finished).items()


@pytest.mark.parametrize("words", [("report", "--out"), ("recommend", "--user", "u01", "--out")])
def test_out_never_replaces_what_is_no_regular_file_and_a_name_may_be_too_long(
    finished: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    verb, *rest = words
    for path in (os.devnull, tmp_path / "pipe"):
        assert "is no regular file; expected the name of a file to write" in refuse(verb, finished, *rest, path)
    assert "File name too long" in refuse(verb, finished, *rest, tmp_path / ("x" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_second_writer_is_told_who_is_at_work_and_readers_need_not_wait(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from sidestep.lock import held\n"
        f"with held(Path({str(run / LOCK)!r}), Path('run')): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        message = refuse("run", "s2gr-planted", *WORLD, "train.lr=0.002", "--out", run, "--force")
        assert f"'{run}' is being written by process {other.pid} on " in message
        succeed("recommend", run, "--user", "u01")
        other.kill()
    assert (run / LOCK).is_file()
    succeed("run", run)  # the lock of a killed process stops nobody
    assert not (run / LOCK).exists()
    assert contents(run) == contents(finished)

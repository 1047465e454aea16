"""Whenever a writer is killed, there is the old or the new content, and the next writer leaves nothing else."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sidestep import durable
from sidestep.errors import ArtifactError, LockedError
from sidestep.lock import held

WRITER = """
import os, signal, sys
from pathlib import Path
from sidestep import durable

left, target = int(sys.argv[1]), Path(sys.argv[2])

def kill(event, arguments):
    global left
    if event == "open" or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

def folder():
    with durable.replacing(target) as staging:
        for name in ("a", "b"):
            (staging / name).write_text("new")

def file():
    durable.write_text(target, "new")

sys.addaudithook(kill)
globals()[sys.argv[3]]()
os._exit(0)
"""


def write(target: Path, kind: str, left: int = 10_000) -> bool:
    """Write in a process that is killed at one of its file operations, or not; whether it came to its end."""
    done = subprocess.run([sys.executable, "-c", WRITER, str(left), target, kind], capture_output=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == 0


def content(target: Path) -> list[str]:
    if target.is_dir():
        return [(target / name).read_text() for name in ("a", "b")]
    return [target.read_text()] if target.exists() else []


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("begun", ["nothing", "old"])
def test_a_writer_killed_at_any_file_operation_leaves_the_old_or_the_new(tmp_path: Path, kind: str, begun: str) -> None:
    target, met = tmp_path / "target", set[str]()
    for left in range(1_000):
        if target.exists() and begun == "nothing":
            shutil.rmtree(target) if kind == "folder" else target.unlink()
        if begun == "old" and kind == "folder":
            with durable.replacing(target) as staging:
                for name in ("a", "b"):
                    (staging / name).write_text("old")
        elif begun == "old":
            durable.write_text(target, "old")
        ended = write(target, kind, left)
        durable.recover(target)
        here = set(content(target))
        assert len(here) == 1 or (not here and begun == "nothing")
        met |= here
        if ended:
            break
        if left % 3 == 0:
            assert write(target, kind)
            assert set(content(target)) == {"new"}
            assert os.listdir(tmp_path) == ["target"]
    assert ended
    assert met == ({"old", "new"} if begun == "old" else {"new"})


def test_what_crashes_left_is_swept_and_what_is_being_written_stays(tmp_path: Path) -> None:
    for name in (".gone.old", ".half.new", "deep/.half.new"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    (tmp_path / ".half.lock").write_text("{}")
    (tmp_path / ".hidden").write_text("of the user")
    with durable.replacing(tmp_path / "now") as staging:
        (staging / "file").write_text("now")
        code = (
            "from pathlib import Path; from sidestep import durable; p = Path.cwd(); durable.sweep(p); "
            "print(*[path.name for path in durable.left_behind(p)])"
        )
        other = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(other.stdout.split()) == [".now.lock", ".now.new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "deep", "gone", "now"]
    assert (tmp_path / "gone" / "file").read_text() == ".gone.old"
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_second_writer_of_a_folder_is_refused_and_the_first_is_not_disturbed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, "10000", str(tmp_path / "a"), "folder"]
    with durable.replacing(tmp_path / "a") as staging:
        (staging / "a").write_text("first")
        (staging / "b").write_text("first")
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"being written by process {os.getpid()} on " in second.stderr
    assert content(tmp_path / "a") == ["first", "first"]


def test_new_files_and_folders_have_the_modes_that_the_user_gives_to_new_ones(tmp_path: Path) -> None:
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            durable.write_text(tmp_path / "file", "")
            with durable.replacing(tmp_path / "folder"):
                pass
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
        assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


def test_a_link_is_written_through_and_a_device_or_a_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    durable.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    for path in (Path(os.devnull), tmp_path / "pipe", tmp_path):
        with pytest.raises(ArtifactError, match="expected the name of a file to write"):
            durable.write_text(path, "")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_file_or_a_link_in_the_place_of_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with durable.replacing(tmp_path / name) as staging:
            (staging / "a").touch()
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a"]
    assert (tmp_path / "elsewhere" / "kept").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "file", "link"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 5_000, "\udcff"], ids=lambda text: text[:3])
def test_what_is_no_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError, match=r"Cannot read '.*x\.json': .*; restore it") as met:
        durable.read_json(tmp_path / "x.json")
    assert len(str(met.value)) < 400 + len(str(tmp_path))


def test_a_file_waits_for_its_other_writer_and_then_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "SECONDS_TO_WRITE", 0.1)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from sidestep.lock import held; from pathlib import Path\n"
         f"with held(Path({str(tmp_path / '.x.lock')!r}), Path('x')): print('held', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"process {holder.pid} on "):
        durable.write_text(tmp_path / "x", "")
    with holder:
        holder.kill()
    durable.write_text(tmp_path / "x", "")  # the lock file is there, and nobody holds it
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_lock_may_be_taken_again_by_its_holder_and_not_by_another_thread(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    lock = tmp_path / ".lock"

    def take() -> None:
        with held(lock, tmp_path):
            pass

    with held(lock, tmp_path):
        take()
        assert lock.is_file()
        with ThreadPoolExecutor(1) as other, pytest.raises(LockedError):
            other.submit(take).result()
    assert not lock.exists()
    take()

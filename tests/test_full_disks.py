"""Every verb that writes, on disks of rising size, on one that is read-only, and beside another writer: one line and
exit code 2, what was there before is whole, and with room the same command ends as if nothing had been.

The disk is a tmpfs; without the right to mount one these tests are skipped.
"""

import gc
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import sidestep as library
from command import WORLD, Done, contents, is_refusal, sidestep
from graph_world import unchecked
from other_writer import held_by_another
from sidestep import durable

SHARES = (0.0, 0.05, 0.4, 0.9)
"""Room on the disk, as a share of what the command adds to it."""
BLOCK = 4096
NEW = "item_id,title\nnew,A new thing\n"
LOG = "user,item,time\n" + "".join(f"u{n % 9},i{n * 7 % 11},{1_600_000_000 + n}\n" for n in range(99))
RUN = ("s2gr-planted", *WORLD, "evaluate.k=100")
MADE = "made/.run.lock"


@dataclass(frozen=True)
class Verb:
    """words: the command for a disk, which holds a finished `run`, and a folder beside it, which holds `new.csv`,
    `log.csv` and `vectors.npy`. lock: what another writer holds. once: done a second time, it refuses. lacks: what the
    run is without. shares: see `SHARES`; fewer of them where the command is slow.
    """

    words: Callable[[Path, Path], tuple[object, ...]]
    lock: str
    once: bool = False
    lacks: str = ""
    shares: tuple[float, ...] = SHARES


def stage(*words: str) -> Verb:
    name, *more = words
    return Verb(lambda disk, beside: (name, *RUN, *more, "--out", disk / "made"), MADE)


def recommend(end: str) -> Verb:
    return Verb(
        lambda disk, beside: ("recommend", disk / "run", "--all-users", "--out", disk / f"answers.{end}"),
        f".answers.{end}.lock",
    )


VERBS = {
    "prepare": stage("prepare"),
    "embed": stage("embed"),
    "behave": stage("behave", "behaviour.source=sasrec", "behaviour.width=8", "behaviour.epochs=1"),
    "propagate": stage("propagate"),
    "tokenize": stage("tokenize"),
    "train": stage("train", "train.checkpoint_seconds=0"),
    "train --profile": stage("train", "--profile", "--trace"),
    "run": stage("run"),
    "run --force": Verb(
        lambda disk, beside: ("run", *RUN, "tokenizer.epochs=3", "--out", disk / "run", "--force"), "run/.run.lock"
    ),
    "evaluate": Verb(lambda disk, beside: ("evaluate", disk / "run"), "run/.run.lock", lacks="evaluation"),
    "export": Verb(lambda disk, beside: ("export", disk / "run", "--to", disk / "bundle"), ".bundle.lock"),
    "export --graph": Verb(
        lambda disk, beside: ("export", disk / "run", "--to", disk / "bundle", "--graph"), ".bundle.lock", shares=(0.4,)
    ),
    "record": Verb(lambda disk, beside: ("record", disk / "run", "--cells", disk / "cells"), ""),
    "report": Verb(lambda disk, beside: ("report", disk / "run"), "run/.report.html.lock"),
    "report --out": Verb(
        lambda disk, beside: ("report", disk / "run", "--out", disk / "new" / "page.html"), "new/.page.html.lock"
    ),
    **{f"recommend --out {end}": recommend(end) for end in ("csv", "tsv", "jsonl", "parquet")},
    "init": Verb(
        lambda disk, beside: ("init", "--interactions", beside / "log.csv", "--out", disk / "recipe.toml"),
        ".recipe.toml.lock",
        once=True,
    ),
    "sids append": Verb(
        lambda disk, beside: ("sids", "append", disk / "run", "--items", beside / "new.csv"), "run/.run.lock", once=True
    ),
    "sids requantise": Verb(
        lambda disk, beside: (
            *("sids", "requantise", disk / "run", "--vectors", beside / "vectors.npy", "--out", disk / "other"),
        ),
        ".other.lock",
    ),
    "sids report": Verb(lambda disk, beside: ("sids", "report", disk / "run"), "run/.sids.html.lock"),
    "sids study": Verb(
        lambda disk, beside: (
            *("sids", "study", "table3", *RUN, "--seeds", "0", "--row", "rq-vae", "--out", disk / "study"),
        ),
        "study/.study.md.lock",
    ),
    "reproduce": Verb(
        lambda disk, beside: (
            *("reproduce", "table2", *WORLD, "--recipe", "s2gr-planted", "--seeds", "0", "--dry-run"),
            *("--cells", disk / "cells", "--runs", disk / "runs", "--out", disk / "studies"),
        ),
        "studies/.table2.md.lock",
    ),
    "fit": Verb(lambda disk, beside: ("fit", beside / "log.csv", disk / "made"), MADE),
}


def skip_without_extras(name: str) -> None:
    if name == "export --graph":
        for module in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(module, reason=f"{module} writes or reads a graph, and is not installed")


def do(words: tuple[object, ...]) -> Done:
    """A command, or `fit` on frames with its errors as the command line would give them."""
    if "--graph" in words:
        with unchecked():
            return sidestep(*words)
    if words[0] != "fit":
        return sidestep(*words)
    _, log, out = words
    try:
        frame, settings = pl.read_csv(Path(str(log))), {"epochs": 1}
        library.fit(frame, recipe="sasrec-ce", out=Path(str(out)), train=settings, say=lambda line: None)
    except (library.SidestepError, OSError) as error:
        return Done(2, "", f"error: {error}")
    return Done(0, "", "")


Resize = Callable[[str], None]


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Resize]]:
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a tmpfs")

    def resize(size: str) -> None:
        gc.collect()  # a disk with a file that is open for writing does not become read-only
        subprocess.run(["mount", "-o", f"remount,{size}", str(place)], check=True)

    try:
        yield place, resize
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    (folder / "new.csv").write_text(NEW)
    (folder / "log.csv").write_text(LOG)
    np.save(folder / "vectors.npy", np.random.default_rng(0).normal(size=(48, 16)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def whole(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with 100 ranked items, as a cell needs them."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("whole") / "run")
    assert sidestep("run", *RUN, "--out", run).code == 0
    return Path(run)


def begin(place: Path, whole: Path, verb: Verb) -> int:
    """Nothing but the run on the disk; its kilobytes."""
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(whole, place / "run")
    if verb.lacks:
        shutil.rmtree(place / "run" / verb.lacks)
    return used(place)


def used(place: Path) -> int:
    return int(
        subprocess.run(["df", "--output=used", "-k", str(place)], capture_output=True, text=True).stdout.split()[1]
    )


def results(place: Path) -> dict[str, str]:
    """The names of all files, with the content of those that hold no times."""
    return {
        name: digest if name.endswith((".parquet", ".safetensors", ".csv", ".tsv", ".toml")) else ""
        for name, digest in contents(place).items()
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", VERBS)
def test_without_room_every_verb_refuses_in_one_line_and_leaves_what_was_there(
    disk: tuple[Path, Resize], beside: Path, whole: Path, name: str
) -> None:
    skip_without_extras(name)
    (place, resize), verb = disk, VERBS[name]
    resize("size=64m,rw")
    held = begin(place, whole, verb)
    before, words = contents(place), verb.words(place, beside)
    done = do(words)
    assert done.code == 0, done.err
    wanted, added = results(place), used(place) - held
    begin(place, whole, verb)
    refusals = 0
    for size in (*(f"size={held + int(share * added)}k" for share in verb.shares), "size=64m,ro"):
        resize(size)
        done = do(words)
        assert done.code == 0 or is_refusal(done), (size, done)
        refusals += done.code != 0
        if done.code == 0:
            break
        assert durable.left_behind(place) == [], size
        if name != "run --force":
            assert before.items() <= contents(place).items(), size
    assert refusals
    resize("size=64m,rw")
    done = do(words)
    assert done.code == 0 or verb.once, done.err
    assert results(place) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if verb.lock])
def test_beside_another_writer_every_verb_says_who_is_at_work(
    tmp_path: Path, beside: Path, whole: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_extras(name)
    monkeypatch.setattr(durable, "SECONDS_TO_WRITE", 0.05)
    begin(tmp_path, whole, VERBS[name])
    before = contents(tmp_path)
    with held_by_another(tmp_path / VERBS[name].lock):
        done = do(VERBS[name].words(tmp_path, beside))
        assert is_refusal(done), done
        assert "is being written by process" in done.err
        assert before.items() <= contents(tmp_path).items()
    done = do(VERBS[name].words(tmp_path, beside))
    assert done.code == 0, done.err

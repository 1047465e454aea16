"""Every verb that writes, killed, out of room, on a read-only disk, and beside itself: the same command ends with the
bytes of an uninterrupted one, and leaves nothing else behind.

    python benchmarks/crash.py --kills 200 --seed 0

A trial is a fork of this process, so that nothing is imported again. Half of the kills come at a file operation, drawn
among all that the verb does, the others at a moment of its duration. The disk is a tmpfs of a few kilobytes, which
needs the right to mount; without it these trials are left out, and the last line says so.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["POLARS_MAX_THREADS"] = "1"  # its threads would not be there after a fork

import sidestep.pipeline.exporting
import sidestep.studies.judging
import sidestep.studies.recording
import sidestep.workshop.append  # noqa: F401, all are there before the first fork
from machine import report
from sidestep.cli import app

SHOP = (
    *("data.planted.departments=2", "data.planted.aisles=2", "data.planted.shelves=2", "data.planted.brands=3"),
    *("data.planted.variants=2", "data.planted.users=60", "embed.width=16", "tokenizer.codebook_size=8"),
    *("tokenizer.code_width=8", "tokenizer.hidden=[16]", "tokenizer.num_clusters=4", "tokenizer.epochs=2"),
    *("tokenizer.batch_size=16", "tokenizer.warmup_steps=1", "generator.width=16", "generator.num_heads=2"),
    *("generator.head_width=8", "generator.inner=16", "generator.encoder_layers=1", "generator.decoder_layers=1"),
    *("behaviour.width=8", "behaviour.epochs=1", "train.epochs=2", "train.batch_size=128", "train.warmup_steps=1"),
    *("evaluate.num_beams=10", "evaluate.valid_beams=10", "evaluate.k=100", "train.checkpoint_seconds=0"),
)
"""48 items, 60 users, and a model to match, with a checkpoint after every step."""
OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod")
ITEMS = "item_id,title\nnew,A new thing\n"
MEASURED = (".times.json", "study.md", ".html")
"""Ends of names of files that hold what is measured anew, or that are looked at by people alone."""

Words = tuple[object, ...]


@dataclass(frozen=True)
class Verb:
    """words: the command in a place. old: what lies there before it, of the finished run. share: of the kills.
    once: done a second time, it refuses.
    """

    name: str
    words: Callable[[Path], Words]
    old: Callable[[Path, Path], object]
    share: int
    once: bool = False


def _copied(run: Path, place: Path) -> None:
    shutil.copytree(run, place / "run")
    (place / "items.csv").write_text(ITEMS)


VERBS = (
    Verb("run", lambda p: ("run", "s2gr-planted", *SHOP, "--out", p / "run"), lambda run, p: None, 6),
    Verb(
        "run --force",
        lambda p: ("run", "s2gr-planted", *SHOP, "tokenizer.epochs=3", "--out", p / "run", "--force"),
        _copied,
        4,
    ),
    Verb("export", lambda p: ("export", p / "run", "--to", p / "bundle"), _copied, 3),
    Verb("append", lambda p: ("sids", "append", p / "run", "--items", p / "items.csv"), _copied, 3, once=True),
    Verb("record", lambda p: ("record", p / "run", "--recipe", "s2gr-planted", "--cells", p / "cells"), _copied, 2),
    Verb(
        "study",
        lambda p: ("sids", "study", "table3", "s2gr-planted", *SHOP, "--seeds", "0", "--row", "rq-vae",
                   "--out", p / "study"),
        lambda run, p: None,
        2,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """code: of the exit, negative for a signal. error: what was printed to standard error. operations: on files."""

    code: int
    error: str
    operations: int
    seconds: float


def fork(words: Words, log: Path, kill_at: int | None = None, stop_at: int | None = None) -> int:
    """Begin a command in a process of its own, which kills or stops itself at one of its file operations."""
    process = os.fork()
    if process:
        return process
    done = 0

    def count(event: str, arguments: object) -> None:
        nonlocal done
        if event in OPERATIONS:
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if done == stop_at:
                os.kill(os.getpid(), signal.SIGSTOP)

    code, error = 0, io.StringIO()
    sys.argv = ["sidestep", *map(str, words)]
    sys.addaudithook(count)
    with redirect_stdout(io.StringIO()), redirect_stderr(error):
        try:
            app([str(word) for word in words], prog_name="sidestep")
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        except BaseException as wrong:
            error.write(f"Traceback: {wrong!r}")
            code = 1
    total = done
    log.write_text(json.dumps([error.getvalue(), total]))
    os._exit(code)


def end(process: int, log: Path, begun: float) -> Ended:
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    error, operations = json.loads(log.read_text()) if code >= 0 else ("", 0)
    return Ended(code, error, operations, time.monotonic() - begun)


def command(words: Words, log: Path, kill_at: int | None = None, kill_after: float | None = None) -> Ended:
    begun = time.monotonic()
    process = fork(words, log, kill_at)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    return end(process, log, begun)


def contents(place: Path) -> dict[str, object]:
    """The bytes of every file and the name of every folder, without what is measured anew."""
    found: dict[str, object] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.name == "log.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            found[name] = [{k: v for k, v in row.items() if k not in ("seconds", "check")} for row in rows]
        elif path.name.endswith(MEASURED):
            found[name] = None
        elif path.name == "manifest.json" or path.suffix == ".json":
            found[name] = path.read_text().replace(str(place), "PLACE")
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


def refused(ended: Ended) -> bool:
    """Whether it was answered in one line."""
    lines = [line for line in ended.error.splitlines() if line.startswith("error: ")]
    return ended.code == 2 and len(lines) == 1 and "Traceback" not in ended.error


class Trials:
    """Everything in one temporary folder. failures: in words."""

    def __init__(self, folder: Path, seed: int, run: Path | None = None) -> None:
        """run: a finished one of the planted world, which is made where there is none."""
        self.folder, self.seed, self.failures = folder, seed, list[str]()
        self.log, self.place, self.run = folder / "log.json", folder / "place", run or folder / "finished"
        self.counts = dict[str, list[int]]()
        if run is None:
            made = command(("run", "s2gr-planted", *SHOP, "--out", self.run), self.log)
            assert made.code == 0, made.error

    def fresh(self, verb: Verb) -> Words:
        if self.place.exists():
            shutil.rmtree(self.place)
        self.place.mkdir()
        verb.old(self.run, self.place)
        return verb.words(self.place)

    def wanted(self, verb: Verb) -> tuple[dict[str, object], dict[str, object], Ended]:
        """The contents before and after the uninterrupted command."""
        words = self.fresh(verb)
        before = contents(self.place)
        ended = command(words, self.log)
        assert ended.code == 0, (verb.name, ended.error)
        return before, contents(self.place), ended

    def note(self, kind: str, verb: Verb, good: bool, problem: object) -> None:
        counts = self.counts.setdefault(f"{kind} {verb.name}", [0, 0])
        counts[0] += good
        counts[1] += 1
        print(f"{kind} {verb.name}: {counts[0]} of {counts[1]}", flush=True)
        if not good:
            self.failures.append(f"{kind} {verb.name}: {problem}")

    def drawing(self, kind: str, verb: Verb) -> random.Random:
        """Each kind of trial of each verb draws for itself, so that pieces are the whole."""
        return random.Random(f"{self.seed} {kind} {verb.name}")

    def kill(self, verb: Verb, times: int) -> None:
        _, after, whole = self.wanted(verb)
        draw = self.drawing("kill", verb)
        for number in range(times):
            words = self.fresh(verb)
            if number % 2:
                moment: dict[str, Any] = {"kill_after": draw.uniform(0, whole.seconds)}
            else:
                moment = {"kill_at": draw.randint(1, whole.operations)}
            command(words, self.log, **moment)
            again = command(words, self.log)
            found = contents(self.place)
            other = sorted(name for name in {*found, *after} if found.get(name) != after.get(name))
            self.note(
                "killed",
                verb,
                (again.code == 0 or verb.once) and not other,
                (moment, again.code, again.error[-300:], other),
            )

    def twice(self, verb: Verb, times: int) -> None:
        """The same command beside one that stands still at a file operation."""
        _, after, whole = self.wanted(verb)
        draw = self.drawing("twice", verb)
        for _ in range(times):
            words = self.fresh(verb)
            moment = draw.randint(1, whole.operations)
            first, begun = fork(words, self.log, stop_at=moment), time.monotonic()
            os.waitpid(first, os.WUNTRACED)
            second = command(words, self.folder / "second.json")
            os.kill(first, signal.SIGCONT)
            ended = end(first, self.log, begun)
            polite = second.code == 0 or (refused(second) and f"process {first} on " in second.error)
            last = ended if ended.code == 0 else command(words, self.log)
            found = contents(self.place)
            other = sorted(name for name in {*found, *after} if found.get(name) != after.get(name))
            good = polite and (ended.code == 0 or refused(ended)) and (last.code == 0 or verb.once) and not other
            self.note("twice", verb, good, (moment, second, ended, other))

    def full(self, verb: Verb, times: int) -> None:
        """Disks of rising size, then one that is read-only, then room again."""
        draw = self.drawing("full", verb)
        with disk(self.place) as resize:
            resize("64m")
            before, after = self._on_disk(verb)
            for number in range(times + 1):
                self._empty()
                verb.old(self.run, self.place)
                old = [path.stat().st_size for path in self.place.rglob("*") if path.is_file()]
                held = sum(4096 * -(-size // 4096) for size in old)
                if number == times:
                    resize("64m,ro")
                else:
                    resize(f"{held // 1024 + 4 + draw.randint(0, 60)}k")
                stopped = command(verb.words(self.place), self.log)
                halfway = contents(self.place)
                lost = [name for name, old in before.items() if name not in halfway]
                resize("64m,rw")
                again = command(verb.words(self.place), self.log)
                found = contents(self.place)
                other = sorted(name for name in {*found, *after} if found.get(name) != after.get(name))
                good = (stopped.code == 0 or refused(stopped)) and not lost and (again.code == 0 or verb.once)
                good &= not other
                kind = "read-only" if number == times else "full" if stopped.code else "nearly full"
                self.note(kind, verb, good, (stopped, again.error[-200:], lost, other))

    def _on_disk(self, verb: Verb) -> tuple[dict[str, object], dict[str, object]]:
        self._empty()
        verb.old(self.run, self.place)
        before, ended = contents(self.place), command(verb.words(self.place), self.log)
        assert ended.code == 0, (verb.name, ended.error)
        return before, contents(self.place)

    def _empty(self) -> None:
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def disk(place: Path) -> Iterator[Callable[[str], None]]:
    """A tmpfs on a folder, and what changes its size.

    Raises:
        PermissionError: this process must not mount.
    """
    if place.exists():
        shutil.rmtree(place)
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        raise PermissionError("no right to mount a tmpfs")
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True) and None
    finally:
        subprocess.run(["umount", str(place)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="this verb alone, with its share of the kills; may be repeated")
    parser.add_argument("--kills-only", action="store_true", help="no second command beside one, and no full disk")
    parser.add_argument("--run", type=Path, help="a finished run that verbs begin with, in place of a new one")
    parser.add_argument("--minutes", type=float, default=600, help="begin no further verb after so long")
    parser.add_argument("--quick", action="store_true", help="a few trials of the quick verbs")
    options = parser.parse_args()
    wanted = options.only or (["export", "append"] if options.quick else [verb.name for verb in VERBS])
    kills, begun, left_out = (12 if options.quick else options.kills), time.monotonic(), ""
    shares = sum(verb.share for verb in VERBS)
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), options.seed, options.run)
        for verb in (verb for verb in VERBS if verb.name in wanted):
            if time.monotonic() - begun > 60 * options.minutes:
                left_out += f" {verb.name}"
                continue
            trials.kill(verb, -(-kills * verb.share // shares))
            if options.kills_only:
                continue
            trials.twice(verb, max(1, kills // 40))
            try:
                trials.full(verb, max(2, kills // 20))
            except PermissionError as error:
                left_out = f" full and read-only disks ({error})"
    for failure in trials.failures:
        print("FAILED", failure)
    report("crash", {"seed": options.seed, "left_out": left_out or "nothing"}, trials.counts)
    sys.exit(bool(trials.failures))


if __name__ == "__main__":
    main()

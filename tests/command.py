"""The command line as a program meets it: words in; exit code, output and errors out. And a world to match."""

import hashlib
import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

MODEL = (
    *("embed.width=16", "tokenizer.codebook_size=8", "tokenizer.code_width=8", "tokenizer.hidden=[16]"),
    *("tokenizer.num_clusters=4", "tokenizer.epochs=2", "tokenizer.batch_size=16", "tokenizer.warmup_steps=1"),
    *("behaviour.width=8", "behaviour.epochs=1"),
    *("generator.width=16", "generator.num_heads=2", "generator.head_width=8", "generator.inner=16"),
    *("generator.encoder_layers=1", "generator.decoder_layers=1", "thinking.interest_layers=1"),
    *("train.epochs=2", "train.batch_size=128", "train.warmup_steps=1", "train.lr=0.001"),
    *("evaluate.num_beams=10", "evaluate.valid_beams=10"),
)
"""Overrides that make every stage take well under a second."""

WORLD = (
    *("data.planted.departments=2", "data.planted.aisles=2", "data.planted.shelves=2", "data.planted.brands=3"),
    *("data.planted.variants=2", "data.planted.users=60", *MODEL),
)
"""A shop of 48 items and 60 shoppers, u01 to u60, and a model to match."""

STREAMS = (
    *("method=tiger", "data.planted.streams=24", "data.planted.topics=4", "data.planted.slices=6", *MODEL),
    *("data.planted.users=60", "slices.kind=windows", "slices.width=8", "slices.hidden=8", "slices.epochs=1"),
    *("tokenizer.kind=rq-kmeans", "graph.enabled=false", "train.epochs=1"),
)
"""24 channels, S01 to S24, whose content moves through 6 days from the first of January 2023."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def sidestep(*words: object) -> Done:
    """Run `sidestep WORDS...` in this process."""
    from sidestep.cli import app

    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            app([str(word) for word in words], prog_name="sidestep")
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    assert "Traceback" not in err.getvalue()
    return Done(code, out.getvalue(), err.getvalue())


def succeed(*words: object) -> Done:
    done = sidestep(*words)
    assert done.code == 0, done.err
    return done


def is_refusal(done: Done) -> bool:
    """Whether a mistake was answered in one line."""
    return done.code == 2 and sum(line.startswith("error: ") for line in done.err.splitlines()) == 1


def refuse(*words: object) -> str:
    """The one line that a mistake is answered with."""
    done = sidestep(*words)
    assert done.code == 2, (done.code, done.out, done.err)
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1
    return last


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Time and content of every file below a folder; empty where there is no folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, str]:
    """`snapshot` without the times."""
    return {name: digest for name, (_, digest) in snapshot(folder).items()}


def executable() -> str:
    return str(Path(sys.executable).with_name("sidestep"))

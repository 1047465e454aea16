"""What the first of several processes does alone, and a whole run by torchrun, one of whose processes is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sidestep.errors import SidestepError, TrainingError
from sidestep.pipeline.apart import first_alone, together
from two_processes import Say, dies, fails, says_who_it_is

SMALL = [
    *("data.planted.users=60", "data.planted.departments=1", "tokenizer.epochs=1", "generator.width=16"),
    *("generator.inner=16", "generator.encoder_layers=1", "generator.decoder_layers=1", "evaluate.valid_users=10"),
    *("train.batch_size=16", "train.checkpoint_seconds=0"),
]


def test_the_work_is_done_by_a_process_that_knows_no_launcher_and_says_its_lines_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    heard: list[str] = []
    first_alone(says_who_it_is, heard.append)
    assert heard == ["no rank"]
    assert os.environ["LOCAL_WORLD_SIZE"] == "1"


@pytest.mark.parametrize(("work", "words"), [(fails, "no rows"), (dies, "ended with exit code 7")])
def test_a_failure_there_is_one_sentence_here(work: Callable[[Say], None], words: str) -> None:
    with pytest.raises(SidestepError, match=words):
        first_alone(work, print)


def test_a_lost_process_is_a_sentence_and_another_error_stays_what_it_is() -> None:
    with pytest.raises(TrainingError, match="the same command resumes"), together():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242")
    with pytest.raises(RuntimeError, match="shape"), together():
        raise RuntimeError("shape mismatch")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def torchrun(out: Path, epochs: int) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sidestep"]
    words += ["train", "s2gr-planted", *SMALL, f"train.epochs={epochs}", "--out", str(out)]
    plain = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plain)


def whole_run(out: Path, epochs: int) -> None:
    training = torchrun(out, epochs)
    _, told = training.communicate(timeout=600)
    assert training.returncode == 0, told


def second_rank(launcher: int) -> int:
    """The process of rank 1 among the children of a launcher."""
    for child in map(int, Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()):
        if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes():
            return child
    raise AssertionError("no process of rank 1")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the second process in /proc")
def test_a_run_by_two_processes_survives_the_death_of_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole_run(whole, 3)
    training = torchrun(killed, 3)
    log = killed / "train" / "log.jsonl"
    deadline = time.monotonic() + 300
    while not log.exists() or not log.read_text().count("\n"):
        assert training.poll() is None, training.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(second_rank(training.pid), signal.SIGKILL)
    _, told = training.communicate(timeout=120)
    assert training.returncode != 0
    ours = [line for line in told.splitlines() if "resumes from the last checkpoint" in line]
    assert len(ours) == 1, told
    assert not (killed / "model").exists()

    whole_run(killed, 3)
    for name in ("model/tensors.safetensors", "sids/tensors.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()

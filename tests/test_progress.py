"""What is shown of long work where there is no terminal."""

import sys
from types import SimpleNamespace

import pytest

from sidestep import progress
from sidestep.progress import meter


def as_if_in(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_notebook_sees_one_line_that_replaces_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_if_in(monkeypatch, SimpleNamespace(kernel=object()))
    monkeypatch.setattr(progress, "_REWRITE_SECONDS", 0.0)
    with meter("train", 12) as shown:
        for done in (9, 10, 12):
            shown.update(done, "loss 1.25" if done < 12 else "")
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.endswith("\n")
    before, first, second, last = text.rstrip("\n").split("\r")
    assert before == ""
    assert first.startswith("train: 9/12 at 0.0/s loss 1.25")
    assert second.startswith("train: 10/12")
    assert last.startswith("train: 12/12")
    assert len(last) >= len(second)  # nothing of the longer line stays


def test_a_notebook_is_not_flooded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    as_if_in(monkeypatch, SimpleNamespace(kernel=object()))
    with meter("train", 1_000) as shown:
        for done in range(1, 1_001):
            shown.update(done)
    lines = capsys.readouterr().err.split("\r")
    assert lines[-1].startswith("train: 1000/1000")
    assert len(lines) < 50


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_elsewhere_quick_work_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: object
) -> None:
    as_if_in(monkeypatch, shell)
    with meter("train", 2) as shown:
        shown.update(1)
        shown.update(2)
    assert capsys.readouterr().err == ""


def test_long_work_elsewhere_prints_whole_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    with meter("train", 2) as shown:
        shown.update(1, "loss 2")
        shown.update(2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" at ")[0] for line in lines] == ["train: 1/2", "train: 2/2"]
    assert lines[0].endswith("loss 2")

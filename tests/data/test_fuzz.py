"""The short form of `benchmarks/fuzz.py`: whatever is done to a file, it is refused in one line or read rightly."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    import fuzz

    yield fuzz
    sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("seed", range(3))
def test_mutated_files_are_refused_in_one_line_or_read_as_plain_python_reads_them(fuzz: ModuleType, seed: int) -> None:
    tally = fuzz.run(150, seed, None, None)
    assert tally.failures == []
    assert sum(tally.accepted.values()) > 30
    assert sum(tally.refused.values()) > 30
    assert tally.counted > 20


def test_a_stopped_run_goes_on_with_the_same_inputs(fuzz: ModuleType, tmp_path: Path) -> None:
    whole = fuzz.run(20, 7, None, None)
    fuzz.run(9, 7, tmp_path / "state.json", None)
    assert vars(fuzz.run(20, 7, tmp_path / "state.json", None)) == vars(whole)


def test_a_wrong_count_is_a_failure_and_its_input_is_kept(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "expected", lambda *_: {"nobody": []})
    tally = fuzz.run(30, 0, None, tmp_path)
    assert tally.failures
    assert any("expected" in failure for failure in tally.failures)
    number = tally.failures[0].split()[0]
    assert {path.name for path in (tmp_path / number).iterdir()} == set(fuzz.case(0, int(number)).files)

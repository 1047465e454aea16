"""Cells are trained once, go on where they stopped, fail by name, and never outlive the study."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from command import WORLD, contents
from sidestep.errors import ArtifactError, TrainingError
from sidestep.studies import executing
from sidestep.studies.cells import Cell, CellResult
from sidestep.studies.recording import record
from sidestep.studies.running import State, run_cells, run_folder, states, table


def cell(method: str, seed: int = 0, *sets: str) -> Cell:
    return Cell(method, seed, (*WORLD, *sets), "s2gr-planted")


CELLS = [cell("tiger"), cell("popularity"), cell("item-knn")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[list[State]]]:
    """Folders of the cells and of the runs, and what was shown on the way."""
    folder, shown = tmp_path_factory.mktemp("study"), list[list[State]]()
    run_cells(CELLS, folder / "cells", runs=folder / "runs", cores=2, show=lambda now: shown.append([*now]))
    return folder / "cells", folder / "runs", shown


def test_every_cell_is_written_and_told_of(study: tuple[Path, Path, list[list[State]]]) -> None:
    files, _, shown = study
    assert all(each.path(files).is_file() for each in CELLS)
    assert shown[0][0].condition == "running"
    assert [state.condition for state in shown[-1]] == ["done"] * 3
    assert len(list(files.glob("planted/cases-*.json"))) == 1  # the same users in all of them


def test_finished_cells_are_read_and_nothing_is_trained(
    study: tuple[Path, Path, list[list[State]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, runs, _ = study
    monkeypatch.setattr(subprocess, "Popen", lambda *_: pytest.fail("a finished cell was run"))
    before = contents(runs)
    found = run_cells(CELLS, files, runs=runs)
    assert contents(runs) == before
    assert [found[each].method for each in CELLS] == ["tiger", "popularity", "item-knn"]
    assert found[CELLS[1]].training is None
    assert found[CELLS[1]].beams is None


def test_methods_without_training_are_ranked_as_beside_a_trained_one(
    study: tuple[Path, Path, list[list[State]]],
) -> None:
    files, runs, _ = study
    for each in CELLS[1:]:
        alone = CellResult.load(each.path(files))
        beside = record(run_folder(CELLS[0].path(files), runs), recipe="s2gr-planted", method=each.method)
        assert beside.grid == alone.grid
        assert beside.place == alone.place


def test_a_trained_run_without_its_cell_is_recorded_and_not_trained_again(
    study: tuple[Path, Path, list[list[State]]], tmp_path: Path
) -> None:
    files, runs, _ = study
    path = CELLS[0].path(files)
    model = run_folder(path, runs) / "model"
    before = contents(model)
    run_cells(CELLS[:1], tmp_path, runs=runs)
    assert contents(model) == before
    assert CELLS[0].path(tmp_path).read_bytes() == path.read_bytes()


def test_time_left_is_told_from_the_slowest_epoch_of_the_method_or_its_kind(
    study: tuple[Path, Path, list[list[State]]],
) -> None:
    files, runs, _ = study
    training = CellResult.load(CELLS[0].path(files)).training
    assert training is not None
    longer, akin, other = cell("tiger", 1, "train.epochs=6"), cell("s2gr", 0, "train.epochs=3"), cell("sasrec-ce")
    asked = [CELLS[0], longer, akin, other, cell("popularity", 1)]
    done, left, near, unknown, quick = states(asked, files, runs)
    assert (done.condition, left.condition, left.max_epochs) == ("done", "left", 6)
    assert left.minutes == pytest.approx(6 * training.seconds / training.done / 60)
    assert near.minutes == pytest.approx(left.minutes / 2)  # another generator: as slow as those that are known
    assert unknown.minutes is None
    assert (quick.condition, quick.max_epochs, quick.minutes) == ("left", 0, 0)
    lines = table([done, left, unknown]).splitlines()
    assert [line.split()[3].rstrip(",") for line in lines[:3]] == ["done", "left", "left"]
    assert lines[-1].startswith("1 of 3 cells done; about")
    assert lines[-1].endswith("and 1 of unknown length.")


def test_epochs_of_a_run_under_way_are_read_from_its_log(tmp_path: Path) -> None:
    each = cell("tiger", 0, "train.epochs=10")
    folder = run_folder(each.path(tmp_path), tmp_path / "runs") / "train"
    folder.mkdir(parents=True)
    rows = [{"step": epoch, "epoch": epoch, "seconds": 30.0 + 30 * epoch} for epoch in (0, 1)]
    rows[0]["score"] = 0.1
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epoch": 2, "sec')
    (state,) = states([each], tmp_path, tmp_path / "runs", {each: "running"})
    assert state == State(each, "running", 2, 10, 0.1, 8.0)
    assert "running, epoch 2 of 10, score 0.1000, 8 min left" in table([state])


def test_a_run_that_fails_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    wrong = cell("tiger", 0, "data.source=table", "data.path=/nowhere/shop")
    with pytest.raises(TrainingError, match=r"1 of 2 cells failed, the first: tiger, seed 0: error: .*nowhere"):
        run_cells([wrong, CELLS[1]], tmp_path / "cells", runs=tmp_path / "runs")
    assert CELLS[1].path(tmp_path / "cells").is_file()
    assert not wrong.path(tmp_path / "cells").exists()


def test_no_run_outlives_a_study_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def asleep(words: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        begun.append(popen(["sleep", "60"], **options))
        return begun[-1]

    def stop(now: Sequence[State]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(executing.subprocess, "Popen", asleep)
    with pytest.raises(KeyboardInterrupt):
        run_cells([cell("tiger"), cell("tiger", 1)], tmp_path / "cells", runs=tmp_path / "runs", cores=2, show=stop)
    assert len(begun) == 2
    assert all(child.returncode is not None for child in begun)


def test_short_lists_and_untrained_runs_are_no_cells(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"ranks 20 items, a cell 100; run its recipe again with evaluate.k=100"):
        record(finished)
    with pytest.raises(ArtifactError, match="No run in"):
        record(tmp_path)

"""A cell's file is the same whenever it is recorded; what is measured is kept beside it, and once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sidestep.errors import ArtifactError
from sidestep.studies import times
from sidestep.studies.cells import GRID, CellResult, DataPrint, Machine, Training

USERS = np.arange(3)


def cell(seconds: float, decoding: float) -> CellResult:
    return CellResult(
        method="tiger",
        recipe="",
        settings={"method": "tiger"},
        seed=0,
        ties="file",
        split="leave-one-out",
        k=100,
        beams=100,
        data=DataPrint("shop", 3, 4, 5, "digest"),
        training=Training(2, 2, 1, (0.5, None), seconds, 10, 20),
        machine=Machine("cpu", 1, "torch", "sidestep"),
        grid={place: {"num_users": 3} for place in GRID},
        ranks={"masked": USERS, "kept": USERS},
        users=USERS,
        lengths=USERS + 3,
        targets="targets",
        analysis={"code_1": 0.5, "seconds_per_user": decoding},
    )


def test_a_cell_recorded_twice_has_the_same_bytes_and_the_first_times(tmp_path: Path) -> None:
    first, second = cell(10.0, 0.25), cell(20.0, 0.5)
    path = first.save(tmp_path)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert second.save(tmp_path) == path
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    elsewhere = second.save(tmp_path / "elsewhere")
    assert elsewhere.read_bytes() == path.read_bytes()
    assert CellResult.load(path).training == first.training
    assert CellResult.load(elsewhere).analysis == second.analysis


def test_a_cell_without_its_times_is_read_and_does_not_know_them(tmp_path: Path) -> None:
    path = cell(10.0, 0.25).save(tmp_path)
    times.beside(path).unlink()
    back, training = CellResult.load(path), cell(10.0, 0.25).training
    assert training is not None
    assert back.training == replace(training, seconds=None)
    assert back.analysis == {"code_1": 0.5}


def test_a_cell_of_an_earlier_release_holds_its_times_itself(tmp_path: Path) -> None:
    path = cell(10.0, 0.25).save(tmp_path)
    whole = times.joined(path, json.loads(path.read_text()))
    times.beside(path).unlink()
    path.write_text(json.dumps(whole))
    back = CellResult.load(path)
    assert (back.training, back.analysis) == (cell(10.0, 0.25).training, cell(10.0, 0.25).analysis)


def test_apart_and_joined_are_inverse(tmp_path: Path) -> None:
    for whole in (
        {"training": {"seconds": 1.0, "done": 2}, "analysis": None, "method": "tiger"},
        {"training": None, "analysis": {"code_1": 0.5}, "method": "tiger"},
    ):
        rest, measured = times.apart(whole)
        assert "seconds" not in json.dumps(rest)
        path = tmp_path / f"{len(measured)}.json"
        times.keep(path, measured)
        assert times.joined(path, rest) == whole


@pytest.mark.parametrize(
    "text", ["", "[]", '{"training": 3}', '{"training": {"seconds": "long"}}', '{"analysis": [1]}']
)
def test_times_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    path = cell(10.0, 0.25).save(tmp_path)
    times.beside(path).write_text(text)
    with pytest.raises(ArtifactError, match=r"times\.json"):
        CellResult.load(path)

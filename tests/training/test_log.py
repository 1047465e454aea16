"""The log of a training: read as it was written, also while its last line is being written."""

import json
from pathlib import Path

import pytest

from sidestep.errors import ArtifactError
from sidestep.training.log import FILE, JsonLog, read_log

ROWS = [{"step": 8, "epoch": 0, "total": 0.5}, {"step": 16, "epoch": 1, "total": 0.25}]


def write(folder: Path) -> JsonLog:
    log = JsonLog(folder)
    for row in ROWS:
        log.write(row)
    return log


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    write(tmp_path)
    assert read_log(tmp_path) == ROWS == JsonLog(tmp_path).rows


def test_without_a_folder_rows_are_kept_in_memory_alone() -> None:
    log = JsonLog()
    log.write(ROWS[0])
    log.rewind(8)
    assert log.rows == ROWS[:1]


def test_a_torn_last_line_is_left_out_and_a_resumed_run_writes_over_it(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"step": 24, "ep')
    assert read_log(tmp_path) == ROWS
    resumed = JsonLog(tmp_path)
    resumed.rewind(8)
    resumed.write(ROWS[1])
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 2
    assert read_log(tmp_path) == ROWS


@pytest.mark.parametrize("line", ['{"step": 8, ', "[1, 2]", "epoch 3"])
def test_a_whole_line_that_is_no_object_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text(f"{json.dumps(ROWS[0])}\n{line}\n{json.dumps(ROWS[1])}\n")
    with pytest.raises(ArtifactError, match="Line 2 of"):
        read_log(tmp_path)

"""Shards: every row once and in its place, whoever does them and however often they are stopped."""

import sys
import threading
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from command import contents, snapshot
from shard_jobs import Doubling, Dying
from sidestep import artifact
from sidestep.errors import ArtifactError, ConfigError, DataError, EngineError, LockedError, MissingExtraError
from sidestep.launch import shards
from sidestep.launch.batch import run
from sidestep.launch.shards import Source
from sidestep.lock import held


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """The numbers 0 to 49 in files of 20, 0 and 30 rows."""
    return write(tmp_path / "in", 20, 0, 30)


def write(folder: Path, *sizes: int) -> Path:
    folder.mkdir()
    begin = 0
    for number, size in enumerate(sizes):
        pl.DataFrame({"number": range(begin, begin + size)}, schema={"number": pl.Int64}).write_parquet(
            folder / f"{number}.parquet"
        )
        begin += size
    return folder


def twice(out: Path) -> list[tuple[int, int]]:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("part-*.parquet"))]).rows()


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 50))
def test_every_row_is_in_one_shard_and_no_shard_has_too_many(sizes: list[int], rows: int) -> None:
    every = shards.shards_of([Source(Path(str(number)), size, "") for number, size in enumerate(sizes)], rows)
    covered = [(int(str(shard.path)), row) for shard in every for row in range(shard.begin, shard.begin + shard.rows)]
    assert covered == [(number, row) for number, size in enumerate(sizes) for row in range(size)]
    assert all(0 < shard.rows <= rows for shard in every)
    assert [shard.number for shard in every] == list(range(len(every)))


def test_the_output_has_the_rows_of_the_input_in_their_order_and_a_manifest_of_every_shard(
    numbers: Path, tmp_path: Path
) -> None:
    done = run(Doubling(), numbers, tmp_path / "out", rows=7)
    assert (done.shards, done.done, done.rows) == (8, 8, 50)
    assert twice(tmp_path / "out") == [(number, 2 * number) for number in range(50)]
    manifest = artifact.verify(tmp_path / "out")
    assert manifest.digest == done.digest
    assert set(manifest.files) == {"plan.json", *(f"part-{number:06d}.parquet" for number in range(8))}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_what_is_done_is_not_done_again(numbers: Path, tmp_path: Path) -> None:
    first = run(Doubling(), numbers, tmp_path / "out", rows=7)
    before = snapshot(tmp_path / "out")
    again = run(Doubling(refuses=3), numbers, tmp_path / "out", rows=7)
    assert (again.done, again.digest) == (0, first.digest)
    assert snapshot(tmp_path / "out") == before


def test_a_stopped_run_keeps_its_shards_and_ends_with_the_bytes_of_an_uninterrupted_one(
    numbers: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"2\.parquet', rows 7 to 13: the number 30 is refused \(4 of 8"):
        run(Doubling(refuses=30), numbers, out, rows=7)
    assert not (out / "manifest.json").exists()
    (out / ".part-000004.parquet.new").write_bytes(b"half")  # what a killed writer leaves
    before = snapshot(out)
    assert run(Doubling(), numbers, out, rows=7).done == 4
    after = snapshot(out)
    assert all(after[name] == before[name] for name in before if name.startswith("part-"))
    run(Doubling(), numbers, tmp_path / "whole", rows=7)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_shard_that_is_in_its_place_is_left_alone(numbers: Path, tmp_path: Path) -> None:
    """Its writer may have died between the rename and its answer."""
    [shard] = shards.shards_of(shards.sources_of(numbers / "0.parquet", ("number",)), 99)
    assert shards.write_shard(Doubling().open, shard, tmp_path).rows == 20
    before = snapshot(tmp_path)
    assert shards.write_shard(Doubling(refuses=3).open, shard, tmp_path) == shards.Outcome(0, 20)
    assert snapshot(tmp_path) == before


def test_a_folder_of_another_plan_or_of_other_things_is_refused_and_stays_as_it_is(
    numbers: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(Doubling(), numbers, out, rows=7)
    before = snapshot(out)
    with pytest.raises(ArtifactError, match="another plan \\(rows of a shard, settings\\)"):
        run(Doubling(offset=1), numbers, out, rows=8)
    pl.DataFrame({"number": range(100, 120)}).write_parquet(numbers / "0.parquet")  # as many rows
    with pytest.raises(ArtifactError, match="another plan \\(input\\)"):
        run(Doubling(), numbers, out, rows=7)
    with pytest.raises(ConfigError, match=r"is not empty and holds no plan\.json; name a new folder"):
        run(Doubling(), numbers, numbers, rows=7)
    with pytest.raises(ConfigError, match="is no folder"):
        run(Doubling(), numbers, numbers / "0.parquet", rows=7)
    assert snapshot(out) == before


def test_a_changed_shard_is_noticed_and_written_again_once_it_is_removed(numbers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    digest = run(Doubling(), numbers, out, rows=7).digest
    shard = out / "part-000002.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match="remove the file and run the same command"):
        run(Doubling(), numbers, out, rows=7)
    shard.unlink()
    again = run(Doubling(), numbers, out, rows=7)
    assert (again.done, again.digest) == (1, digest)


def test_bad_input_is_one_line_and_nothing_is_written(numbers: Path, tmp_path: Path) -> None:
    empty, damaged = tmp_path / "empty", write(tmp_path / "damaged", 5)
    empty.mkdir()
    (damaged / "1.parquet").write_bytes(b"PAR1 no more")
    cases = [
        (Doubling(), empty, r"There is no \*\.parquet file in the folder .* expected Parquet with the column number"),
        (Doubling(), tmp_path / "none", "There is no file or folder"),
        (Doubling(), damaged, "Cannot read .*1.parquet' as Parquet"),
    ]
    for job, source, words in cases:
        with pytest.raises(DataError, match=words):
            run(job, source, tmp_path / "out", rows=7)
    pl.DataFrame({"nunber": [1]}).write_parquet(damaged / "1.parquet")
    with pytest.raises(DataError, match="has no column 'number'; did you mean 'nunber'"):
        run(Doubling(), damaged, tmp_path / "out", rows=7)
    for wrong in ({"rows": 0}, {"rows": 7, "workers": 0}):
        with pytest.raises(ConfigError, match="both must be 1 or more"):
            run(Doubling(), numbers, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_without_ray_the_engine_ray_is_one_line(numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sidestep\[ray\]'"):
        run(Doubling(), numbers, tmp_path / "out", rows=7, engine="ray")


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one_and_a_killed_one_loses_and_doubles_nothing(
    numbers: Path, tmp_path: Path
) -> None:
    run(Doubling(), numbers, tmp_path / "one", rows=7)
    run(Doubling(), numbers, tmp_path / "two", rows=7, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    dying = Dying(at=25, flag=tmp_path / "died")
    with pytest.raises(EngineError, match="a worker process ended without an answer"):
        run(dying, numbers, tmp_path / "killed", rows=7, workers=2)
    assert (tmp_path / "died").exists()
    assert not (tmp_path / "killed" / "part-000003.parquet").exists()
    run(dying, numbers, tmp_path / "killed", rows=7, workers=2)
    assert contents(tmp_path / "killed") == contents(tmp_path / "one")
    with pytest.raises(DataError, match="the number 45 is refused"):
        run(Doubling(refuses=45), numbers, tmp_path / "refused", rows=7, workers=2)


def test_one_command_at_a_time_writes_a_folder(numbers: Path, tmp_path: Path) -> None:
    problems: list[Exception] = []

    def other() -> None:
        try:
            run(Doubling(), numbers, tmp_path / "out", rows=7)
        except LockedError as error:
            problems.append(error)

    with held(tmp_path / ".out.lock", tmp_path / "out"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(problems) == 1

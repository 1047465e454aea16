"""Ray, on a cluster of two cores that is started once: the bytes of the local engine, of a study's cells, too, also
when a worker is killed.

Everything here needs `pip install 'sidestep[ray]'` and takes minutes; nothing else in the tests imports Ray.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import polars as pl
import pytest

from command import WORLD, contents, refuse, succeed
from shard_jobs import Doubling, Dying
from sidestep import load
from sidestep.errors import DataError, TrainingError
from sidestep.launch.batch import run
from sidestep.launch.ray_cells import trainings
from sidestep.launch.ray_data import session
from sidestep.launch.ray_serve import Cluster, editions
from sidestep.pipeline.answering import Answering
from sidestep.pipeline.run import LOCK
from sidestep.serving.settings import Settings
from sidestep.studies import times
from sidestep.studies.cells import Cell, run_folder
from sidestep.studies.child import ENDS_WITH_INPUT
from sidestep.studies.executing import Crew, Process
from sidestep.studies.judging import Making, judge
from sidestep.studies.running import State, run_cells

ray = pytest.importorskip("ray", reason="no Ray; pip install 'sidestep[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of its dependencies and of sockets that it leaves open
]
TESTS, PORT = Path(__file__).parents[1], 18_231


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One for all tests of this module. Its workers find the tests' own modules and see the shapes unchecked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", os.environ.get("RAY_TMPDIR", "/tmp"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        patch.delenv("RAY_ADDRESS", raising=False)
        with session(2):
            yield


def write(folder: Path, *sizes: int) -> Path:
    folder.mkdir()
    begin = 0
    for number, size in enumerate(sizes):
        pl.DataFrame({"number": range(begin, begin + size)}).write_parquet(folder / f"{number}.parquet")
        begin += size
    return folder


def test_embedding_assignment_and_lists_have_the_bytes_of_the_local_engine(finished: Path, tmp_path: Path) -> None:
    model = load(finished)
    table = model.catalog.table.drop("text")
    (tmp_path / "items").mkdir()
    for number in range(3):
        named = pl.Series("item_id", [f"{number}-{row}" for row in range(len(table))])
        table.with_columns(named).write_parquet(tmp_path / "items" / f"{number}.parquet")
    users = model.interactions.user_ids
    histories = pl.DataFrame({"user_id": users, "history": model.histories_of(users)})
    histories.write_parquet(tmp_path / "histories.parquet")
    for engine in ("local", "ray"):
        words = ("--engine", engine, "--workers", 2 if engine == "ray" else 1, "--rows", 20)
        out = tmp_path / engine
        succeed("batch", "embed", finished, tmp_path / "items", "--out", out / "vectors", *words)
        succeed("batch", "assign", finished, out / "vectors", "--out", out / "ids", *words)
        succeed("batch", "recommend", finished, tmp_path / "histories.parquet", "--out", out / "lists", *words)
    assert len(list((tmp_path / "ray" / "vectors").glob("part-*.parquet"))) == 9
    assert contents(tmp_path / "local") == contents(tmp_path / "ray")


def test_a_worker_that_is_killed_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    numbers, flag = write(tmp_path / "in", 60, 40), tmp_path / "died"
    run(Doubling(), numbers, tmp_path / "local", rows=7)
    done = run(Dying(at=45, flag=flag, pause=0.1), numbers, tmp_path / "ray", rows=7, workers=2, engine="ray")
    assert flag.exists()  # it died, and Ray gave its shard to another
    assert (done.shards, done.done, done.rows) == (15, 15, 100)
    assert contents(tmp_path / "local") == contents(tmp_path / "ray")


def test_what_one_engine_began_the_other_ends_and_a_mistake_is_the_same_line(finished: Path, tmp_path: Path) -> None:
    numbers = write(tmp_path / "in", 40)
    with pytest.raises(DataError, match=r"0\.parquet', rows 21 to 27: the number 25 is refused"):
        run(Doubling(refuses=25), numbers, tmp_path / "out", rows=7, workers=2, engine="ray")
    assert run(Doubling(), numbers, tmp_path / "out", rows=7).done < 6
    run(Doubling(), numbers, tmp_path / "whole", rows=7)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    pl.DataFrame({"user_id": ["a"], "history": [["nothing"]]}).write_parquet(tmp_path / "h.parquet")
    words = ("batch", "recommend", finished, tmp_path / "h.parquet", "--out")
    lines = [refuse(*words, tmp_path / engine, "--engine", engine) for engine in ("local", "ray")]
    assert lines[0] == lines[1]


def test_a_command_by_itself_starts_a_cluster_and_prints_what_the_local_one_prints(
    finished: Path, tmp_path: Path
) -> None:
    users = load(finished).interactions.user_ids[:4]
    pl.DataFrame(
        {"user_id": users, "history": [[]] * 4}, schema_overrides={"history": pl.List(pl.String)}
    ).write_parquet(tmp_path / "h.parquet")
    words = [
        sys.executable,
        "-m",
        "sidestep",
        "batch",
        "recommend",
        str(finished),
        str(tmp_path / "h.parquet"),
        "--out",
    ]
    shown = []
    for engine in ("local", "ray"):
        done = subprocess.run(
            [*words, "lists", "--engine", engine], capture_output=True, text=True, cwd=_folder(tmp_path / engine)
        )
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    assert shown[0] == shown[1]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_study_has_the_cells_of_one_in_processes_though_a_worker_is_killed(tmp_path: Path) -> None:
    cells = [Cell("tiger", seed, (*WORLD, "train.epochs=6"), "s2gr-planted") for seed in (0, 1)]
    run_cells(cells, tmp_path / "processes", runs=tmp_path / "runs-here")
    files, runs, killed = tmp_path / "ray", tmp_path / "runs-of-ray", list[int]()
    folder = run_folder(cells[0].path(files), runs)

    def kill(now: Sequence[State]) -> None:
        """The worker of the first cell, after its first epoch."""
        if not killed and now[0].condition == "running" and now[0].epoch:
            killed.extend(workers_of(folder))
            os.kill(killed[0], signal.SIGKILL)

    with trainings(2, ENDS_WITH_INPUT) as begin:
        run_cells(cells, files, runs=runs, cores=2, show=kill, begin=begin)
    assert len(killed) == 1
    made = {name: found for name, found in contents(files).items() if not name.endswith(times.SUFFIX)}
    assert len(made) == 4  # a seed is another world, with other cases
    assert made == {name: found for name, found in contents(tmp_path / "processes").items() if name in made}


def test_a_study_of_tokenizers_has_the_ids_and_figures_of_one_in_processes(tmp_path: Path) -> None:
    only = ["rq-kmeans", "pq"]
    for name, by in (("processes", Process), ("ray", None)):
        with trainings(2, ENDS_WITH_INPUT) if by is None else nullcontext(by) as begin:
            judge(
                "table3",
                "s2gr-planted",
                WORLD,
                [0, 1],
                tmp_path / name,
                print,
                only=only,
                making=Making(crew=Crew(begin, 2)),
            )
    made, other = contents(tmp_path / "processes"), contents(tmp_path / "ray")
    kept = [name for name in made if name.endswith((".safetensors", "study.json"))]
    assert len(kept) > 4
    assert {name: made[name] for name in kept} == {name: other[name] for name in kept}


def workers_of(folder: Path) -> list[int]:
    """The processes that began `sidestep run ... --out FOLDER`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int((process / "stat").read_text().rpartition(")")[2].split()[1]))
    return found


def test_a_training_that_fails_on_ray_says_why_and_one_that_is_stopped_ends(tmp_path: Path) -> None:
    wrong = Cell("tiger", 0, (*WORLD, "data.source=table", "data.path=/nowhere/shop"), "s2gr-planted")
    with trainings(2, ENDS_WITH_INPUT) as begin:
        with pytest.raises(TrainingError, match=r"1 of 1 cells failed, the first: tiger, seed 0: error: .*nowhere"):
            run_cells([wrong], tmp_path / "cells", runs=tmp_path / "runs", begin=begin)
        long = ["run", "s2gr-planted", *WORLD, "train.epochs=10000", "--out", str(tmp_path / "long")]
        child = begin(long, tmp_path / "long.log", tmp_path / "long" / LOCK, 1)
        while not workers_of(tmp_path / "long"):
            time.sleep(0.2)
        child.terminate()
        child.close()
        until = time.monotonic() + 60
        while workers_of(tmp_path / "long"):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert child.poll()  # the command's own code, or 1 where its worker ended first


def test_serve_answers_as_the_library_and_changes_bundles_under_load_without_a_failed_request(
    finished: Path, tmp_path: Path
) -> None:
    bundle, other = tmp_path / "shop", tmp_path / "other"
    succeed("export", finished, "--to", bundle)
    succeed("export", finished, "--to", other, "--field", "title")
    history = load(bundle).catalog.item_ids[:3]
    expected = load(bundle).recommend(history, k=4).item_ids
    cluster = Cluster(Answering, Settings({"shop": bundle}, deadline_ms=60_000), (2, 2), cores=0.5)
    cluster.start("127.0.0.1", PORT)
    seen: list[tuple[int, str, list[str]]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(post({"history": history, "k": 4}))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    try:
        first = editions({"shop": bundle})["shop"][:12]
        assert post({"history": history, "k": 4}) == (200, first, expected)
        for asker in askers:
            asker.start()
        shutil.rmtree(bundle)
        other.rename(bundle)
        second = cluster.change()["shop"][:12]
        assert second != first
        until = time.monotonic() + 120
        while {edition for _, edition, _ in seen[-20:]} != {second} and time.monotonic() < until:
            time.sleep(0.2)
    finally:
        stop.set()
        for asker in askers:
            asker.join()
        cluster.stop()
    assert {status for status, _, _ in seen} == {200}
    assert {edition for _, edition, _ in seen} == {first, second}
    assert {edition for _, edition, _ in seen[-20:]} == {second}
    assert all(items == expected for _, _, items in seen)


def post(body: dict[str, object]) -> tuple[int, str, list[str]]:
    """Status, edition and items."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/recommend", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=90) as answer:
        content = json.load(answer)
    return answer.status, content["bundle"], [each["item_id"] for each in content["recommendations"]]

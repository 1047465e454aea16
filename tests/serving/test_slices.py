"""A served bundle takes new slices of time: no request fails meanwhile, and no answer is off air."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from air_model import AirModel
from starlette.testclient import TestClient
from test_standing import ADMIN, Standing

from sidestep import bundle
from sidestep.pipeline.exporting import export
from sidestep.pipeline.further_slices import add
from sidestep.pipeline.run import Run
from sidestep.serving.app import make_app
from sidestep.serving.settings import Settings

DAY = 86_400_000
Posts = Callable[..., Any]


@pytest.fixture
def folder(streams: Path, tmp_path: Path) -> Path:
    export(Run.open(streams), tmp_path / "live")
    return tmp_path / "live"


class Air:
    """What is on air in every edition of a bundle, by its short digest."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.known = folder, dict[str, set[str]]()
        self.note()

    def note(self) -> None:
        opened = bundle.read(self.folder)
        now = np.flatnonzero(opened.tensors(bundle.SLICES)["on_air"][-1])
        self.known[opened.digest[:12]] = {opened.catalog.item_ids[item] for item in now}

    def moves_on(self, number: int) -> None:
        """The next slice: other channels, other content."""
        rng = np.random.default_rng(number)
        opened = bundle.read(self.folder)
        on_air = rng.permutation(opened.catalog.item_ids)[: 6 + number % 5].tolist()
        start = opened.meta["slice"] + DAY
        vectors = rng.standard_normal((len(on_air), 16)).tolist()
        table = pl.DataFrame({"item_id": on_air, "start": [start] * len(on_air), "vector": vectors})
        table.write_parquet(self.folder.parent / "now.parquet")
        add(self.folder, self.folder.parent / "now.parquet")
        self.note()


@contextmanager
def under_load(post: Posts, clients: int) -> Iterator[list[Any]]:
    """Clients that ask one question after the other while the block runs; their answers."""
    answers: list[Any] = []
    stop = threading.Event()

    def ask(number: int) -> None:
        while not stop.is_set():
            history = [f"S{1 + (number + len(answers)) % 24:02}"]
            body = {"history": history, "k": 5, "filters": {"exclude_seen": False}, "deadline_ms": 60_000}
            answers.append(post("/v1/recommend", json=body))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def check(answers: list[Any], air: Air, changes: int) -> None:
    """No failed request, no answer off air, and every edition has answered."""
    assert {answer.status_code for answer in answers} == {200}
    for answer in (each.json() for each in answers):
        found = [each["item_id"] for each in answer["recommendations"]]
        assert len(found) == 5
        assert set(found) <= air.known[answer["bundle"]]
    assert len(air.known) == changes + 1
    assert {answer.json()["bundle"] for answer in answers} == set(air.known)


def test_slices_change_under_load(folder: Path) -> None:
    settings, air = Settings({"live": folder}, admin_key=ADMIN), Air(folder)
    with TestClient(make_app(AirModel, settings)) as client, under_load(client.post, 2) as answers:
        for number in range(2):
            air.moves_on(number)
            told = client.post("/v1/admin/reload", headers={"X-API-Key": ADMIN})
            assert told.json()["reloaded"]["live"] in air.known
            count = len(answers)
            while len(answers) < count + 4:  # the new edition answers
                threading.Event().wait(0.01)
        [model] = client.get("/v1/models").json()["models"]
        assert model["slice"] == bundle.read(folder).meta["slice"]
    check(answers, air, 2)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_twenty_slices_change_under_load_with_a_model(folder: Path) -> None:
    air, standing = Air(folder), Standing(f"live={folder}")
    try:
        with under_load(standing.client.post, 4) as answers:
            for number in range(20):
                air.moves_on(number)
                told = standing.client.post("/v1/admin/reload", headers={"X-API-Key": ADMIN})
                assert told.status_code == 200, told.text
                count = len(answers)
                while len(answers) < count + 8:
                    threading.Event().wait(0.01)
        print(f"{len(answers)} answers")
        check(answers, air, 20)
    finally:
        assert standing.stop() == 0


def test_a_copy_that_is_half_a_slice_is_refused_and_the_old_one_stays(folder: Path, tmp_path: Path) -> None:
    """The slices of one bundle beside the tree of another."""
    settings, air = Settings({"live": folder}, admin_key=ADMIN), Air(folder)
    with TestClient(make_app(AirModel, settings)) as client:
        before = client.get("/v1/models").json()
        shutil.copytree(folder, tmp_path / "old")
        air.moves_on(0)
        shutil.copy(tmp_path / "old" / bundle.SLICES, folder / bundle.SLICES)
        told = client.post("/v1/admin/reload", headers={"X-API-Key": ADMIN})
        assert told.status_code == 500
        assert "was changed after it was written" in told.json()["error"]["message"]
        assert client.get("/v1/models").json() == before

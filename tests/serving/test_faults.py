"""A model that hangs, a manifest that is damaged, a store that goes: what a server's clients and operator see of it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient
from stub_model import GATE, HANGS_AT, StubModel

from sealing import reseal
from sidestep import artifact
from sidestep.serving.app import make_app
from sidestep.serving.settings import Settings

SECONDS = 60.0
"""How long anything may take on a machine that is busy."""
ADMIN = {"X-API-Key": "simsim"}


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "shop"))


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings({"shop": folder}, histories=str(tmp_path / "kept.sqlite"), admin_key="simsim", hang_seconds=0.5)
    with TestClient(make_app(StubModel, settings)) as client:
        yield client


def wait_for(found: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < until
        time.sleep(0.02)


def ask(client: TestClient, *items: int) -> Any:
    history = [f"P{item:02}" for item in items]
    return client.post("/v1/recommend", json={"history": history, "deadline_ms": 60_000})


def test_a_model_that_hangs_is_not_ready_and_is_replaced(client: TestClient, folder: Path) -> None:
    item_id = client.app.state.server.editions.all[0].shelf.item_ids[HANGS_AT]  # type: ignore[attr-defined]
    (folder.parent / GATE).touch()
    hung = client.post("/v1/recommend", json={"history": [item_id], "deadline_ms": 60_000})
    assert hung.status_code == 503
    assert "did not answer within 0.5 seconds" in hung.json()["error"]["message"]
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    (folder.parent / GATE).unlink()
    wait_for(lambda: client.get("/readyz").status_code == 200)
    assert 'sidestep_process_restarts{model="shop"} 1.0' in client.get("/metrics").text
    assert ask(client, 1).status_code == 200


def without_titles(folder: Path) -> None:
    table = pl.read_parquet(folder / "items.parquet")
    table.drop("title").write_parquet(folder / "items.parquet")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    reseal(folder, files=files | {"items.parquet": artifact.file_hash(folder / "items.parquet")})


def meta(folder: Path, **changes: Any) -> None:
    reseal(folder, meta=json.loads((folder / "manifest.json").read_text())["meta"] | changes)


def writes(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "manifest.json").write_bytes(content)


def as_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": writes(b""),
    "half": lambda folder: writes((folder / "manifest.json").read_bytes()[:300])(folder),
    "no text": writes(b"\xff\xfe\x00"),
    "a list": writes(b"[]"),
    "deep": writes(b"[" * 100_000),
    "a long number": writes(b'{"kind": ' + b"1" * 5_000 + b"}"),
    "no keys": writes(b"{}"),
    "files of another type": writes(
        b'{"kind": "bundle", "version": 1, "meta": {}, "config": {}, "parents": {}, "files": 3}'
    ),
    "another kind": lambda folder: reseal(folder, kind="catalog"),
    "no files": lambda folder: reseal(folder, files={}),
    "a file elsewhere": lambda folder: reseal(folder, files={"../../etc/passwd": "0"}),
    "no meta": lambda folder: reseal(folder, meta={}),
    "sizes as text": lambda folder: meta(folder, codebook_sizes="8"),
    "levels missing": lambda folder: meta(folder, codebook_sizes=[8]),
    "too few items": lambda folder: meta(folder, num_items=3),
    "a window of nothing": lambda folder: meta(folder, reads={"recent": 0, "long": 0, "times": False}),
    "a method of numbers": lambda folder: meta(folder, method=3),
    "no titles": without_titles,
    "a folder": as_folder,
    "gone": lambda folder: (folder / "manifest.json").unlink(),
}


def test_a_damaged_manifest_is_refused_in_one_sentence_and_the_old_bundle_stays(
    client: TestClient, folder: Path, exported: Path
) -> None:
    before, answer = client.get("/v1/models").json(), ask(client, 1).json()
    for name, damage in DAMAGES.items():
        damage(folder)
        told = client.post("/v1/admin/reload", headers=ADMIN)
        assert told.status_code == 500, name
        message = told.json()["error"]["message"]
        assert len(message.splitlines()) == 1, name
        assert len(message) < 600, name
        assert str(folder) in message, name
        assert (client.get("/v1/models").json(), ask(client, 1).json()) == (before, answer), name
        shutil.rmtree(folder)
        shutil.copytree(exported, folder)
    assert client.post("/v1/admin/reload", headers=ADMIN).status_code == 200


def test_events_are_not_acknowledged_by_a_store_that_is_gone(client: TestClient, tmp_path: Path) -> None:
    sent = {"events": [{"user_id": "u", "item_id": "P01", "event_id": "e1"}]}
    assert client.post("/v1/events", json=sent).json()["accepted"] == 1
    (tmp_path / "kept.sqlite").rename(tmp_path / "elsewhere")
    sent["events"][0]["event_id"] = "e2"
    for told in (
        client.post("/v1/events", json=sent),
        client.get("/v1/users/u"),
        client.post("/v1/recommend", json={"user_id": "u"}),
    ):
        assert told.status_code == 503
        assert told.json()["error"]["message"] == "The store of histories does not answer; try again"
    assert client.get("/readyz").status_code == 503
    assert ask(client, 1).status_code == 200
    (tmp_path / "elsewhere").rename(tmp_path / "kept.sqlite")
    wait_for(lambda: client.get("/readyz").status_code == 200)
    assert client.post("/v1/events", json=sent).json()["accepted"] == 1

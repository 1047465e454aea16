"""A tiny trained shop as a bundle, and a server on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from sidestep.pipeline.answering import Answering
from sidestep.pipeline.exporting import export
from sidestep.pipeline.run import Run
from sidestep.serving.app import make_app
from sidestep.serving.settings import Settings


@pytest.fixture(scope="session")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle's folder. Read it only; copy it to change it."""
    folder = tmp_path_factory.mktemp("bundles") / "shop"
    export(Run.open(finished), folder)
    return folder


@pytest.fixture(scope="session")
def shop(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server that serves the shop twice, as `shop` and `twin`, and keeps histories."""
    folder = tmp_path_factory.mktemp("kept")
    settings = Settings({"shop": exported, "twin": exported}, histories=str(folder / "kept.sqlite"), deadline_ms=30_000)
    with TestClient(make_app(Answering, settings)) as client:
        yield client

"""Every shape and type of the package is checked while it is tested; nothing may leave the machine."""

import os
import random
import socket
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from jaxtyping import install_import_hook

# Checks draw the entry of a list that they look at. From Python's shared generator, a thread would change what
# Hypothesis draws from at that moment, which then calls the test flaky.
with mock.patch("random.getrandbits", random.Random(0).getrandbits):
    from beartype._check.code import codemain as _  # noqa: F401

install_import_hook("sidestep", "beartype.beartype")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        raise AssertionError(f"a test tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def _data(name: str) -> Path:
    root = Path(os.environ.get("SIDESTEP_DATA", Path(__file__).parents[1] / "../shared/data"))
    if not (root / name).is_dir():
        pytest.skip(f"{name} is not in {root}; set SIDESTEP_DATA to the folder that holds it")
    return root / name


@pytest.fixture(scope="session")
def beauty() -> Path:
    return _data("beauty")


@pytest.fixture(scope="session")
def kuairand() -> Path:
    return _data("kuairand")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny planted world, trained and evaluated. Read it only; copy it to change it."""
    from command import WORLD, succeed

    folder = tmp_path_factory.mktemp("runs") / "finished"
    succeed("run", "s2gr-planted", *WORLD, "--out", folder)
    return folder


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of tiny planted streams, whose semantic IDs follow content. Read it only."""
    from command import STREAMS, succeed

    folder = tmp_path_factory.mktemp("runs") / "streams"
    made = succeed("run", "s2gr-planted", *STREAMS, "--out", folder)
    assert "windows: 6 slices" in made.err
    assert "of the items on air in each" in made.err
    return folder

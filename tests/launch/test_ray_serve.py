"""What needs no Ray of the server on Ray: which replica changes its bundles, and what is refused."""

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from command import refuse
from sidestep.cli.parsing import read_replicas
from sidestep.errors import ArtifactError, ConfigError
from sidestep.launch.ray_serve import Cluster, follow
from sidestep.pipeline.answering import Answering
from sidestep.serving.settings import Settings


@dataclass
class Replica:
    """A server that is open with bundles of these digests."""

    digests: dict[str, str]
    problem: Exception | None = None
    reloads: int = 0
    editions: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        open_now = [SimpleNamespace(name=name, digest=digest[:4]) for name, digest in self.digests.items()]
        self.editions = SimpleNamespace(all=open_now)

    async def reload(self) -> None:
        self.reloads += 1
        if self.problem is not None:
            raise self.problem


@pytest.mark.parametrize(
    ("open_now", "wanted", "reloads"),
    [
        ({}, {"a": "12345"}, 0),  # it opens by itself, with what is there
        ({"a": "12345"}, {"a": "12345"}, 0),
        ({"a": "12345"}, {"a": "99999"}, 1),
        ({"a": "12345", "b": "67890"}, {"a": "12345", "b": "99999"}, 1),
    ],
)
def test_a_replica_reloads_where_its_bundles_are_not_the_wanted_ones(
    open_now: dict[str, str], wanted: dict[str, str], reloads: int
) -> None:
    replica = Replica(open_now)
    asyncio.run(follow(replica, wanted))
    assert replica.reloads == reloads


def test_a_bundle_that_does_not_load_leaves_the_old_one_in_service(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="sidestep.serving"):
        asyncio.run(follow(Replica({"a": "1"}, ArtifactError("altered")), {"a": "2"}))
    assert "the old bundles stay in service: altered" in caplog.text


@pytest.mark.parametrize(("text", "numbers"), [("1", (1, 1)), ("3", (3, 3)), ("1:4", (1, 4))])
def test_replicas_are_one_number_or_bounds(text: str, numbers: tuple[int, int]) -> None:
    assert read_replicas(text, "ray") == numbers


@pytest.mark.parametrize("text", ["0", "", "4:1", "a", "1:b", "-1", ":3", "1:2:3"])
def test_other_replicas_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a number from 1, or two as in 1:4"):
        read_replicas(text, "ray")


def test_replicas_without_ray_and_histories_in_a_file_are_one_line(tmp_path: Path) -> None:
    assert "--replicas 2 needs --engine ray" in refuse("serve", tmp_path, "--replicas", 2)
    settings = Settings({"a": tmp_path}, histories="kept.sqlite")
    with pytest.raises(ConfigError, match=r"'kept\.sqlite' is a file of one machine"):
        Cluster(Answering, settings, (1, 1))

"""When a history's items were taken, and when the answer is wanted: from a request to the model that reads it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noting import Noting
from sidestep import bundle
from sidestep.data.interactions import NO_TIME
from sidestep.data.reads import Reads
from sidestep.pipeline.answering import Answering
from sidestep.serving import schema
from sidestep.serving.batcher import Row
from sidestep.serving.editions import Edition
from sidestep.serving.events import Event
from sidestep.serving.histories import open_histories
from sidestep.serving.server import Server
from sidestep.serving.settings import Settings
from sidestep.serving.shelf import Shelf

READS = Noting.reads


def opened(folder: Path, **meta: Any) -> bundle.Bundle:
    found = bundle.read(folder)
    return bundle.Bundle(folder, replace(found.manifest, meta={**found.meta, **meta}))


@pytest.fixture(scope="module")
def timed(exported: Path) -> Shelf:
    """The shop's shelf, as if its model read times."""
    return Shelf(opened(exported, reads=vars(READS)))


def prepared(shelf: Shelf, server: Server | None = None, **asked: Any) -> Row:
    """The row that a request becomes."""
    edition = Edition.__new__(Edition)  # without a process
    edition.shelf = shelf
    server = server or Server(Answering, Settings({}))
    return asyncio.run(server._row(edition, schema.RecommendRequest.model_validate(asked)))[0]


def test_times_stand_beside_the_known_items_that_the_model_reads(timed: Shelf) -> None:
    times = [(item_id, 2e9 + second / 4) for second, item_id in enumerate(["P01", "P02", "unknown", "P03", "P04"])]
    history = [{"item_id": item_id, "time": time} for item_id, time in reversed(times)]
    row = prepared(timed, history=history, at="2033-05-18T03:33:30Z")
    assert [timed.item_ids[item] for item in row.history] == ["P02", "P03", "P04"]
    assert row.times == [2_000_000_000_250, 2_000_000_000_750, 2_000_000_001_000]
    assert row.at == 2_000_000_010_000
    assert len(row.excluded) == 4  # all of the history counts as seen


def test_unknown_times_are_unknown(timed: Shelf) -> None:
    row = prepared(timed, history=["P01", {"item_id": "P02", "time": 2e9}])
    assert (row.times, row.at) == ([NO_TIME, 2_000_000_000_000], NO_TIME)


def test_times_of_events_that_the_server_keeps_are_read(timed: Shelf, tmp_path: Path) -> None:
    server = Server(Answering, Settings({}))
    server._histories = open_histories(str(tmp_path / "kept.sqlite"), 10)
    events = [Event("ann", f"P0{n}", 2e9 - n / 2) for n in (1, 2, 3)]
    assert asyncio.run(server.histories.append(events)) == 3
    row = prepared(timed, server, user_id="ann", at=2_000_000_000_000)
    assert [timed.item_ids[item] for item in row.history] == ["P03", "P02", "P01"]
    assert row.times == [1_999_999_998_500, 1_999_999_999_000, 1_999_999_999_500]
    asyncio.run(server.histories.close())


def test_a_row_for_a_model_that_reads_no_times_carries_none(exported: Path) -> None:
    row = prepared(Shelf(bundle.read(exported)), history=[{"item_id": "P01", "time": 5}], at="2033-05-18")
    assert row.times is None


def test_a_bundle_of_before_reads_its_window_alone(exported: Path) -> None:
    found = bundle.read(exported)
    assert found.reads == Reads(found.meta["max_history"])
    older = {name: value for name, value in found.meta.items() if name not in ("reads", "absolute_times")}
    old = bundle.Bundle(exported, replace(found.manifest, meta=older))
    assert (old.reads, old.absolute_times) == (found.reads, False)
    assert found.absolute_times  # the planted shop has a clock


def test_a_bundle_names_the_models_whole_reading(exported: Path) -> None:
    assert opened(exported, reads=vars(READS)).reads == READS


def test_the_models_process_hands_on_what_a_row_carries(exported: Path) -> None:
    answering = Answering(exported, bundle.read(exported).digest, 1)
    noting = Noting()
    answering.model = noting
    answering.answer([[1, 2, 3], [4]], [[], []], 2, None, None, False, [[10, 20, 30], [NO_TIME]], [40, NO_TIME])
    answering.answer([[1, 2, 3]], [[]], 2, None, None, False)
    timed, plain = noting.batches
    assert timed.long is not None
    assert timed.long.tolist() == [[1], [-1]]
    assert timed.times is not None
    assert timed.times.tolist() == [[20, 30], [NO_TIME, NO_TIME]]
    assert timed.asked is not None
    assert timed.asked.tolist() == [[40], [NO_TIME]]
    assert timed.absolute_times
    assert plain.asked is not None
    assert plain.asked.tolist() == [[NO_TIME]]

"""The two real sets read to the counts their papers and README state. Skipped where the data is not at hand."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidestep.config import build
from sidestep.data.inspect import inspect
from sidestep.data.interactions import NO_TIME
from sidestep.data.sources import DataConfig, Dataset, read
from sidestep.data.splits import SplitConfig, split
from sidestep.methods.starting import recipe

BEAUTY: dict[str, Any] = {
    "interactions": "interactions.csv.gz",
    "items": "items.jsonl.gz",
    "item_id": "asin",
    "order": "position",
    "time": "rel_seconds",
    "time_unit": "s",
    "absolute_times": False,
    "text_fields": ["title", "brand", "categories"],
}
KUAIRAND: dict[str, Any] = {
    "interactions": "interactions_longview.csv.gz",
    "items": "videos.csv.gz",
    "item_key": "video_id",
    "order": "position",
    "time": "time_ms",
    "time_unit": "ms",
    "text_fields": [],
}


@cache
def as_shipped(folder: Path) -> Dataset:
    return load(folder, BEAUTY if folder.name == "beauty" else KUAIRAND)


def load(folder: Path, settings: dict[str, Any], seed: int = 0, **more: object) -> Dataset:
    return read(build(DataConfig, {"path": str(folder), **settings, **more}), seed)


def counts(data: Dataset) -> tuple[int, int, int]:
    return data.interactions.num_users, len(data.catalog), len(data.interactions)


def test_beauty_is_exactly_the_literatures_set(beauty: Path) -> None:
    data = as_shipped(beauty)
    log = data.interactions
    assert counts(data) == (22_363, 12_101, 198_502)
    assert (log.lengths.min(), log.lengths.max()) == (5, 204)
    assert round(float(log.lengths.mean()), 3) == 8.876
    assert data.notes == []
    assert log.times is not None
    last = log.offsets[1:] - 1
    assert int((log.times[last] == log.times[last - 1]).sum()) == 9_719
    assert (log.times[log.offsets[:-1]] == 0).all()
    assert (log.times % 86_400_000 == 0).all()
    assert data.catalog.table["item_key"].to_list() == [str(number + 1) for number in range(12_101)]
    assert data.catalog.items(["B004756YJA", "B004ZT0SSG"]).tolist() == [0, 1]
    assert data.catalog.texts is not None
    assert all(data.catalog.texts)
    assert not any("&amp;" in text for text in data.catalog.texts)
    divided = split(log, SplitConfig())
    assert len(divided.test) == 22_363
    assert int((divided.test.lengths >= 10).sum()) == 5_123
    assert int((~np.isin(divided.test.targets, divided.train.items)).sum()) == 138


def test_beautys_ties_are_shuffled_within_days_only(beauty: Path) -> None:
    plain, shuffled = as_shipped(beauty).interactions, load(beauty, BEAUTY, seed=1, ties="shuffled").interactions
    assert plain.times is not None
    assert shuffled.times is not None
    np.testing.assert_array_equal(plain.times, shuffled.times)
    assert (plain.items != shuffled.items).mean() > 0.2
    run = np.concatenate([[0], np.cumsum((np.diff(plain.times) != 0) | (np.diff(plain.users) != 0))])
    for log in (plain, shuffled):
        order = np.lexsort((log.items, run))
        np.testing.assert_array_equal(log.items[order], plain.items[np.lexsort((plain.items, run))])


def test_kuairand_reads_without_text_and_with_unknown_times(kuairand: Path) -> None:
    data = as_shipped(kuairand)
    log = data.interactions
    assert counts(data) == (26_195, 6_848, 461_892)
    assert data.catalog.texts is None
    assert int((log.lengths >= 5).sum()) == 21_113
    assert log.times is not None
    assert int((log.times == NO_TIME).sum()) == 390_929
    assert len(load(kuairand, KUAIRAND, items_without_interactions="keep").catalog) == 7_583
    divided = split(log, SplitConfig(kind="global-time"))
    assert divided.train.times is not None
    assert divided.valid.interactions.times is not None
    assert divided.train.times.max() < divided.valid.interactions.times[divided.valid.rows].min()


@pytest.mark.parametrize("name", ["beauty", "kuairand"])
def test_init_finds_by_itself_what_the_shipped_recipes_say(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    settings = {"beauty": BEAUTY, "kuairand": KUAIRAND}[name]
    found = inspect(folder / str(settings["interactions"]), folder / str(settings["items"]))
    written = build(DataConfig, tomllib.loads(recipe(found))["data"])
    data, expected = read(written, 0), as_shipped(folder)
    assert counts(data) == counts(expected) == (found.users, found.items, found.interactions)
    assert data.catalog.item_ids == expected.catalog.item_ids
    np.testing.assert_array_equal(data.interactions.items, expected.interactions.items)
    assert data.interactions.absolute_times == expected.interactions.absolute_times

"""Classes of levels from a catalogue's labels."""

import numpy as np
import polars as pl
import pytest

from sidestep.data.catalog import Catalog
from sidestep.data.sources.planted import PlantedConfig, PlantedWorld
from sidestep.errors import ConfigError
from sidestep.sids.labels import automatic, levels_of

PATHS = ["Beauty > Nails > Polish", "Beauty > Nails > Polish", "Beauty > Nails", "Beauty > Hair > Dye", "", None]
TABLE = Catalog(
    pl.DataFrame({"item_id": list("abcdef"), "categories": PATHS, "store": ["x", "y", "x", "x", "y", "unknown"]})
)
"""The brand's column is called `store`."""


def test_classes_are_whole_paths_their_beginnings_labels_and_items() -> None:
    names = ["categories:2", "categories", "brand", "categories:2+brand", "item"]
    expected = [[0, 0, 0, 1, -1, -1], [0, 0, 1, 2, -1, -1], [0, 1, 0, 0, 1, -1], [0, 1, 0, 2, -1, -1]]
    classes = levels_of(TABLE, names)
    assert classes.shape == (6, 5)
    for column, wanted in zip(classes.T, [*expected, [0, 1, 2, 3, 4, 5]], strict=True):
        known = np.array(wanted) >= 0
        assert np.array_equal(column >= 0, known)
        assert np.array_equal(
            column[known][:, None] == column[known], np.array(wanted)[known][:, None] == np.array(wanted)[known]
        )


def test_levels_of_a_shop_are_its_aisles_its_shelves_and_its_items() -> None:
    shop = PlantedWorld(PlantedConfig(users=5), seed=0).catalog
    assert automatic(shop, 3, 128) == ["categories:2", "categories", "item"]
    assert automatic(shop, 5, 128) == ["categories:1", "categories:1", "categories:2", "categories", "item"]
    assert automatic(shop, 3, 7) == ["categories:1", "categories", "item"]
    assert automatic(shop, 1, 128) == ["item"]


def test_without_categories_every_level_is_the_item() -> None:
    assert automatic(Catalog(TABLE.table.drop("categories")), 3, 8) == ["item"] * 3


def test_a_level_that_teaches_nothing_is_refused_with_what_every_depth_has() -> None:
    with pytest.raises(ConfigError, match=r"'categories:1' has one class or none.* by depth: 1: 1, 2: 2, 3: 3$"):
        levels_of(TABLE, ["categories:1"])


def test_a_column_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no column 'stroe'; did you mean 'store'"):
        levels_of(TABLE, ["stroe+brand"])
    with pytest.raises(ConfigError, match="'categories:x' has no depth"):
        levels_of(TABLE, ["categories:x"])

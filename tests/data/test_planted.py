"""The planted world: its law, its bound, and that the easy roads stay below half of it."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.config import build
from sidestep.data.interactions import Ints
from sidestep.data.sources.planted import Floats, PlantedConfig, PlantedWorld
from sidestep.data.sources.worlds import read_planted
from sidestep.data.splits import Cases, SplitConfig, TrainingInteractions, split
from sidestep.errors import ConfigError

TINY = PlantedConfig(departments=2, aisles=2, shelves=2, brands=3, variants=2, users=40, mean_length=6.0)


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(PlantedConfig(), seed=0)


# The law


def test_next_item_has_the_hand_worked_probability() -> None:
    config = TINY.model_copy(update={"follow": 0.5, "wander": 0.2, "loyalty": 0.7})
    world = PlantedWorld(config, seed=3)
    places = config.brands * config.variants
    last_shelf, previous_brand, variant = 5, 2, 1
    history = [0, previous_brand * 2, last_shelf * places + 1]
    probs = world.next_item_probs(history).reshape(config.num_shelves, config.brands, config.variants)

    mate = 4  # shelves 4 and 5 share an aisle
    shelf = 0.3 * world.popularity[mate] + 0.2 / 2 + (0.5 if world.ahead[last_shelf] == mate else 0)
    assert probs[mate, 0, variant] == pytest.approx(shelf * (0.3 / 3) * (0.8 / 1.8))
    assert probs[mate, previous_brand, variant] == pytest.approx(shelf * (0.3 / 3 + 0.7) * (0.8 / 1.8))
    other_department = 1
    assert probs[other_department].sum() == pytest.approx(0.3 * world.popularity[other_department])


def test_a_history_starts_anywhere_and_the_second_item_has_any_brand() -> None:
    world = PlantedWorld(TINY, seed=0)
    first = world.next_item_probs([]).reshape(8, 3, 2)
    second = world.next_item_probs([7]).reshape(8, 3, 2)
    np.testing.assert_allclose(first.sum(axis=(1, 2)), world.popularity)
    for probs in (first, second):
        np.testing.assert_allclose(probs.sum(axis=(0, 2)), 1 / 3)


@given(history=st.lists(st.integers(0, TINY.num_items - 1), max_size=5))
def test_next_item_probabilities_sum_to_one_and_see_the_last_two_items_only(history: list[int]) -> None:
    world = PlantedWorld(TINY, seed=1)
    probs = world.next_item_probs(history)
    assert probs.shape == (TINY.num_items,)
    assert probs.min() > 0
    assert probs.sum() == pytest.approx(1)
    if len(history) >= 2:
        np.testing.assert_array_equal(probs, world.next_item_probs(history[-2:]))


def test_the_round_passes_every_shelf_of_the_department_once(world: PlantedWorld) -> None:
    per_department = world.config.aisles * world.config.shelves
    for shelf in range(world.config.num_shelves):
        passed = [shelf]
        while (following := int(world.ahead[passed[-1]])) != shelf:
            passed.append(following)
        assert len(set(passed)) == per_department
        assert {step // per_department for step in passed} == {shelf // per_department}


def test_the_log_follows_the_law(world: PlantedWorld) -> None:
    """The mean log-probability of what was taken equals its expectation under the law within sampling error."""
    surprises = []
    for history in list(world.interactions.histories())[:1500]:
        for position in range(2, len(history)):
            log_probs = np.log(world.next_item_probs(history[:position]))
            surprises.append(log_probs[history[position]] - (np.exp(log_probs) * log_probs).sum())
    error = np.std(surprises) / math.sqrt(len(surprises))
    assert abs(np.mean(surprises)) < 4 * error


# The bound


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 5),
    follow=st.floats(0, 0.6),
    loyalty=st.floats(0, 1),
    k=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_best_hit_rate_is_the_sum_of_the_k_largest_probabilities(
    sizes: tuple[int, int, int, int, int], follow: float, loyalty: float, k: int, seed: int
) -> None:
    departments, aisles, shelves, brands, variants = sizes
    config = PlantedConfig(
        departments=departments, aisles=aisles, shelves=shelves, brands=brands, variants=variants,
        users=5, mean_length=6.0, min_length=2, follow=follow, wander=0.3, loyalty=loyalty,
    )  # fmt: skip
    world = PlantedWorld(config, seed)
    histories = [history[:cut] for history in world.interactions.histories() for cut in range(len(history))]
    largest = [np.sort(world.next_item_probs(history))[::-1][:k].sum() for history in histories]
    assert world.best_hit_rate(histories, k) == pytest.approx(np.mean(largest))


def test_best_possible_over_cases_is_the_best_hit_rate_of_their_histories(world: PlantedWorld) -> None:
    log = world.interactions
    starts = log.offsets[:50]
    for position in (0, 1, 2, 4):
        cases = Cases(log, np.arange(50), starts + position)
        histories = [cases.history(case) for case in range(50)]
        assert world.best_possible(cases, 10) == pytest.approx(world.best_hit_rate(histories, 10))


def test_an_oracle_reaches_the_bound_and_a_disturbed_one_falls_short(world: PlantedWorld) -> None:
    cases = split(world.interactions, SplitConfig()).test.sample(4000, seed=1)
    bound = world.best_possible(cases, 10)
    error = math.sqrt(bound * (1 - bound) / len(cases))
    rng = np.random.default_rng(0)
    oracle, disturbed = [], []
    for case, target in enumerate(cases.targets):
        probs = world.next_item_probs(cases.history(case))
        oracle.append(target in np.argsort(-probs, kind="stable")[:10])
        disturbed.append(target in np.argsort(-probs * rng.lognormal(0, 2, len(probs)), kind="stable")[:10])
    assert abs(np.mean(oracle) - bound) < 3 * error
    assert np.mean(disturbed) < bound - 3 * error


# The easy roads


def test_popularity_stays_below_half_of_a_bound_between_three_and_seven_tenths(world: PlantedWorld) -> None:
    divided = split(world.interactions, SplitConfig())
    bound = world.best_possible(divided.test, 10)
    assert 0.3 < bound < 0.7
    popular = np.argsort(-divided.train.popularity(len(world.catalog)), kind="stable")[:10]
    assert np.isin(divided.test.targets, popular).mean() < bound / 2


@pytest.mark.parametrize("window", [None, 1, 2])
@pytest.mark.parametrize("recent", [None, 1, 2])
@pytest.mark.parametrize("mask_seen", [True, False])
def test_item_knn_stays_below_half_of_the_bound(
    world: PlantedWorld, window: int | None, recent: int | None, mask_seen: bool
) -> None:
    divided = split(world.interactions, SplitConfig())
    cases = divided.test.sample(3000, seed=0)
    similar = _cosines(divided.train, len(world.catalog), window)
    hits = []
    for case, target in enumerate(cases.targets):
        history = cases.history(case)
        scores = similar[history if recent is None else history[-recent:]].sum(axis=0)
        if mask_seen:
            scores[np.setdiff1d(history, [target])] = -1
        hits.append(target in np.argsort(-scores, kind="stable")[:10])
    assert 0.02 < np.mean(hits) < world.best_possible(cases, 10) / 2


def _cosines(log: TrainingInteractions, num_items: int, window: int | None) -> Floats:
    """Symmetric cosine of co-occurrence in a user's history, or at most `window` positions apart."""
    if window is None:
        taken = sp.csr_array((np.ones(len(log)), (log.users, log.items)), shape=(log.num_users, num_items))
        taken.data[:] = 1
        together: Floats = (taken.T @ taken).toarray()
        counts = np.diag(together).copy()
    else:
        together = np.zeros((num_items, num_items))
        for gap in range(1, window + 1):
            near = log.users[gap:] == log.users[:-gap]
            np.add.at(together, (log.items[:-gap][near], log.items[gap:][near]), 1)
        together += together.T
        counts = together.sum(axis=1)
    np.fill_diagonal(together, 0)
    return together / np.sqrt(np.outer(counts, counts) + 1e-9)


# The shop and its log


def test_the_shop_is_a_tree_of_three_levels_with_a_text_for_every_item(world: PlantedWorld) -> None:
    table = world.catalog.table
    assert len(table) >= 2000
    paths = table["categories"].str.split(" > ")
    assert (paths.list.len() == 3).all()
    assert [paths.list.slice(0, depth + 1).n_unique() for depth in range(3)] == [6, 30, 120]
    assert paths.list.get(2).n_unique() == 120  # no two shelves share a noun
    assert world.catalog.texts is not None
    assert len(set(world.catalog.texts)) == len(table)
    assert world.catalog.title(0) == "Alderbrook Everyday Skillet"
    for row in table.sample(20, seed=0).to_dicts():
        noun = row["categories"].split(" > ")[-1]
        assert row["title"].startswith(row["brand"])
        assert row["title"].endswith(noun)
        assert row["text"] == f"{row['title']}. {row['brand']}. {row['categories']}"


def test_items_are_numbered_by_shelf_then_brand_then_variant(world: PlantedWorld) -> None:
    numbered = world.catalog.table.with_row_index("item")
    shelves = numbered.group_by(pl.col("item") // 20).agg(pl.col("categories").n_unique())
    brands = numbered.group_by(pl.col("item") // 4 % 5).agg(pl.col("brand").n_unique())
    assert (shelves["categories"] == 1).all()
    assert (brands["brand"] == 1).all()


def test_a_shop_larger_than_its_words_still_tells_every_item_apart() -> None:
    config = PlantedConfig(departments=100, aisles=6, shelves=5, users=5)
    catalog = PlantedWorld(config, seed=0).catalog
    assert catalog.table["categories"].n_unique() == config.num_shelves == 3000
    assert catalog.table["text"].n_unique() == config.num_items


def test_histories_have_the_lengths_asked_for_and_times_that_rise(world: PlantedWorld) -> None:
    log, config = world.interactions, world.config
    assert log.num_users == config.users
    assert log.lengths.min() == config.min_length
    assert log.lengths.mean() == pytest.approx(config.mean_length, rel=0.05)
    assert log.absolute_times
    assert log.times is not None
    within = log.users[1:] == log.users[:-1]
    assert (np.diff(log.times)[within] > 0).all()
    assert 1.67e12 < log.times.min() < log.times.max() < 1.8e12  # milliseconds, years 2023 to 2027


def test_the_log_can_be_split_at_a_global_time(world: PlantedWorld) -> None:
    divided = split(world.interactions, SplitConfig(kind="global-time"))
    assert 0.3 < world.best_possible(divided.test, 10) < 0.7


def test_the_same_seed_gives_the_same_world_and_another_seed_another_log() -> None:
    (catalog, log), (again_catalog, again_log) = read_planted(TINY, 7), read_planted(TINY, 7)
    assert catalog.table.equals(again_catalog.table)
    assert log.user_ids == again_log.user_ids
    assert [column.tobytes() for column in _columns(log)] == [column.tobytes() for column in _columns(again_log)]
    assert log.items.tobytes() != read_planted(TINY, 8)[1].items.tobytes()


def _columns(log: Any) -> list[Ints]:
    return [log.offsets, log.items, log.times]


def test_a_hundred_thousand_items_keep_a_bound_between_three_and_seven_tenths() -> None:
    config = PlantedConfig(departments=20, aisles=10, shelves=25, users=2000, mean_length=30.0)
    world = PlantedWorld(config, seed=0)
    assert len(world.catalog) == 100_000
    assert 0.3 < world.best_possible(split(world.interactions, SplitConfig()).test, 10) < 0.7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"follow": 0.8, "wander": 0.4}, "follow \\+ wander = 1.2, expected at most 1"),
        ({"mean_length": 3, "min_length": 5}, "mean_length = 3 lies below min_length = 5"),
        ({"brands": 21}, "less than or equal to 20"),
        ({"shelfs": 4}, "did you mean 'shelves'"),
    ],
)
def test_an_impossible_world_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PlantedConfig, values)

"""The planted world of regulars: its law and its bounds, by brute force over all habits, and simulated."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.config import build
from sidestep.data.sources.planted import Floats, PlantedConfig, PlantedWorld
from sidestep.data.sources.regulars import RegularsWorld
from sidestep.data.sources.worlds import planted_world, read_planted
from sidestep.data.splits import Cases, SplitConfig, split
from sidestep.errors import ConfigError

TINY = PlantedConfig(
    departments=2, aisles=1, shelves=3, brands=2, variants=2, users=30, mean_length=9.0, min_length=4,
    follow=0.3, homes=2, home=0.5, faith=0.8,
)  # fmt: skip
REGULARS = PlantedConfig(
    departments=2, aisles=5, shelves=4, brands=8, variants=2, users=1000, mean_length=160.0, min_length=80,
    follow=0.4, homes=4, home=0.4, faith=0.95,
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> RegularsWorld:
    return RegularsWorld(REGULARS, seed=0)


def steps_of(world: RegularsWorld, homes: tuple[int, ...]) -> tuple[Floats, Floats]:
    """The law of a shopper's first shelf, and of the next after each, as the module's docstring has them in words."""
    config, size = world.config, world.config.num_shelves
    at_home = np.isin(np.arange(size), homes) / len(homes)
    first = config.home * at_home + (1 - config.home) * world.popularity
    after = np.zeros((size, size))
    after[np.arange(size), world.ahead] = config.follow
    return first, after + config.home * at_home + (1 - config.home - config.follow) * world.popularity


def brute_force(world: RegularsWorld, history: np.ndarray, homes_seen: int | None, brands_seen: int | None) -> Floats:
    """The law of the next item by summing over every set of homes, every path before the window, and every brand."""
    config = world.config
    start = 0 if homes_seen is None else max(len(history) - homes_seen, 0)
    shelves = history // (config.brands * config.variants)
    weight, shelf_probs = 0.0, np.zeros(config.num_shelves)
    for homes in combinations(range(config.num_shelves), config.homes):
        first, after = steps_of(world, homes)
        probability, following = 1.0, first
        if len(history):
            out_of_sight = first @ np.linalg.matrix_power(after, start)
            probability = out_of_sight[shelves[start]]
            for before, taken in zip(shelves[start:-1], shelves[start + 1 :], strict=True):
                probability *= after[before, taken]
            following = after[shelves[-1]]
        weight += probability
        shelf_probs += probability * following
    seen = history[0 if brands_seen is None else max(len(history) - brands_seen, 0) :]
    own = np.zeros((config.num_shelves, config.brands))
    for shelf, brand in product(range(config.num_shelves), range(config.brands)):
        taken = seen[seen // (config.brands * config.variants) == shelf] // config.variants % config.brands
        own[shelf, brand] = math.prod(
            config.faith * (other == brand) + (1 - config.faith) / config.brands for other in taken
        )
    own /= own.sum(1, keepdims=True)
    brand_probs = config.faith * own + (1 - config.faith) / config.brands
    variant_probs = np.array([1, 0.8]) / 1.8
    return (shelf_probs[:, None] / weight * brand_probs)[:, :, None] * variant_probs


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.integers(0, TINY.num_items - 1), max_size=7),
    seen=st.tuples(*[st.none() | st.integers(1, 8)] * 2),
    homes=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_the_law_of_the_next_item_is_that_of_brute_force_for_every_window(
    history: list[int], seen: tuple[int | None, int | None], homes: int, seed: int
) -> None:
    world = RegularsWorld(TINY.model_copy(update={"homes": homes}), seed)
    items = np.array(history, dtype=np.int64)
    expected = brute_force(world, items, *seen).ravel()
    assert expected.sum() == pytest.approx(1)
    np.testing.assert_allclose(world._probs([items], *seen)[0], expected, rtol=1e-9, atol=1e-12)
    for k in (1, 5):
        best = world.best_hit_rate([items], k, *seen)
        assert best == pytest.approx(np.sort(expected)[::-1][:k].sum())


def test_the_log_follows_the_law(world: RegularsWorld) -> None:
    """The mean log-probability of what was taken equals its expectation under the law within sampling error."""
    histories = list(world.interactions.histories())[:400]
    surprises = []
    for position in (0, 1, 5, 20, 60):
        log_probs = np.log(world._probs([history[:position] for history in histories], None, None))
        taken = log_probs[np.arange(len(histories)), [history[position] for history in histories]]
        surprises.append(taken - (np.exp(log_probs) * log_probs).sum(axis=1))
    assert abs(np.mean(surprises)) < 4 * np.std(surprises) / math.sqrt(np.size(surprises))


@pytest.mark.parametrize("seen", [(10, 10), (None, 10), (10, None), (None, None), (50, 50)])
def test_an_oracle_with_a_window_reaches_the_windows_bound(
    world: RegularsWorld, seen: tuple[int | None, int | None]
) -> None:
    log = world.interactions
    rows = (log.offsets[1:, None] - np.array([25, 13, 1])).ravel()
    cases = Cases(log, np.repeat(np.arange(log.num_users), 3), rows)
    bound = world.best_possible(cases, 10, *seen)
    hit = world.oracle_hits(cases, 10, *seen).mean()
    assert abs(hit - bound) < 3.5 * math.sqrt(bound * (1 - bound) / len(cases))


def test_more_that_is_seen_is_worth_more_and_each_part_as_the_specification_has_it(world: RegularsWorld) -> None:
    cases = split(world.interactions, SplitConfig()).test
    window, tier, search, both, wide = (
        world.best_possible(cases, 10, *seen) for seen in ((10, 10), (None, 10), (10, None), (None, None), (50, 50))
    )
    assert window < tier < search < both
    assert window < wide < both
    assert (window, tier, search, both) == pytest.approx((0.412, 0.469, 0.616, 0.755), abs=0.03)


def test_what_a_window_hides_is_no_certainty_even_after_thousands_of_visits() -> None:
    """Likelihood ratios of long histories differ by hundreds of orders of magnitude, and the law stays one."""
    config = REGULARS.model_copy(update={"users": 3, "mean_length": 4000.0, "min_length": 3000})
    world = RegularsWorld(config, seed=1)
    for user, history in enumerate(world.interactions.histories()):
        probs = world.next_item_probs(history)
        assert probs.min() > 0
        assert probs.sum() == pytest.approx(1)
        shelves = world._home_probs([history // 16], np.array([0]))[0]
        assert set(np.argsort(-shelves)[:4].tolist()) == set(world.homes[user].tolist())
        assert shelves.sum() == pytest.approx(4)


def test_without_homes_the_world_has_the_bytes_of_the_shop_without_regulars() -> None:
    plain = planted_world(TINY.model_copy(update={"homes": 0, "home": 0.0, "faith": 0.0}), 5)
    assert type(plain) is PlantedWorld
    assert type(planted_world(TINY, 5)) is RegularsWorld


def test_the_same_seed_gives_the_same_world_and_another_seed_another_log() -> None:
    one, again, other = (read_planted(TINY, seed)[1] for seed in (7, 7, 8))
    assert one.items.tobytes() == again.items.tobytes()
    assert one.items.tobytes() != other.items.tobytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"homes": 3, "follow": 0.6, "home": 0.5}, "follow \\+ home = 1.1, expected at most 1"),
        ({"home": 0.5}, "habits of a world with homes"),
        ({"homes": 200}, "homes = 200, expected at most the 120 shelves"),
    ],
)
def test_an_impossible_world_of_regulars_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(PlantedConfig, values)

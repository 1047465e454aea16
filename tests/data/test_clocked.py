"""Laws of the planted worlds by the clock."""

from itertools import product

import numpy as np
import pytest

from sidestep.data.sources.clocked import ClockedWorld
from sidestep.data.sources.planted import PlantedConfig
from sidestep.data.sources.worlds import best_possible, planted_world
from sidestep.data.splits import Cases, SplitConfig, split


def world(clocked: str, **changes: object) -> ClockedWorld:
    size = {"departments": 2, "aisles": 2, "shelves": 3, "brands": 3, "variants": 2, "users": 400, "parts": 2}
    config = PlantedConfig.model_validate({**size, "clocked": clocked, **changes})
    made = planted_world(config, 0)
    assert isinstance(made, ClockedWorld)
    return made


def cases(made: ClockedWorld) -> Cases:
    return split(made.interactions, SplitConfig()).test


@pytest.mark.parametrize("clocked", ["rounds", "brands"])
def test_laws_are_probabilities_and_who_knows_more_can_do_better(clocked: str) -> None:
    made = world(clocked)
    best = {}
    for told in product((True, False), repeat=2):
        np.testing.assert_allclose(made.probs(cases(made), *told).sum(axis=1), 1)
        best[told] = best_possible(made, cases(made), 3, *told)
    assert best[True, True] > best[False, False] + 0.05
    assert best[True, True] >= best[True, False] >= best[False, False]
    if clocked == "rounds":
        assert best[True, True] == best[False, True]
        assert best[True, False] == best[False, False]
    else:
        assert best[False, True] == best[False, False]


@pytest.mark.parametrize("clocked", ["rounds", "brands"])
@pytest.mark.parametrize("told", list(product((True, False), repeat=2)))
def test_targets_are_hit_as_often_as_the_laws_say(clocked: str, told: tuple[bool, bool]) -> None:
    """A law that is too sure, or not sure enough, would be hit less or more often than it says."""
    made = world(clocked, users=3000)
    asked = cases(made)
    probs = made.probs(asked, *told)
    top = np.argsort(-probs, axis=1)[:, :3]
    hits = (top == asked.targets[:, None]).any(axis=1)
    said = np.take_along_axis(probs, top, axis=1).sum(axis=1)
    assert abs(hits.mean() - said.mean()) < 3 * np.sqrt(hits.var() / len(hits))


def test_the_filter_is_the_sum_over_all_parts_that_the_past_may_have_had() -> None:
    made = world("brands")
    config, history = made.config, np.array([0, 2, 2, 1, 0])
    likely = config.loyalty * np.eye(config.brands) + (1 - config.loyalty) / config.brands
    joint = np.zeros(config.brands)
    for start in product(range(config.brands), repeat=config.parts):
        for parts in product(range(config.parts), repeat=len(history) + 1):
            now, weight = list(start), 1.0
            for part, brand in zip(parts, history, strict=False):
                weight *= likely[now[part], brand]
                now[part] = brand
            joint += weight * likely[now[parts[-1]]]
    np.testing.assert_allclose(made._filtered([history])[0], joint / joint.sum())


def test_the_part_of_the_next_item_does_not_depend_on_the_past() -> None:
    made = world("rounds", users=3000)
    times, offsets = made.interactions.times, made.interactions.offsets
    assert times is not None
    parts = made.part_of(times)
    inside = np.setdiff1d(np.arange(1, len(parts)), offsets)
    pairs = np.bincount(2 * parts[inside - 1] + parts[inside], minlength=4) / len(inside)
    np.testing.assert_allclose(pairs, 0.25, atol=0.01)
    assert (np.diff(times)[inside - 1] > 0).all()


def test_homes_and_parts_are_two_worlds() -> None:
    with pytest.raises(ValueError, match="homes = 3 and parts = 4 are two worlds; set one of them to 0"):
        PlantedConfig(homes=3, parts=4)

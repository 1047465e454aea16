"""Laws of the planted world of streams, whose content moves."""

import numpy as np
import pytest

from sidestep.data.sources.planted import PlantedConfig
from sidestep.data.sources.streams import StreamsWorld
from sidestep.data.sources.worlds import planted_world
from sidestep.data.splits import Cases, SplitConfig, split

TINY = {"streams": 30, "topics": 4, "slices": 6, "users": 300, "follow": 0.8, "stay": 0.6, "live": 0.5}


def world(seed: int = 0, **changes: object) -> StreamsWorld:
    made = planted_world(PlantedConfig.model_validate({**TINY, **changes}), seed)
    assert isinstance(made, StreamsWorld)
    return made


def cases(made: StreamsWorld) -> Cases:
    return split(made.interactions, SplitConfig()).test


def test_the_law_is_that_of_the_words() -> None:
    """The answer's probability by hand, for every case: topic by topic, and channel by channel."""
    made, follow = world(users=20), TINY["follow"]
    assert isinstance(follow, float)
    asked = cases(made)
    for case in range(len(asked)):
        now = int(made.slice_of(asked.asked)[case])
        watched = int(made.slice_of(asked.history_times(case))[-1])
        before = made.topics[watched, asked.history(case)[-1]]
        expected = np.zeros(30)
        for topic in range(4):
            chance = follow * (topic == made.ahead[before]) + (1 - follow) / 4
            there = made.on_air[now] & (made.topics[now] == topic)
            weights = made.popularity * (there if there.any() else made.on_air[now])
            expected += chance * weights / weights.sum()
        np.testing.assert_allclose(made.probs(asked.take(np.array([case])))[0], expected, atol=1e-12)


def test_targets_are_hit_as_often_as_the_laws_say() -> None:
    """A law that is too sure, or not sure enough, would be hit less or more often than it says."""
    made = world(users=3000)
    asked = cases(made)
    for then in (True, False):
        probs = made.probs(asked, then)
        np.testing.assert_allclose(probs.sum(axis=1), 1)
        top = np.argsort(-probs, axis=1)[:, :3]
        hits = (top == asked.targets[:, None]).any(axis=1)
        said = np.take_along_axis(probs, top, axis=1).sum(axis=1)
        assert said.mean() == pytest.approx(made.best_possible(asked, 3, then))
        assert abs(hits.mean() - said.mean()) < 3 * np.sqrt(hits.var() / len(hits))


def test_who_reads_the_past_as_it_was_does_better_and_as_well_where_nothing_moves() -> None:
    made = world()
    assert made.best_possible(cases(made), 3) > made.best_possible(cases(made), 3, then=False) + 0.03
    still = world(stay=1.0)
    assert still.best_possible(cases(still), 3) == pytest.approx(still.best_possible(cases(still), 3, then=False))


def test_nobody_is_watched_off_air_and_windows_are_those_on_air() -> None:
    made = world()
    log, windows = made.interactions, made.windows
    assert log.times is not None
    assert made.on_air[made.slice_of(log.times), log.items].all()
    for number in range(len(windows)):
        assert windows.items[windows.rows(number)].tolist() == np.flatnonzero(made.on_air[number]).tolist()


def test_windows_tell_the_topic_and_titles_do_not() -> None:
    made = world()
    windows = made.windows
    labels = np.concatenate([made.topics[number, windows.items[windows.rows(number)]] for number in range(6)])
    means = np.stack([windows.values[labels == topic].mean(axis=0) for topic in range(4)])
    nearest = ((windows.values[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.99


def test_a_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    one, same, other = world(1), world(1), world(2)
    assert one.windows.values.tobytes() == same.windows.values.tobytes()
    assert np.array_equal(one.interactions.items, same.interactions.items)
    assert not np.array_equal(one.interactions.items[:100], other.interactions.items[:100])


def test_streams_are_a_world_of_their_own() -> None:
    with pytest.raises(ValueError, match="parts = 4 and streams = 5 are two worlds; set one of them to 0"):
        PlantedConfig(streams=5, parts=4)

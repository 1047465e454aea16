"""The planted world of streams: channels whose content moves, and viewers who follow content and not channels.

Time is cut into `slices` of `slice_hours`. In each of them a channel is on air with probability `live`, and talks about
one of `topics`: that of the slice before with probability `stay`, else any, drawn evenly. A viewer's next channel takes

* its topic from what the last channel talked about *when it was watched*: with probability `follow` the topic ahead of
  that on a hidden ring of all topics, otherwise any;
* and is one of those on air that talk about this topic now, the popular ones more often, or any on air if none does.

Moments are drawn evenly over the world's time, so they tell nothing but the slice. Who is told what everybody talked
about, then and now, and who is on air knows the law exactly, and the best possible hit rate is a sum over the k
likeliest channels. What a channel talked about last month tells next to nothing: `stay ** lag` of it is left.

A window is the topic's vector, plus a little of the channel's own, plus noise.
"""

import numpy as np
import polars as pl

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.sources.planted import (
    FIRST_TIME,
    NOTHING,
    Floats,
    PlantedConfig,
    draw_lengths,
    largest,
    log_of,
    normalised,
    steps,
)
from sidestep.data.sources.shop_words import BRANDS
from sidestep.data.splits import Cases
from sidestep.data.windows import Flags, Windows

HOUR = 3600 * 1000
WIDTH = 16
OWN, NOISE = 0.3, 0.2
"""The length of a channel's own vector in a window, and of the noise, where a topic's is 1."""


class StreamsWorld:
    """Channels, the log of their viewers, what was seen in every slice, and the exact law.

    catalog: `streams` channels. interactions: absolute times; channels may repeat. windows: of every channel on air.
    topics: what each channel talks about, on air or not, `[S, N]`. on_air: `[S, N]`. ahead: the next topic, `[K]`.
    popularity: how often each channel is taken among those of its topic, `[N]`.
    """

    def __init__(self, config: PlantedConfig, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        shape = config.slices, config.streams
        order = rng.permutation(config.topics)
        self.ahead: Ints = np.empty(config.topics, dtype=np.int64)
        self.ahead[order] = np.roll(order, -1)
        self.popularity = normalised(1 / np.sqrt(1 + rng.permutation(config.streams)))
        self.on_air = rng.random(shape) < config.live
        self.on_air[~self.on_air.any(axis=1), 0] = True
        moves, fresh = rng.random(shape) >= config.stay, rng.integers(config.topics, size=shape)
        self.topics: Ints = fresh.copy()
        for number in range(1, config.slices):
            self.topics[number] = np.where(moves[number], fresh[number], self.topics[number - 1])
        self.starts: Ints = FIRST_TIME + config.slice_hours * HOUR * np.arange(config.slices, dtype=np.int64)
        self.catalog = _catalog(config)
        self.windows = self._windows(rng)
        self.interactions = self._watch(rng)

    def slice_of(self, times: Ints) -> Ints:
        """The slice of times in milliseconds, counted from 0."""
        return np.clip((times - FIRST_TIME) // (self.config.slice_hours * HOUR), 0, self.config.slices - 1)

    def best_possible(self, cases: Cases, k: int, then: bool = True) -> float:
        """The best possible HR@k over evaluation cases, whose log must number all items as this world does.

        then: whether the last channel is known by what it talked about when it was watched. Otherwise it is known by
            its topic of now, and nothing before it is known.
        """
        contexts, counts = np.unique(self._contexts(cases), axis=0, return_counts=True)
        best = largest(self._probs(contexts, then), k).sum(axis=1)
        return float(np.average(best, weights=counts))

    def probs(self, cases: Cases, then: bool = True) -> Floats:
        """The probability of every channel to be the answer to each case, `[C, N]`."""
        return self._probs(self._contexts(cases), then)

    def _contexts(self, cases: Cases) -> Ints:
        """For every case the last channel, or `NOTHING`, its slice, and that of the request, `[C, 3]`."""
        log = cases.interactions
        assert log.times is not None
        there = cases.rows > log.offsets[cases.users]
        before = np.maximum(cases.rows - 1, 0)
        last = np.where(there, log.items[before], NOTHING)
        watched = np.where(there, self.slice_of(log.times[before]), 0)
        return np.stack([last, watched, self.slice_of(cases.asked)], axis=1)

    def _probs(self, contexts: Ints, then: bool) -> Floats:
        last, watched, now = contexts.T
        if then:
            belief = np.eye(self.config.topics)[self.topics[watched, last]]
        else:  # the chain of topics is the same backwards
            left = self.config.stay ** (now - watched)[:, None]
            belief = left * np.eye(self.config.topics)[self.topics[now, last]] + (1 - left) / self.config.topics
        topics = self._topic_probs(belief, last == NOTHING)
        return np.einsum("ck,ckn->cn", topics, self.channel_probs[now])

    def _topic_probs(self, belief: Floats, nothing: Flags) -> Floats:
        """The probability of every topic to come next, `[C, K]`, after one that is believed to be `belief`."""
        config = self.config
        moved = np.zeros_like(belief)
        moved[:, self.ahead] = belief
        even = 1 / config.topics
        return np.where(nothing[:, None], even, config.follow * moved + (1 - config.follow) * even)

    @property
    def channel_probs(self) -> Floats:
        """The probability of every channel, given the slice and the topic, `[S, K, N]`."""
        weights = self.on_air * self.popularity
        each = np.where(self.topics[:, None] == np.arange(self.config.topics)[:, None], weights[:, None], 0.0)
        total = each.sum(axis=2, keepdims=True)
        anyone = weights / weights.sum(axis=1, keepdims=True)
        return np.asarray(np.where(total > 0, each / np.where(total > 0, total, 1), anyone[:, None]), dtype=np.float64)

    def _windows(self, rng: np.random.Generator) -> Windows:
        topics, own = (_directions(rng, count) for count in (self.config.topics, self.config.streams))
        slices, items = self.on_air.nonzero()
        values = topics[self.topics[slices, items]] + OWN * own[items] + NOISE * _directions(rng, len(items))
        offsets = np.searchsorted(slices, np.arange(self.config.slices + 1))
        return Windows(self.starts, offsets.astype(np.int64), items.astype(np.int64), values.astype(np.float32))

    def _watch(self, rng: np.random.Generator) -> Interactions:
        config, offsets = self.config, draw_lengths(self.config, rng)
        times = FIRST_TIME + rng.integers(config.slices * config.slice_hours * HOUR, size=offsets[-1])
        users = np.repeat(np.arange(config.users), np.diff(offsets))
        times = times[np.lexsort((times, users))]
        slices, items = self.slice_of(times), np.full(len(times), NOTHING, dtype=np.int64)
        cumulative = self.channel_probs.cumsum(axis=2)
        for step, _, rows in steps(offsets):
            topic = rng.integers(config.topics, size=len(rows))
            if step:
                before = self.topics[slices[rows - 1], items[rows - 1]]
                topic = np.where(rng.random(len(rows)) < config.follow, self.ahead[before], topic)
            upto = cumulative[slices[rows], topic]
            drawn = rng.random(len(rows))[:, None] * upto[:, -1:]
            items[rows] = (upto <= drawn).sum(axis=1)
        return log_of(config, offsets, items, times)


def _directions(rng: np.random.Generator, count: int) -> Floats:
    values = rng.standard_normal((count, WIDTH))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float64)


def _catalog(config: PlantedConfig) -> Catalog:
    """Columns item_id, title and text: names of channels, which tell nothing of what they talk about."""
    numbers = range(1, config.streams + 1)
    titles = [f"{BRANDS[number % len(BRANDS)]} live {number}" for number in numbers]
    ids = [f"S{number:0{len(str(config.streams))}d}" for number in numbers]
    return Catalog(pl.DataFrame({"item_id": ids, "title": titles, "text": titles}))

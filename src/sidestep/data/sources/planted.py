"""The planted world: a synthetic shop whose best possible hit rate is known exactly.

The shop is a tree, department > aisle > shelf. Every shelf holds every brand, and every brand's place on a shelf holds
the same few variants, so an item is (shelf, brand, variant) and its text says all three. A shopper's next item takes

* its shelf from the **last** item: with probability `follow` the shelf that comes next on the round through the
  department, a hidden ring over its shelves that is walked in one direction; with probability `wander` any shelf of
  the same aisle; otherwise a shelf anywhere, the popular ones more often;
* its brand from the item **before the last** (shoppers compare two brands in turn): that brand with probability
  `loyalty`, otherwise any brand;
* its variant from fixed weights, whatever came before.

The three draws are independent given the history, so the law of the next item is a product of three short tables and
the best hit rate anybody can reach is a sum over the k likeliest items. What comes next lies *ahead* on the ring and
has a brand that the last item does not tell; a symmetric co-occurrence sees as much behind as ahead, which is why
item-kNN stays below half of the best possible.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from sidestep.config import Section
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.sources.shop_words import BRANDS, MATERIALS, REGIONS, SHOP, STYLES, VARIANTS
from sidestep.data.splits import Cases

Floats = np.ndarray[Any, np.dtype[np.float64]]

NOTHING = -1  # stands where there is no earlier item, hence no brand to return to
FIRST_TIME = 1_672_531_200_000  # 2023-01-01 in milliseconds
YEAR = 365 * 24 * 3600 * 1000
MEAN_GAP = 24 * 3600 * 1000


class PlantedConfig(Section):
    """The size of the shop and the habits of its shoppers.

    departments, aisles, shelves: departments in all, aisles in a department, shelves in an aisle.
    brands, variants: brands on every shelf, variants of every brand there. Items are the product of all five.
    users, mean_length, min_length: shoppers, and how many items each takes (the excess over the least is geometric).
    follow, wander: probability that the next shelf is the one ahead, or any of the same aisle.
    loyalty: probability of returning to the brand of the item before the last.
    homes, home, faith: above 0, the world of `regulars.py`, with habits for life in place of `wander` and `loyalty`:
        home shelves of a shopper, the probability that the next shelf is one of them, and that of the own brand there.
    parts, clocked: above 0, the world of `clocked.py`: parts of the day, and what depends on them, the "rounds" through
        the departments or the "brands".
    streams, topics: above 0, the world of `streams.py` in place of the shop: channels, and what they may talk about.
    slices, slice_hours: of streams: stretches of time in which contents stay, and how long one is.
    stay, live: of streams: probability that a channel keeps its topic in the next slice, and that it is on air.
    """

    departments: int = Field(default=6, ge=1)
    aisles: int = Field(default=5, ge=1)
    shelves: int = Field(default=4, ge=1)
    brands: int = Field(default=5, ge=1, le=len(BRANDS))
    variants: int = Field(default=4, ge=1, le=len(VARIANTS))
    users: int = Field(default=6000, ge=1)
    mean_length: float = 11.0
    min_length: int = Field(default=5, ge=1)
    follow: float = Field(default=0.7, ge=0, le=1)
    wander: float = Field(default=0.1, ge=0, le=1)
    loyalty: float = Field(default=0.85, ge=0, le=1)
    homes: int = Field(default=0, ge=0)
    home: float = Field(default=0.0, ge=0, le=1)
    faith: float = Field(default=0.0, ge=0, le=1)
    parts: int = Field(default=0, ge=0, le=24)
    clocked: Literal["rounds", "brands"] = "rounds"
    streams: int = Field(default=0, ge=0)
    topics: int = Field(default=12, ge=1)
    slices: int = Field(default=24, ge=1)
    slice_hours: int = Field(default=24, ge=1)
    stay: float = Field(default=0.7, ge=0, le=1)
    live: float = Field(default=0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> "PlantedConfig":
        if self.homes > self.num_shelves:
            raise ValueError(f"homes = {self.homes}, expected at most the {self.num_shelves} shelves of the shop")
        worlds = {name: getattr(self, name) for name in ("homes", "parts", "streams") if getattr(self, name)}
        if len(worlds) > 1:
            each = " and ".join(f"{name} = {value}" for name, value in worlds.items())
            many = "two worlds; set one" if len(worlds) == 2 else "three worlds; set two"
            raise ValueError(f"{each} are {many} of them to 0")
        if not self.homes and self.home + self.faith > 0:
            raise ValueError(
                f"home = {self.home:g} and faith = {self.faith:g} are habits of a world with homes; set it"
            )
        if self.homes and self.follow + self.home > 1:
            raise ValueError(f"follow + home = {self.follow + self.home:g}, expected at most 1")
        if not self.homes and self.follow + self.wander > 1:
            raise ValueError(f"follow + wander = {self.follow + self.wander:g}, expected at most 1")
        if self.mean_length < self.min_length:
            raise ValueError(f"mean_length = {self.mean_length:g} lies below min_length = {self.min_length}")
        return self

    @property
    def num_shelves(self) -> int:
        return self.departments * self.aisles * self.shelves

    @property
    def num_items(self) -> int:
        return self.num_shelves * self.brands * self.variants


class PlantedWorld:
    """A shop, the log of its shoppers, and the exact law they follow.

    catalog: item number = (shelf * brands + brand) * variants + variant.
    interactions: absolute times; items may repeat.
    ahead: the shelf that comes next on the round, `[S]`.
    popularity: probability of each shelf where a shopper may turn up anywhere, `[S]`.

    The best possible hit rate holds for ranking *all* items. Where seen items are masked, and the target never is, the
    ranking is told that the target is none of them, so a good model may pass it by a hair.
    """

    def __init__(self, config: PlantedConfig, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.config = config
        S = config.num_shelves
        rounds = rng.permuted(np.arange(S).reshape(config.departments, -1), axis=1)
        self.ahead: Ints = np.empty(S, dtype=np.int64)
        self.ahead[rounds] = np.roll(rounds, -1, axis=1)
        self.popularity = normalised(1 / np.sqrt(1 + rng.permutation(S)))
        self._variant_probs = normalised(0.8 ** np.arange(config.variants))
        self.catalog = _catalog(config)
        self._settle(rng)
        self.interactions = self._shop(rng)

    def next_item_probs(self, history: Sequence[int] | Ints) -> Floats:
        """The probability of every item to come next, `[N]`, given item numbers, oldest first (possibly none)."""
        previous, last = _last_two(history)
        every_shelf = np.arange(self.config.num_shelves)[None]
        here = self._shelf_of(last[None])
        shelf_probs = self._shelf_probs(here, self.ahead[here], every_shelf)
        return np.outer(shelf_probs, self._place_probs(self._brand_of(previous[None]))).ravel()

    def best_hit_rate(self, histories: Sequence[Sequence[int] | Ints], k: int) -> float:
        """The mean over histories of the sum of the k largest next-item probabilities: no ranking does better."""
        previous, last = np.stack([_last_two(history) for history in histories], axis=1)
        return self._best(last, previous, k)

    def best_possible(self, cases: Cases, k: int) -> float:
        """The best possible HR@k over evaluation cases, whose log must number all items as this world does."""
        first, items = cases.interactions.offsets[cases.users], cases.interactions.items
        last = np.where(cases.rows > first, items[cases.rows - 1], NOTHING)
        previous = np.where(cases.rows > first + 1, items[cases.rows - 2], NOTHING)
        return self._best(last, previous, k)

    def _best(self, last: Ints, previous: Ints, k: int) -> float:
        """All shelves share one law of places, so the item on the i-th likeliest shelf at the j-th likeliest place is
        behind i * j - 1 others and matters only if i * j <= k.
        """
        contexts = np.stack([self._shelf_of(last), self._brand_of(previous)])
        (shelves, brands), counts = np.unique(contexts, axis=1, return_counts=True)
        candidates = self._likeliest_shelves(shelves, k)
        shelf_probs = self._shelf_probs(shelves, self.ahead[shelves], candidates)
        shelf_probs[:, 1:][candidates[:, 1:] == candidates[:, :-1]] = 0
        shelf_probs, place_probs = largest(shelf_probs, k), largest(self._place_probs(brands), k)
        ranks = np.outer(1 + np.arange(shelf_probs.shape[1]), 1 + np.arange(place_probs.shape[1]))
        i, j = np.nonzero(ranks <= k)
        best = largest(shelf_probs[:, i] * place_probs[:, j], k).sum(axis=1)
        return float(np.average(best, weights=counts))

    def _likeliest_shelves(self, shelves: Ints, k: int) -> Ints:
        """Shelf numbers `[C, M]`, sorted, repeats allowed, that hold the k likeliest after each shelf: the one ahead,
        those of the aisle, and the k most popular, which leave no room for any other.
        """
        start = np.maximum(shelves, 0) // self.config.shelves * self.config.shelves
        aisle = start[:, None] + np.arange(self.config.shelves)
        popular = np.argsort(-self.popularity, kind="stable")[:k]
        popular = np.broadcast_to(popular, (len(shelves), len(popular)))
        return np.sort(np.concatenate([self.ahead[shelves][:, None], aisle, popular], axis=1), axis=1)

    def _shelf_probs(self, shelves: Ints, ahead: Ints, candidates: Ints) -> Floats:
        """The probability of candidate shelves `[C, M]` (or `[1, M]`) after the shelves `[C]`, which are `NOTHING` at
        the start of a history, and before those `ahead` `[C]`.
        """
        config, here = self.config, shelves[:, None]
        anywhere = self.popularity[candidates]
        same_aisle = candidates // config.shelves == here // config.shelves
        probs = (1 - config.follow - config.wander) * anywhere + config.wander / config.shelves * same_aisle
        probs = probs + config.follow * (candidates == ahead[:, None])
        return np.where(here == NOTHING, anywhere, probs)

    def _place_probs(self, brands: Ints) -> Floats:
        """The probability of every place (brand, variant) on a shelf, `[C, brands * variants]`, when the item before
        the last was of `brands` `[C]`, or `NOTHING`.
        """
        config, wanted = self.config, brands[:, None]
        probs = (1 - config.loyalty) / config.brands + config.loyalty * (np.arange(config.brands) == wanted)
        probs = np.where(wanted == NOTHING, 1 / config.brands, probs)
        return (probs[:, :, None] * self._variant_probs).reshape(len(brands), -1)

    def _shelf_of(self, items: Ints) -> Ints:
        return items // (self.config.brands * self.config.variants)  # -1 // n = -1: NOTHING stays NOTHING

    def _brand_of(self, items: Ints) -> Ints:
        return np.where(items == NOTHING, NOTHING, items // self.config.variants % self.config.brands)

    def _settle(self, rng: np.random.Generator) -> None:
        """Draw what shoppers keep for life: nothing in this world."""

    def _shop(self, rng: np.random.Generator) -> Interactions:
        """All shoppers take their first item, then their second, and so on, for as long as their histories are."""
        offsets = draw_lengths(self.config, rng)
        items = np.full(offsets[-1], NOTHING, dtype=np.int64)
        for step, shoppers, rows in steps(offsets):
            last = items[rows - 1] if step > 0 else np.full(len(rows), NOTHING)
            previous = items[rows - 2] if step > 1 else np.full(len(rows), NOTHING)
            items[rows] = self._draw(rng, shoppers, last, previous, self.ahead[self._shelf_of(last)])
        gaps = 1 + rng.exponential(MEAN_GAP, len(items)).astype(np.int64)
        times = np.cumsum(gaps)
        starts = rng.integers(FIRST_TIME, FIRST_TIME + YEAR, self.config.users)
        times += np.repeat(starts - times[offsets[:-1]], np.diff(offsets))
        return log_of(self.config, offsets, items, times)

    def _draw(self, rng: np.random.Generator, shoppers: Ints, last: Ints, previous: Ints, ahead: Ints) -> Ints:
        """The next item of some shoppers at once. ahead: the shelf that comes next on the round of each."""
        config, size = self.config, len(last)
        here = self._shelf_of(last)
        habit = np.where(last == NOTHING, 1.0, rng.random(size))  # nobody follows or wanders from nowhere
        in_aisle = here // config.shelves * config.shelves + rng.integers(config.shelves, size=size)
        anywhere = rng.choice(config.num_shelves, size, p=self.popularity)
        shelf = np.where(habit < config.follow + config.wander, in_aisle, anywhere)
        shelf = np.where(habit < config.follow, ahead, shelf)
        loyal = (rng.random(size) < config.loyalty) & (previous != NOTHING)
        brand = np.where(loyal, self._brand_of(previous), rng.integers(config.brands, size=size))
        variant = rng.choice(config.variants, size, p=self._variant_probs)
        return (shelf * config.brands + brand) * config.variants + variant


def draw_lengths(config: PlantedConfig, rng: np.random.Generator) -> Ints:
    """Histories of random lengths, laid end to end: where each begins, and the last ends."""
    lengths = config.min_length - 1 + rng.geometric(1 / (config.mean_length - config.min_length + 1), config.users)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def log_of(config: PlantedConfig, offsets: Ints, items: Ints, times: Ints) -> Interactions:
    """The log of all shoppers, who are named in their order."""
    users = config.users
    user_ids = [f"u{user:0{len(str(users))}d}" for user in range(1, users + 1)]
    return Interactions(user_ids, offsets, items, times, absolute_times=True)


def steps(offsets: Ints) -> Iterator[tuple[int, Ints, Ints]]:
    """By steps of all histories at once: the step's number, whose histories have it, and its rows of the log."""
    lengths = np.diff(offsets)
    for step in range(lengths.max()):
        shoppers = np.flatnonzero(lengths > step)
        yield step, shoppers, offsets[shoppers] + step


def _last_two(history: Sequence[int] | Ints) -> Ints:
    """The item before the last and the last, `NOTHING` where there is none."""
    return np.array([NOTHING, NOTHING, *history[-2:]], dtype=np.int64)[-2:]


def normalised(weights: np.ndarray[Any, np.dtype[np.floating[Any]]]) -> Floats:
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def largest(values: Floats, k: int) -> Floats:
    """The k largest numbers of each row, largest first."""
    return -np.sort(-values, axis=1)[:, :k]


def _catalog(config: PlantedConfig) -> Catalog:
    """Columns item_id, title, brand, categories ("Kitchen > Cookware > Wok") and text, the three of them together."""
    paths, nouns = zip(*_shelves(config), strict=True)
    item = np.arange(config.num_items)
    shelf = item // (config.brands * config.variants)
    width = len(str(config.num_items))
    table = pl.DataFrame(
        {
            "item_id": "P" + pl.Series(item + 1).cast(pl.String).str.zfill(width),
            "title": pl.Series(nouns).gather(shelf),
            "brand": pl.Series(BRANDS).gather(item // config.variants % config.brands),
            "categories": pl.Series(paths).gather(shelf),
            "variant": pl.Series(VARIANTS).gather(item % config.variants),
        }
    )
    table = table.with_columns(title=pl.concat_str("brand", "variant", "title", separator=" ")).drop("variant")
    return Catalog(table.with_columns(text=pl.concat_str("title", "brand", "categories", separator=". ")))


def _shelves(config: PlantedConfig) -> list[tuple[str, str]]:
    """The category path of every shelf and what stands on it."""
    shelves = []
    for d in range(config.departments):
        department, region = _pick(tuple(SHOP), REGIONS, d)
        for a in range(config.aisles):
            aisle, style = _pick(tuple(SHOP[department]), STYLES, a)
            for s in range(config.shelves):
                noun, material = _pick(SHOP[department][aisle], MATERIALS, s)
                path = f"{region}{department} > {style}{aisle} > {material}{noun}"
                shelves.append((path, f"{region}{style}{material}{noun}"))
    return shelves


def _pick(words: Sequence[str], adjectives: Sequence[str], number: int) -> tuple[str, str]:
    """A word, and the adjectives that tell its later uses apart: none, "Coastal ", ..., "Coastal Alpine ", ..."""
    use, index = divmod(number, len(words))
    before = ""
    while use:
        use, adjective = divmod(use - 1, len(adjectives))
        before = f"{adjectives[adjective]} {before}"
    return words[index], before

"""Planted worlds "by the clock": what comes next depends on the part of the day in which it is taken.

The shop is that of `planted.py`. A day has `parts` equal parts. The gap between two items of a shopper is whole
days, and the hour of each is drawn evenly, so the part of the next item does not depend on anything before it: it is
known to those who are told the time of the request, and to nobody else. What depends on the part is either

* **rounds**: every part has a hidden ring of its own through each department; or
* **brands**: a loyal shopper returns to the brand of the last item that was taken *in the same part*, not to that of
  the item before the last.

The rest is as in `planted.py`. The best possible hit rate is exact for each that a model may be told:

* rounds, request known: the ring of its part. Otherwise the mean over all rings; times of the past tell nothing.
* brands, all times known: the last brand of the request's part. Without the request's time: the mean over the parts of
  these laws. Without the times of the history the parts of its items are hidden, and all parts are alike, so the
  request's part alone tells nothing either: a filter over the brands `b_1 .. b_parts` that each part has now, all alike
  at the start. With item brand y, taken in a part p drawn evenly,

      P'(b') = 1/parts sum over p of P(y | b_p) P(b), with b' = b but for b'_p = y

  and P(y | b_p) = loyalty [y = b_p] + (1 - loyalty) / brands.
"""

from collections.abc import Sequence

import numpy as np

from sidestep.data.interactions import Interactions, Ints
from sidestep.data.sources.planted import (
    FIRST_TIME,
    MEAN_GAP,
    NOTHING,
    YEAR,
    Floats,
    PlantedWorld,
    draw_lengths,
    largest,
    log_of,
    steps,
)
from sidestep.data.splits import Cases

DAY = 24 * 3600 * 1000
CASES_AT_ONCE = 512


class ClockedWorld(PlantedWorld):
    """A shop whose shoppers live by the clock, their log, and the exact law they follow. See `PlantedWorld`.

    rings: the shelf ahead of each in every part of the day, `[parts, S]`.
    """

    rings: Ints

    def part_of(self, times: Ints) -> Ints:
        """The part of the day of times in milliseconds."""
        return times % DAY * self.config.parts // DAY

    def best_possible(self, cases: Cases, k: int, history: bool = True, request: bool = True) -> float:
        """The best possible HR@k over evaluation cases, whose log must number all items as this world does.

        history, request: whether the times of the history, and that of the request, are known.
        """
        found = 0.0
        for begin in range(0, len(cases), CASES_AT_ONCE):
            chosen = cases.take(np.arange(begin, min(begin + CASES_AT_ONCE, len(cases))))
            found += float(largest(self.probs(chosen, history, request), k).sum())
        return found / len(cases)

    def probs(self, cases: Cases, history: bool = True, request: bool = True) -> Floats:
        """The probability of every item to be the answer to each case, `[C, N]`, for who knows these times."""
        config, size = self.config, len(cases)
        pasts = [cases.history(case) for case in range(size)]
        parts = self.part_of(cases.asked)
        last = np.array([past[-1] if len(past) else NOTHING for past in pasts])
        if config.clocked == "rounds":
            before = np.array([past[-2] if len(past) > 1 else NOTHING for past in pasts])
            shelves = self._shelves(last, parts if request else None)
            places = self._place_probs(self._brand_of(before))
        else:
            here = self._shelf_of(last)
            shelves = self._shelf_probs(here, self.ahead[here], np.arange(config.num_shelves)[None])
            times = [cases.history_times(case) for case in range(size)]
            now = self._brands_now(pasts, times) if history else None
            places = self._places(pasts, parts if request else None, now)
        return np.asarray((shelves[:, :, None] * places[:, None]).reshape(size, -1), dtype=np.float64)

    def _shelves(self, last: Ints, parts: Ints | None) -> Floats:
        """The probability of every shelf to come next, `[C, S]`, in these parts of the day, or in any."""
        everywhere, here = np.arange(self.config.num_shelves)[None], self._shelf_of(last)
        each = [self._shelf_probs(here, ring[here], everywhere) for ring in self.rings]
        return np.mean(each, axis=0) if parts is None else np.stack(each)[parts, np.arange(len(last))]

    def _brands_now(self, pasts: Sequence[Ints], times: Sequence[Ints]) -> Ints:
        """The brand of the last item that was taken in each part, `[C, parts]`, `NOTHING` where there is none."""
        now = np.full((len(pasts), self.config.parts), NOTHING)
        for row, (past, when) in enumerate(zip(pasts, times, strict=True)):
            for part, brand in zip(self.part_of(when), self._brand_of(past), strict=True):
                now[row, part] = brand
        return now

    def _places(self, pasts: Sequence[Ints], parts: Ints | None, now: Ints | None) -> Floats:
        """The probability of every place on a shelf, `[C, brands * variants]`."""
        if now is None:
            brands = self._filtered([self._brand_of(past) for past in pasts])
            return (brands[:, :, None] * self._variant_probs).reshape(len(pasts), -1)
        each = [self._place_probs(now[:, part]) for part in range(self.config.parts)]
        return np.mean(each, axis=0) if parts is None else np.stack(each)[parts, np.arange(len(pasts))]

    def _filtered(self, histories: Sequence[Ints]) -> Floats:
        """The probability of every brand to come next, `[C, B]`, of who sees the brands of the past but no times."""
        config, size = self.config, len(histories)
        belief = np.full((size, *[config.brands] * config.parts), config.brands**-config.parts)
        for step in range(max(map(len, histories), default=0)):
            rows = np.flatnonzero([len(history) > step for history in histories])
            seen = np.array([histories[int(row)][step] for row in rows])
            belief[rows] = self._after(belief[rows], seen)
        axes = range(1, config.parts + 1)
        now = np.mean([belief.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes], axis=0)
        return config.loyalty * now + (1 - config.loyalty) / config.brands

    def _after(self, belief: Floats, seen: Ints) -> Floats:
        """The belief `[C, B, .., B]` after one more item of brand `seen` `[C]`."""
        config, found = self.config, np.zeros_like(belief)
        likely = config.loyalty * (np.arange(config.brands) == seen[:, None]) + (1 - config.loyalty) / config.brands
        for axis in range(1, config.parts + 1):
            along = np.moveaxis(belief, axis, 1)
            weighed = np.einsum("cb...,cb->c...", along, likely)
            np.moveaxis(found, axis, 1)[np.arange(len(seen)), seen] += weighed
        return np.asarray(found / found.sum(axis=tuple(range(1, found.ndim)), keepdims=True), dtype=np.float64)

    def _settle(self, rng: np.random.Generator) -> None:
        config = self.config
        self.rings = np.empty((config.parts, config.num_shelves), dtype=np.int64)
        for ring in self.rings:
            rounds = rng.permuted(np.arange(config.num_shelves).reshape(config.departments, -1), axis=1)
            ring[rounds] = np.roll(rounds, -1, axis=1)

    def _shop(self, rng: np.random.Generator) -> Interactions:
        config, offsets = self.config, draw_lengths(self.config, rng)
        days = np.cumsum(1 + rng.exponential(MEAN_GAP, offsets[-1]).astype(np.int64) // DAY)
        starts = rng.integers(FIRST_TIME // DAY, (FIRST_TIME + YEAR) // DAY, config.users)
        days += np.repeat(starts - days[offsets[:-1]], np.diff(offsets))
        times = days * DAY + rng.integers(DAY, size=len(days))
        parts, items = self.part_of(times), np.full(len(times), NOTHING, dtype=np.int64)
        now = np.full((config.users, config.parts), NOTHING)  # the last item of each part
        for step, shoppers, rows in steps(offsets):
            last = items[rows - 1] if step > 0 else np.full(len(rows), NOTHING)
            previous = items[rows - 2] if step > 1 else np.full(len(rows), NOTHING)
            part, here = parts[rows], self._shelf_of(last)
            if config.clocked == "brands":
                items[rows] = self._draw(rng, shoppers, last, now[shoppers, part], self.ahead[here])
            else:
                items[rows] = self._draw(rng, shoppers, last, previous, self.rings[part, here])
            now[shoppers, part] = items[rows]
        return log_of(config, offsets, items, times)

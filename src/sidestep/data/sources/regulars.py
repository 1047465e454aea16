"""The planted world "regulars": shoppers with habits for life, of which a short window shows little.

Every shopper has a few home shelves, and on every shelf one brand for life; both are drawn uniformly. The next item
takes

* its shelf: with probability `follow` the one ahead of the last item's on the ring of the department, with probability
  `home` one of the shopper's homes, otherwise any, the popular ones more often (at the start instead of `follow`, too);
* its brand: with probability `faith` the shopper's own on that shelf, otherwise any;
* its variant from fixed weights.

Who has seen all of a history knows the homes, and who looks up the earlier visits to a shelf knows the brand that comes
next there. The best possible hit rate is exact, for any window that homes and brands are learnt from.

**Brands.** A shopper's own brand of a shelf where brand b was taken n_b times has the posterior `rho ** n_b`, up to a
factor, with `rho = 1 + B faith / (1 - faith)`.

**Homes.** Given its predecessor, a shelf s is taken with probability `e + [s is a home] home / m`, where e does not
depend on the homes. A set H of m homes thus has the likelihood

    P(window | H) = (c + sum over a in H of d_a) * product over a in H of r_a

up to a factor: r_a is the product of `1 + home / (m e)` over the visits to shelf a, and the bracket is the marginal
probability of the window's first shelf s, whose predecessor is out of sight. That marginal obeys

    p_0(s) = (1 - home) popularity(s) + home / m sum over a in H of [s = a]
    p_t(s) = follow p_{t-1}(behind s) + (1 - follow - home) popularity(s) + home / m sum over a in H of [s = a]

so it is linear in the homes, as the bracket says. Sums over all sets are elementary symmetric polynomials, taken with
numbers `x + y eps`, `eps ** 2 = 0`, which carry the bracket along.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidestep.data.interactions import Ints
from sidestep.data.sources.planted import NOTHING, Floats, PlantedWorld
from sidestep.data.splits import Cases

CASES_AT_ONCE = 1_024
FAR = 600.0
"""The largest logarithm of a product of m likelihood ratios. The ratios are taken relative to the m-th largest: what
is more than `FAR / m` away from it is a home, or is none, as surely as with exactly that much.
"""


class RegularsWorld(PlantedWorld):
    """A shop of regulars, their log, and the exact law they follow. See `PlantedWorld` for what both have.

    homes: home shelves of every shopper, `[U, m]`. own_brands: a brand for every shopper and shelf, `[U, S]`.
    """

    homes: Ints
    own_brands: Ints

    def next_item_probs(self, history: Sequence[int] | Ints) -> Floats:
        """The probability of every item to come next, `[N]`, given item numbers, oldest first (possibly none)."""
        return self._probs([np.asarray(history, dtype=np.int64)], None, None)[0]

    def best_hit_rate(
        self,
        histories: Sequence[Sequence[int] | Ints],
        k: int,
        homes_seen: int | None = None,
        brands_seen: int | None = None,
    ) -> float:
        """The mean over histories of the sum of the k largest next-item probabilities: no ranking does better.

        homes_seen, brands_seen: how many of a history's last items homes and brands are learnt from, at least 1; None
            for all of them. A model with a window of w items has w for both, whatever it does; one that also sees the
            shelves of all older items has None for homes, one that looks up their brands None for brands.
        """
        rows = [np.asarray(history, dtype=np.int64) for history in histories]
        found = 0.0
        for begin in range(0, len(rows), CASES_AT_ONCE):
            probs = self._probs(rows[begin : begin + CASES_AT_ONCE], homes_seen, brands_seen)
            best = min(k, probs.shape[1])
            found += float(np.partition(probs, probs.shape[1] - best, axis=1)[:, -best:].sum())
        return found / len(rows)

    def best_possible(
        self, cases: Cases, k: int, homes_seen: int | None = None, brands_seen: int | None = None
    ) -> float:
        """The best possible HR@k over evaluation cases, whose log must number all items as this world does; see
        `best_hit_rate`.
        """
        histories = [cases.history(case) for case in range(len(cases))]
        return self.best_hit_rate(histories, k, homes_seen, brands_seen)

    def oracle_hits(
        self, cases: Cases, k: int, homes_seen: int | None = None, brands_seen: int | None = None
    ) -> NDArray[np.bool_]:
        """Whether the target of every case is among the k likeliest items, `[C]`: what the best ranking reaches on
        these very cases, where `best_possible` is what it reaches on average. See `best_hit_rate`.
        """
        found = np.empty(len(cases), dtype=np.bool_)
        for begin in range(0, len(cases), CASES_AT_ONCE):
            some = np.arange(begin, min(begin + CASES_AT_ONCE, len(cases)))
            probs = self._probs([cases.history(int(case)) for case in some], homes_seen, brands_seen)
            best = np.argsort(-probs, axis=1, kind="stable")[:, :k]
            found[some] = (best == cases.targets[some][:, None]).any(axis=1)
        return found

    def _probs(self, histories: Sequence[Ints], homes_seen: int | None, brands_seen: int | None) -> Floats:
        """The law of the next item of every history, `[C, N]`."""
        shelves = self._next_shelf(histories, homes_seen)
        brands = np.stack([self._next_brand(history[_since(history, brands_seen) :]) for history in histories])
        places = brands[:, :, :, None] * self._variant_probs
        return (shelves[:, :, None, None] * places).reshape(len(histories), -1)

    def _next_brand(self, history: Ints) -> Floats:
        """The probability of every brand on every shelf, `[S, B]`."""
        config = self.config
        counts = np.zeros((config.num_shelves, config.brands))
        np.add.at(counts, (self._shelf_of(history), self._brand_of(history)), 1)
        with np.errstate(divide="ignore"):
            log_rho = np.minimum(np.log1p(config.brands * config.faith / (1 - min(config.faith, 1 - 1e-15))), FAR)
        weights = np.exp((counts - counts.max(axis=1, keepdims=True)) * log_rho)
        posterior = weights / weights.sum(axis=1, keepdims=True)
        return np.asarray(config.faith * posterior + (1 - config.faith) / config.brands, dtype=np.float64)

    def _next_shelf(self, histories: Sequence[Ints], seen: int | None) -> Floats:
        """The probability of every shelf to come next, `[C, S]`, from the last `seen` items."""
        config = self.config
        starts = np.array([_since(history, seen) for history in histories])
        windows = [self._shelf_of(history[start:]) for history, start in zip(histories, starts, strict=True)]
        last = np.array([window[-1] if len(window) else NOTHING for window in windows])
        at_home = config.home / config.homes * self._home_probs(windows, starts)
        anywhere = np.where(last == NOTHING, 1 - config.home, 1 - config.home - config.follow)
        ahead = (np.arange(config.num_shelves) == self.ahead[last][:, None]) & (last != NOTHING)[:, None]
        return np.asarray(config.follow * ahead + anywhere[:, None] * self.popularity + at_home, dtype=np.float64)

    def _home_probs(self, windows: Sequence[Ints], starts: Ints) -> Floats:
        """The probability of every shelf to be a home, `[C, S]`, given the shelves that were visited in a row from the
        step `starts` of a history on.
        """
        config, size = self.config, self.config.num_shelves
        share = config.home / config.homes
        logs = np.zeros((len(windows), size))
        for row, window in enumerate(windows):
            before, taken = window[:-1], window[1:]
            other = config.follow * (taken == self.ahead[before])
            other = other + (1 - config.follow - config.home) * self.popularity[taken]
            with np.errstate(divide="ignore"):
                logs[row] = np.bincount(taken, np.minimum(np.log(other + share) - np.log(other), FAR), minlength=size)
        last = size - config.homes
        logs -= np.partition(logs, last, axis=1)[:, [last]]  # a common factor of all ratios cancels
        first = np.array([window[0] if len(window) else NOTHING for window in windows])
        constant, slopes = self._marginals(starts, first)
        ratios = np.exp(logs.clip(-FAR / config.homes, FAR / config.homes))
        return _membership(ratios, constant, share * slopes, config.homes)

    def _marginals(self, starts: Ints, first: Ints) -> tuple[Floats, Floats]:
        """`c` `[C]` and the `[C, S]` slopes in the homes, before the factor `home / m`, of the probability of shelf
        `first` at step `starts`; 1 and 0 where nothing was seen.
        """
        config, size = self.config, self.config.num_shelves
        constants, slopes = np.ones(len(starts)), np.zeros((len(starts), size))
        behind = np.argsort(self.ahead)
        rest = (1 - config.follow - config.home) * self.popularity
        constant, slope = (1 - config.home) * self.popularity, np.eye(size)
        for step in range(int(starts.max(initial=0)) + 1):
            here = (starts == step) & (first != NOTHING)
            constants[here], slopes[here] = constant[first[here]], slope[first[here]]
            constant, slope = config.follow * constant[behind] + rest, config.follow * slope[behind] + np.eye(size)
        return constants, slopes

    def _settle(self, rng: np.random.Generator) -> None:
        config = self.config
        shelves = np.broadcast_to(np.arange(config.num_shelves), (config.users, config.num_shelves))
        self.homes = rng.permuted(shelves, axis=1)[:, : config.homes]
        self.own_brands = rng.integers(config.brands, size=(config.users, config.num_shelves))

    def _draw(self, rng: np.random.Generator, shoppers: Ints, last: Ints, previous: Ints, ahead: Ints) -> Ints:
        config, size = self.config, len(shoppers)
        habit = rng.random(size)
        shelf = rng.choice(config.num_shelves, size, p=self.popularity)
        at_home = self.homes[shoppers, rng.integers(config.homes, size=size)]
        shelf = np.where((config.follow <= habit) & (habit < config.follow + config.home), at_home, shelf)
        follows = (habit < config.follow) & (last != NOTHING)
        shelf = np.where(follows, ahead, shelf)
        faithful = rng.random(size) < config.faith
        brand = np.where(faithful, self.own_brands[shoppers, shelf], rng.integers(config.brands, size=size))
        variant = rng.choice(config.variants, size, p=self._variant_probs)
        return np.asarray((shelf * config.brands + brand) * config.variants + variant, dtype=np.int64)


@dataclass(frozen=True)
class _Sums:
    """Elementary symmetric polynomials of degrees 0 to m as `value + slope eps`, `[m + 1, C]` each."""

    value: Floats
    slope: Floats

    @classmethod
    def of_nothing(cls, degree: int, cases: int) -> "_Sums":
        value = np.zeros((degree + 1, cases))
        value[0] = 1
        return cls(value, np.zeros_like(value))

    def with_one_more(self, ratio: Floats, slope: Floats) -> "_Sums":
        """With another variable `ratio (1 + slope eps)`, `[C]` each."""
        value, further = self.value.copy(), self.slope.copy()
        value[1:] += ratio * self.value[:-1]
        further[1:] += ratio * (self.slope[:-1] + slope * self.value[:-1])
        return _Sums(value, further)

    def joined(self, other: "_Sums", degree: int) -> tuple[Floats, Floats]:
        """The polynomial of one degree of the variables of both."""
        value = sum(self.value[i] * other.value[degree - i] for i in range(degree + 1))
        slope = sum(
            self.value[i] * other.slope[degree - i] + self.slope[i] * other.value[degree - i] for i in range(degree + 1)
        )
        return np.asarray(value), np.asarray(slope)


def _membership(ratios: Floats, constant: Floats, slopes: Floats, size: int) -> Floats:
    """The probability of every element to be in a set H of `size` whose weight is
    `(constant + sum of slopes) * product of ratios` over its elements; `[C, S]`.
    """
    cases, elements = ratios.shape
    before = [_Sums.of_nothing(size, cases)]
    behind = [_Sums.of_nothing(size, cases)]
    for element in range(elements):
        before.append(before[-1].with_one_more(ratios[:, element], slopes[:, element]))
        other = elements - 1 - element
        behind.append(behind[-1].with_one_more(ratios[:, other], slopes[:, other]))
    total = constant * before[-1].value[size] + before[-1].slope[size]
    found = np.empty_like(ratios)
    for element in range(elements):
        value, slope = before[element].joined(behind[elements - 1 - element], size - 1)
        found[:, element] = ratios[:, element] * ((constant + slopes[:, element]) * value + slope) / total
    return found


def _since(history: Ints, seen: int | None) -> int:
    """Where the last `seen` items of a history begin."""
    return 0 if seen is None else max(len(history) - seen, 0)

"""The sizes that `sidestep init` gives a log of somebody's own: every rule in one place, with its reason.

The rules are functions of three counts, continuous but for rounding. They pass through what the recipe of Beauty has
(22,363 users, 12,101 items, 198,502 interactions), and elsewhere follow an argument; none was fitted to a score. What
they gave on logs from 2,000 interactions up stands in the log of 2026-11-29.
"""

import math
from dataclasses import dataclass

HEAD = 32
"""Width of an attention head, which divides the model's width."""
MOST_WIDTH, MOST_LAYERS = 128, 2
MULTIPLY_ADDS = 15e9
"""A second of one core of a laptop, products of this size and everything between them together."""


@dataclass(frozen=True)
class Sizes:
    """width, layers: of the generator's encoder and decoder. codebook_size, num_clusters: codes of each level of an
    ID, and groups of them that a thought may name. batch_size: targets a step. epochs, warmup_steps, patience: of the
    training.
    """

    width: int
    layers: int
    codebook_size: int
    num_clusters: int
    batch_size: int
    epochs: int
    warmup_steps: int
    patience: int

    @classmethod
    def of(cls, items: int, interactions: int) -> "Sizes":
        """The sizes for a log.

        width `6 I^(1/4)`: parameters grow as the square root of the interactions. One layer for every factor of ten
        above 1,000 interactions. Both stop at what Beauty has: a laptop trains no more within hours, and nothing larger
        was tried here.

        codes `2 N^(1/2)`: a first code then stands for about `N^(1/2) / 2` items, as many as the next level can tell
        apart, and a third level has room to spare; a code for every item would leave nothing that items share. An
        eighth as many clusters, as in the paper.

        A step of `I^(1/2)` targets, so that an epoch has as many steps; and `230 I^(-1/5)` epochs: a small log is read
        more often, yet in fewer steps.
        """
        codes = _power_of_two(2 * items**0.5, 8, 8192)
        batch = _power_of_two(interactions**0.5, 16, 2048)
        epochs = min(max(round(230 * interactions**-0.2), 5), 60)
        return cls(
            width=min(max(HEAD * round(6 * interactions**0.25 / HEAD), HEAD), MOST_WIDTH),
            layers=min(max(round(math.log10(max(interactions, 1)) - 3), 1), MOST_LAYERS),
            codebook_size=codes,
            num_clusters=codes // 8 if codes > 16 else 2,
            batch_size=batch,
            epochs=epochs,
            warmup_steps=min(500, epochs * math.ceil(interactions / batch) // 10),
            patience=math.ceil(epochs / 4),
        )

    def minutes(self, users: int, items: int, interactions: int) -> float:
        """How long `sidestep run` may take with method `s2gr` on one core, all stages and the evaluation, within a
        factor of two or so. Counts multiply-adds: `12 D^2` a layer for an item of the history, `16 D^2` for each of the
        five tokens of a target, three times that with gradients; and half a millisecond or more for every call.
        """
        targets, square = _targets(users, interactions), self.layers * self.width**2
        training = self.epochs * targets * 3.0 * (12 + 5 * 16) * square
        validated = self.epochs * min(users, 2_000)
        searching = (validated + 3 * users) * 30.0 * 16 * square
        calls = 0.01 * self.epochs * targets / self.batch_size + 0.001 * validated
        tokenizing = 40 * max(items, 1_000) * 2.4e6
        behaviour = 20 * _baseline(items, targets)
        return (15 + calls + (training + searching + tokenizing + behaviour) / MULTIPLY_ADDS) / 60

    def baseline_minutes(self, users: int, items: int, interactions: int) -> float:
        """The same for method `sasrec-ce`."""
        targets = _targets(users, interactions)
        calls = 0.006 * self.epochs * targets / self.batch_size
        return (10 + calls + self.epochs * _baseline(items, targets) / MULTIPLY_ADDS) / 60


def _targets(users: int, interactions: int) -> float:
    """What is left to train on once two items of every user are held out; the first of each is no target."""
    return float(max(interactions - 3 * users, interactions / 4))


def _baseline(items: int, targets: float) -> float:
    """Multiply-adds of an epoch of SASRec at width 64 with full cross-entropy."""
    return 3.0 * targets * (2 * 12 * 64**2 + items * 64)


def _power_of_two(value: float, least: int, most: int) -> int:
    """The nearest power of two by its logarithm, within bounds."""
    return int(min(max(2 ** round(math.log2(max(value, 1))), least), most))

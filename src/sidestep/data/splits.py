"""Who may see what. Nothing but this module hands out training interactions and evaluation cases.

The co-occurrence graph, the popularity counts, the tokenizer and the training loop accept `TrainingInteractions`
alone, a type that only a split makes: passing the whole log to any of them is a type error.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sidestep.config import Section
from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.errors import DataError

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class SplitConfig(Section):
    """How the log is divided.

    kind: leave-one-out holds out each user's last `hold_out` interactions for test and as many before for validation;
        global-time holds out, per user, the first `hold_out` interactions at or after `valid_from` and `test_from`,
        or as many as there are.
    hold_out: interactions of a user that are test cases, each with everything before it as its history. More than one
        gives logs of few users with long histories enough cases.
    valid_from, test_from: milliseconds since 1970; None takes the times before which 80 % and 90 % of the timed
        interactions lie. Global-time only.
    """

    kind: Literal["leave-one-out", "global-time"] = "leave-one-out"
    hold_out: int = Field(1, ge=1)
    valid_from: int | None = None
    test_from: int | None = None

    @property
    def name(self) -> str:
        """The split in a few words, as a protocol states it."""
        if self.hold_out == 1:
            return self.kind
        return f"leave-{self.hold_out}-out" if self.kind == "leave-one-out" else f"{self.kind}, {self.hold_out} a user"


@dataclass(frozen=True, repr=False)
class TrainingInteractions(Interactions):
    """Interactions that every training stage may see. Made by `split` only, and divided by `of_users`."""

    def of_users(self, chosen: Mask) -> "TrainingInteractions":
        """Those of the users where `chosen[U]` is true; the others stay, without a row."""
        part = self.take(chosen[self.users])
        assert isinstance(part, TrainingInteractions)
        return part


@dataclass(frozen=True)
class Cases:
    """Questions with a known answer: given all that user `users[c]` did before row `rows[c]`, which item is next?

    interactions: the whole log, private to the evaluation.
    users: user number of each case, `[C]`, rising; a user has several cases where the split holds out several items.
    rows: the row of `interactions` that holds the target, `[C]`, rising.
    """

    interactions: Interactions
    users: Ints
    rows: Ints

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_users(self) -> int:
        return len(np.unique(self.users))

    @property
    def targets(self) -> Ints:
        """Target items, `[C]`."""
        return self.interactions.items[self.rows]

    @property
    def lengths(self) -> Ints:
        """Interactions of the user up to and including the target, `[C]`: what `users >= 10` counts at test."""
        return self.rows - self.interactions.offsets[self.users] + 1

    def history(self, case: int) -> Ints:
        """Everything before the target, oldest first."""
        return self.interactions.items[self.interactions.offsets[self.users[case]] : self.rows[case]]

    def history_times(self, case: int) -> Ints:
        """When each item of `history` was taken, in milliseconds, `NO_TIME` where unknown."""
        return self.interactions.known_times[self.interactions.offsets[self.users[case]] : self.rows[case]]

    @property
    def asked(self) -> Ints:
        """When each target is asked for, `[C]`: when it was taken."""
        return self.interactions.known_times[self.rows]

    def seen(self, case: int) -> Ints:
        """The items of the history without the target, each once, in ascending order: what a list that masks seen items
        leaves out. A repeated target stays in, since it is the answer.
        """
        return np.setdiff1d(self.history(case), self.targets[case])

    def take(self, cases: Ints) -> "Cases":
        return Cases(self.interactions, self.users[cases], self.rows[cases])

    def sample(self, size: int, seed: int) -> "Cases":
        """At most `size` cases, drawn once and kept in order."""
        if size >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), size=size, replace=False)
        return self.take(np.sort(chosen))


@dataclass(frozen=True)
class Split:
    """train: what training may see. valid, test: the held-out cases. short_users: users without a held-out case."""

    train: TrainingInteractions
    valid: Cases
    test: Cases
    short_users: int


def split(interactions: Interactions, config: SplitConfig) -> Split:
    """Divide the log.

    Raises:
        DataError: an empty log, nobody with a held-out interaction, or a global-time split without absolute times.
    """
    if len(interactions) == 0:
        raise DataError("The log holds no interactions; expected at least one user with three")
    rows = np.arange(len(interactions))
    owners = interactions.users
    if config.kind == "leave-one-out":
        valid, test = _last_of_each(interactions, config)
        keep = np.ones(len(interactions), dtype=bool)
        keep[valid.rows] = keep[test.rows] = False
    else:
        valid_from, test_from = _boundaries(interactions, config)
        assert interactions.times is not None
        late = interactions.times >= valid_from
        keep = ~(late | _after_any(late, interactions))  # untimed rows behind a held-out one belong to its future
        tested = interactions.times >= test_from
        in_valid = late & ~tested & ~_after_any(tested, interactions)  # where positions contradict times
        valid = _first_of_each(interactions, rows[in_valid], owners, config.hold_out)
        test = _first_of_each(interactions, rows[tested], owners, config.hold_out)
        if min(len(valid), len(test)) == 0 or not keep.any():
            raise DataError(
                f"The global-time split at {valid_from} and {test_from} ms leaves {int(keep.sum())} interactions to "
                f"train on, {valid.num_users} users to validate and {test.num_users} to test; none may be empty. "
                "Choose split.valid_from and split.test_from inside the log's time span"
            )
    kept = interactions.take(keep)
    train = TrainingInteractions(kept.user_ids, kept.offsets, kept.items, kept.times, kept.absolute_times)
    if train.lengths.max() < 2:
        raise DataError(
            "Nobody has two interactions to train on once validation and test are held out: the longest history has "
            f"{interactions.lengths.max()}; at least one user needs {2 * config.hold_out + 2} (or, split by time, 2 "
            "before split.valid_from)"
        )
    short = interactions.num_users - len(np.union1d(valid.users, test.users))
    return Split(train, valid, test, short)


def _boundaries(interactions: Interactions, config: SplitConfig) -> tuple[int, int]:
    if not interactions.absolute_times or interactions.times is None:
        raise DataError(
            "split.kind = 'global-time' needs times that can be compared between users, and this log has none; "
            "use split.kind = 'leave-one-out', or name a column of absolute times in data.time"
        )
    timed = interactions.times[interactions.times != NO_TIME]
    if len(timed) == 0:
        raise DataError("split.kind = 'global-time' needs times, and every time in this log is empty")
    default_valid, default_test = (int(np.quantile(timed, q)) for q in (0.8, 0.9))
    valid_from = default_valid if config.valid_from is None else config.valid_from
    test_from = default_test if config.test_from is None else config.test_from
    if not valid_from < test_from:
        raise DataError(f"split.valid_from = {valid_from} must lie before split.test_from = {test_from}")
    return valid_from, test_from


def _last_of_each(interactions: Interactions, config: SplitConfig) -> tuple[Cases, Cases]:
    """The last `hold_out` rows of every user who is long enough, and as many before them: test and validation.

    Raises:
        DataError: nobody is long enough.
    """
    count, needed = config.hold_out, 2 * config.hold_out + 1
    long_enough = np.flatnonzero(interactions.lengths >= needed)
    if len(long_enough) == 0:
        wide = "" if count == 1 else f"; or choose a smaller split.hold_out than {count}"
        raise DataError(
            f"No user is long enough for {config.name}: the longest history has {interactions.lengths.max()} "
            f"interactions; {needed} hold a user out (training, validation, test), and {needed + 1} give something to "
            f"train on{wide}"
        )
    ends, users = interactions.offsets[long_enough + 1], np.repeat(long_enough, count)
    tested = (ends[:, None] + np.arange(-count, 0)).ravel()
    return Cases(interactions, users, tested - count), Cases(interactions, users, tested)


def _first_of_each(interactions: Interactions, rows: Ints, owners: Ints, count: int) -> Cases:
    """The first `count` of the given rows of each user, without those that have no history."""
    _, first, counts = np.unique(owners[rows], return_index=True, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(first, counts)
    chosen = rows[place < count]
    users = owners[chosen]
    has_history = chosen > interactions.offsets[users]
    return Cases(interactions, users[has_history], chosen[has_history])


def _after_any(marked: Mask, interactions: Interactions) -> Mask:
    """Rows `[E]` that stand behind a marked row of the same user."""
    so_far = np.concatenate([[0], np.cumsum(marked)])
    before_user = np.repeat(so_far[interactions.offsets[:-1]], interactions.lengths)
    return so_far[:-1] > before_user

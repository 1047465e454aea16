"""A first look at somebody's own files: what they hold, and what looks wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sidestep.data.interactions import NO_TIME, Interactions
from sidestep.data.sources import READERS, DataConfig, Dataset
from sidestep.data.sources.assemble import ITEM_KEY, Tables, assemble, lookup
from sidestep.data.sources.decisions import Given, Guess, Taken
from sidestep.data.sources.guess import guess
from sidestep.data.sources.moments import spelled
from sidestep.data.sources.ratings import rating_columns, rating_notes
from sidestep.data.sources.twins import odd_spellings
from sidestep.errors import DataError, brief

__all__ = ["Findings", "Given", "inspect"]

IN_TABLE = {"user", "item", "time", "order", "event", "item_key", "item_id", "text_fields"}
"""Keys whose reasons stand beside the columns."""

NOBODY = (
    *("unknown", "(unknown)", "anonymous", "anon", "guest", "default", "other", "others", "0", "-1"),
    *("00000000-0000-0000-0000-000000000000", "unbekannt", "anonym", "gast", "inconnu", "desconocido"),
)
"""What programs and people write where there is no user, and what may be one's name."""


@dataclass(frozen=True)
class Findings:
    """What a look at the files found. Shares lie in 0..1; times are milliseconds.

    config: the [data] section that reads the files; every count below is what it reads.
    columns: every column of the files, what it is taken for and why. reasons: why each key is set as it is.
    lengths: shortest, median and longest history.
    repeats: share of interactions whose user had the item before.
    span: first and last known time, None without times.
    ties: share of neighbouring interactions of a user at the same known time.
    long_enough: share of users with at least 3 and at least 5 interactions.
    text: share of items with text.
    problems: what looks wrong, in words.
    """

    config: DataConfig
    columns: list[Taken]
    reasons: list[str]
    users: int
    items: int
    interactions: int
    lengths: tuple[int, float, int]
    repeats: float
    span: tuple[int, int] | None
    ties: float
    long_enough: tuple[float, float]
    text: float
    problems: list[str]

    @property
    def density(self) -> float:
        """Interactions per cell of the user-item table."""
        return self.interactions / (self.users * self.items)

    def lines(self) -> list[str]:
        """The findings for a person to read."""
        shortest, median, longest = self.lengths
        return [
            *_columns_table(self.columns),
            *(f"  {reason}" for reason in self.reasons if reason.split(" = ")[0] not in IN_TABLE),
            f"{self.users:,} users, {self.items:,} items, {self.interactions:,} interactions, "
            f"{self.density:.3%} of all user-item pairs",
            f"histories: shortest {shortest}, median {median:g}, longest {longest}; "
            f"{self.long_enough[0]:.1%} of the users have at least 3 interactions, "
            f"{self.long_enough[1]:.1%} at least 5",
            f"{self.repeats:.1%} of the interactions repeat an item of the same user",
            _span_line(self.span, self.config.absolute_times, self.ties),
            f"text: {self.text:.1%} of the items have some"
            + ("" if self.text else "; vectors will come from behaviour alone"),
            *(f"look at this: {problem}" for problem in self.problems),
        ]


def inspect(interactions: Path, items: Path | None = None, given: Given | None = None) -> Findings:
    """Guess the columns, read the files as a recipe would, and measure.

    given: what the user says about columns.

    Raises:
        DataError: a file cannot be read, or columns whose roles cannot be known.
    """
    guessed = guess(interactions, items, given)
    config = guessed.config
    try:
        tables = READERS[config.source](config)
    except DataError:  # some rows are bad; too many of them are refused here, too
        tables = READERS[config.source](config.model_copy(update={"bad_rows": "drop"}))
        guessed.decide("bad_rows", "drop", "some rows lack what they need")
    problems = [*guessed.doubts, *_ways_out(tables, guessed)]
    dataset = assemble(tables, guessed.config, seed=0)
    in_table = config.source == "table"
    ratings = guessed.ratings if in_table else rating_notes(rating_columns(interactions, config.source))
    problems += _odd_ids(tables) + _odd_counts(dataset) + ratings
    return _measure(guessed, dataset, problems + dataset.notes)


def _ways_out(tables: Tables, guessed: Guess) -> list[str]:
    """Settings without which these files cannot be read at all, and what each stands for.

    Raises:
        DataError: more interactions name unknown items than may be dropped.
    """
    problems: list[str] = []
    if tables.items is None:
        return problems
    keys = tables.items[ITEM_KEY]
    if keys.n_unique() < len(keys) or tables.items["item_id"].n_unique() < len(keys):
        guessed.settings["duplicate_items"] = "first"
        problems.append('the items file repeats items; the recipe keeps the first (data.duplicate_items = "first")')
    unknown = int((lookup(tables.log[ITEM_KEY], keys.unique(maintain_order=True)) < 0).sum())
    limit = guessed.config.bad_rows_limit
    if unknown > limit * len(tables.log):
        raise DataError(
            f"{unknown:,} of {len(tables.log):,} interactions name items that the items file lacks, more than the "
            f"{limit:.0%} that may be dropped; check --items, name the columns with --item LOG=ITEMS, or write a "
            'recipe with data.unknown_items = "drop"'
        )
    if unknown:
        guessed.settings["unknown_items"] = "drop"
        problems.append(f'{unknown} interactions name unknown items; the recipe says data.unknown_items = "drop"')
    return problems


def _odd_ids(tables: Tables) -> list[str]:
    return [problem for column in ("user_id", ITEM_KEY) for problem in odd_spellings(tables.log[column])]


def _odd_counts(dataset: Dataset) -> list[str]:
    problems, log = [], dataset.interactions
    if (longest := int(log.lengths.max())) < 4:
        problems.append(
            f"no user has {max(longest + 1, 3)} interactions: two of each are held out and training needs two, so "
            "nothing can be trained; is the user column right?"
        )
    elif float((log.lengths >= 5).mean()) < 0.5:
        problems.append("most users have fewer than 5 interactions; data.k_core = 5 would keep the dense part")
    most, second = int(log.lengths.argmax()), int(np.sort(log.lengths)[-2:][0]) if log.num_users > 1 else 0
    if log.user_ids[most].strip().lower() in NOBODY and longest > second:
        problems.append(
            f"user {brief(log.user_ids[most])!r} has {longest:,} interactions, more than any other; where it stands "
            "for no user, add it to data.missing"
        )
    popularity = log.popularity(len(dataset.catalog))
    if len(popularity) > 20 and popularity.max() > 0.1 * len(log):
        item_id = dataset.catalog.item_ids[int(popularity.argmax())]
        problems.append(f"item {brief(item_id)!r} takes {popularity.max() / len(log):.0%} of all interactions")
    return problems


def _measure(guessed: Guess, dataset: Dataset, problems: list[str]) -> Findings:
    log, texts = dataset.interactions, dataset.catalog.texts
    pairs = pl.DataFrame({"user": log.users, "item": log.items}).n_unique()
    return Findings(
        config=guessed.config,
        columns=guessed.columns,
        reasons=guessed.reasons,
        users=log.num_users,
        items=len(dataset.catalog),
        interactions=len(log),
        lengths=(int(log.lengths.min()), float(np.median(log.lengths)), int(log.lengths.max())),
        repeats=1 - pairs / len(log),
        span=_span(log),
        ties=_ties(log),
        long_enough=(float((log.lengths >= 3).mean()), float((log.lengths >= 5).mean())),
        text=0.0 if texts is None else float(np.mean([bool(text) for text in texts])),
        problems=problems,
    )


def _span(log: Interactions) -> tuple[int, int] | None:
    timed = log.times[log.times != NO_TIME] if log.times is not None else np.empty(0, dtype=np.int64)
    return (int(timed.min()), int(timed.max())) if len(timed) else None


def _ties(log: Interactions) -> float:
    if log.times is None or len(log) < 2:
        return 0.0
    neighbours = log.users[1:] == log.users[:-1]
    tied = neighbours & (log.times[1:] == log.times[:-1]) & (log.times[1:] != NO_TIME)
    return float(tied.sum() / max(int(neighbours.sum()), 1))


def _span_line(span: tuple[int, int] | None, absolute: bool, ties: float) -> str:
    if span is None:
        return "times: none, so only a leave-one-out split is possible"
    tied = f"; {ties:.1%} of neighbouring interactions share their time (data.ties)"
    if not absolute:
        return f"times: relative, over {(span[1] - span[0]) / 86_400_000:,.1f} days{tied}"
    first, last = map(spelled, span)
    return f"times: {first} to {last}{tied}"


def _columns_table(columns: list[Taken]) -> list[str]:
    """Every column with its role and the reason, aligned, under the name of its file."""
    lines: list[str] = []
    width = max((len(brief(taken.column, 28)) for taken in columns), default=0)
    roles = max((len(taken.role) for taken in columns), default=0)
    for place, taken in enumerate(columns):
        if place == 0 or columns[place - 1].file != taken.file:
            lines.append(f"{taken.file}:")
        lines.append(f"  {brief(taken.column, 28):{width}}  {taken.role:{roles}}  {taken.why}")
    return lines

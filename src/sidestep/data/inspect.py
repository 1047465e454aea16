"""A first look at somebody's own files: what they hold, what looks wrong, and a recipe that runs on them."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from sidestep.data.interactions import NO_TIME, Interactions
from sidestep.data.sources import READERS, DataConfig, Dataset
from sidestep.data.sources.assemble import ITEM_KEY, Tables, assemble, lookup
from sidestep.data.sources.guess import guess, rating_column
from sidestep.errors import DataError

WRITTEN_KEYS = (
    *("source", "path", "interactions", "items", "user", "item", "order", "time", "time_unit", "absolute_times"),
    *("item_key", "item_id", "text_fields", "unknown_items", "duplicate_items"),
)
SMALL = """[generator] # a third of TIGER's parameters; leave the section out for all of them
num_heads = 4
head_width = 32
inner = 512
encoder_layers = 2
decoder_layers = 2

[train] # sized by the log for a laptop without a GPU; more epochs and patience may find more
epochs = {epochs}
batch_size = {batch_size}
lr = 0.002
warmup_steps = {warmup}
weight_decay = 0.05
patience = {patience}
"""
BATCH, STEPS = 512, 6_000
TABLE_ONLY = {"user", "item", "order", "time", "time_unit", "absolute_times", "item_key", "item_id", "text_fields"}


@dataclass(frozen=True)
class Findings:
    """What a look at the files found. Shares lie in 0..1; times are milliseconds.

    config: the [data] section that reads the files; every count below is what it reads.
    reasons: why each column was taken for what it is.
    lengths: shortest, median and longest history.
    repeats: share of interactions whose user had the item before.
    span: first and last known time, None without times.
    ties: share of neighbouring interactions of a user at the same known time.
    long_enough: share of users with at least 3 and at least 5 interactions.
    text: share of items with text.
    problems: what looks wrong, in words.
    """

    config: DataConfig
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
            *(f"  {reason}" for reason in self.reasons),
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


def inspect(interactions: Path, items: Path | None = None) -> Findings:
    """Guess the columns, read the files as a recipe would, and measure.

    Raises:
        DataError: a file cannot be read, or no column can be told to hold users, items or their ids.
    """
    guessed = guess(interactions, items)
    tables = READERS[guessed.config.source](guessed.config)
    problems = [*guessed.doubts, *_ways_out(tables, guessed.settings)]
    config = guessed.config
    dataset = assemble(tables, config, seed=0)
    problems += _odd_ids(tables) + _odd_counts(dataset)
    if config.source == "table" and (rating := rating_column(interactions)) is not None:
        problems.append(
            f"column {rating!r} looks like a rating: every row counts as an interaction, whatever its value; "
            "filter the file first if low ratings should not"
        )
    return _measure(config, guessed.reasons, dataset, problems + dataset.notes)


def recipe(findings: Findings) -> str:
    """A TOML recipe that trains S2GR on the inspected files, of a size that suits a laptop."""
    config = findings.config.model_dump(mode="json")
    default = DataConfig().model_dump(mode="json")
    chosen = [key for key in WRITTEN_KEYS if config[key] != default[key] or key in ("source", "path")]
    if findings.config.source != "table":
        chosen = [key for key in chosen if key not in TABLE_ONLY]
    lines = [
        "# Written by `sidestep init`: every key may be changed, `sidestep recipes` shows more of them.",
        f"# {findings.users:,} users, {findings.items:,} items, {findings.interactions:,} interactions.",
        'method = "s2gr"',
        "",
        "[data]",
        *(f"{key} = {_toml(config[key])}" for key in chosen),
        "",
        _small(findings.interactions),
    ]
    return "\n".join(lines)


def _small(interactions: int) -> str:
    """About as many steps as Beauty gets: more epochs for a small log, within reason, and a shorter warm-up."""
    steps = math.ceil(interactions / BATCH)
    epochs = min(max(math.ceil(STEPS / steps), 16), 100)
    warmup = min(500, epochs * steps // 10)
    return SMALL.format(epochs=epochs, batch_size=BATCH, warmup=warmup, patience=epochs // 4)


def _ways_out(tables: Tables, settings: dict[str, object]) -> list[str]:
    """Open the doors these files need to be read at all, and say which."""
    problems: list[str] = []
    if tables.items is None:
        return problems
    keys = tables.items[ITEM_KEY]
    if keys.n_unique() < len(keys) or tables.items["item_id"].n_unique() < len(keys):
        settings["duplicate_items"] = "first"
        problems.append('the items file repeats items; the recipe keeps the first (data.duplicate_items = "first")')
    unknown = int((lookup(tables.log[ITEM_KEY], keys.unique(maintain_order=True)) < 0).sum())
    if unknown:
        settings["unknown_items"] = "drop"
        problems.append(f'{unknown} interactions name unknown items; the recipe says data.unknown_items = "drop"')
    return problems


def _odd_ids(tables: Tables) -> list[str]:
    problems = []
    for column in ("user_id", ITEM_KEY):
        distinct = tables.log[column].unique()
        padded = int((distinct != distinct.str.strip_chars()).sum())
        if padded:
            problems.append(f"{padded} values of {column} begin or end with blanks, which count as part of the id")
        folded = len(distinct) - distinct.str.strip_chars().str.to_lowercase().n_unique()
        if folded > padded:
            problems.append(f"{folded} values of {column} differ from another only in case or blanks")
    return problems


def _odd_counts(dataset: Dataset) -> list[str]:
    problems, log = [], dataset.interactions
    if int(log.lengths.max()) < 3:
        problems.append("no user has 3 interactions, which a leave-one-out split needs; is the user column right?")
    elif float((log.lengths >= 5).mean()) < 0.5:
        problems.append("most users have fewer than 5 interactions; data.k_core = 5 would keep the dense part")
    popularity = log.popularity(len(dataset.catalog))
    if len(popularity) > 20 and popularity.max() > 0.1 * len(log):
        item_id = dataset.catalog.item_ids[int(popularity.argmax())]
        problems.append(f"item {item_id!r} takes {popularity.max() / len(log):.0%} of all interactions")
    return problems


def _measure(config: DataConfig, reasons: list[str], dataset: Dataset, problems: list[str]) -> Findings:
    log, texts = dataset.interactions, dataset.catalog.texts
    pairs = pl.DataFrame({"user": log.users, "item": log.items}).n_unique()
    return Findings(
        config=config,
        reasons=reasons,
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
    first, last = (datetime.fromtimestamp(moment / 1000, tz=UTC).date().isoformat() for moment in span)
    return f"times: {first} to {last}{tied}"


def _toml(value: object) -> str:
    """A value of the section as TOML; JSON's strings, booleans, numbers and lists of strings are TOML's as well."""
    if isinstance(value, (str, bool, int, float, list)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise DataError(f"Cannot write {value!r} as TOML")

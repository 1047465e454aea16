"""The outcome of a study: rows with our figures and published ones, tests, curves, and the missing cells."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sidestep.evaluation.seeds import Spread
from sidestep.evaluation.significance import Comparison
from sidestep.studies.rows import Published, Row, Study
from sidestep.studies.shapes import Gain, Verdict


@dataclass(frozen=True)
class Entry:
    """One row of one block.

    seeds: of the finished cells. figures: by metric; empty without cells. interval: of the main metric, 95 %.
    published: comparable published figures, at most one set. against, test: the row compared with, and this row minus
    that one. epochs: completed and configured. balances: weight of the item scores in fused models.
    """

    row: Row
    seeds: tuple[int, ...] = ()
    figures: Mapping[str, Spread] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    published: Published | None = None
    against: str | None = None
    test: Comparison | None = None
    beyond: Mapping[str, float] = field(default_factory=dict)
    epochs: str = ""
    balances: tuple[float, ...] = ()

    @property
    def codes_count(self) -> bool:
        """Whether codes have any weight, so that the row differs from the scorer that it is fused with."""
        return not self.balances or any(balance < 1 for balance in self.balances)

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        published = self.published
        return {
            "row": self.row.name,
            "method": self.row.method,
            "sets": list(self.row.sets),
            "seeds": list(self.seeds),
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "published": None if published is None else {"source": published.source, **published.figures},
            "against": self.against,
            "test": None if self.test is None else {**asdict(self.test), "difference": self.test.difference},
            "beyond": dict(self.beyond),
            "epochs": self.epochs,
            "balances": list(self.balances),
        }

    def beside(self, metric: str) -> tuple[float, float] | None:
        """The published figure, and ours minus the published one."""
        if self.published is None or metric not in self.published.figures or metric not in self.figures:
            return None
        other = self.published.figures[metric]
        return other, self.figures[metric].mean - other


@dataclass(frozen=True)
class Block:
    """All rows under one protocol: order of ties, treatment of seen items, and group of users."""

    ties: str
    seen: str
    users: str
    num_users: int
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        whose = "all users" if self.users == "all" else f"users with {self.users.lstrip('>=')} interactions or more"
        return f"ties {self.ties}, seen items {self.seen}, {whose}"

    @property
    def finished(self) -> tuple[Entry, ...]:
        """The rows with at least one finished cell."""
        return tuple(entry for entry in self.entries if entry.seeds)

    @property
    def without_cells(self) -> tuple[str, ...]:
        """The names of the rows without a finished cell."""
        return tuple(entry.row.name for entry in self.entries if not entry.seeds)

    @property
    def compared(self) -> bool:
        return any(entry.published for entry in self.entries)

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(entry.published.source for entry in self.entries if entry.published))

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        ways = {"ties": self.ties, "seen": self.seen, "users": self.users, "num_users": self.num_users}
        return {**ways, "rows": [entry.as_json() for entry in self.entries]}

    def best(self, metric: str) -> float | None:
        """The highest figure, without fused rows that equal their scorer."""
        entries = [entry for entry in self.entries if entry.codes_count]
        known = [entry.figures[metric].mean for entry in entries if metric in entry.figures]
        return max(known, default=None)


@dataclass(frozen=True)
class Spot:
    """A point of a curve: its name, its position on the axis, the mean and its 95 % interval over users."""

    name: str
    at: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curves:
    """Lines over one axis. across: rows without a position on it."""

    axis: str
    lines: Mapping[str, Sequence[Spot]]
    across: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Cost:
    """Means over the cells of a row. epoch_seconds: of training. user_seconds: of decoding a user's list; None if
    unknown. ndcg: the main metric.
    """

    row: str
    parameters: int
    epoch_seconds: float | None
    user_seconds: float | None
    ndcg: float


@dataclass(frozen=True)
class CellStatus:
    """The status of one cell. there: whether it is finished. minutes: expected, if it is missing; None if unknown."""

    row: str
    ties: str
    seed: int
    there: bool
    minutes: float | None = None


@dataclass(frozen=True)
class Absent:
    """The missing cells of one row and order of ties. minutes: expected time for all of them; None if unknown."""

    row: str
    ties: str
    seeds: tuple[int, ...]
    minutes: float | None


@dataclass(frozen=True)
class Outcome:
    """data: name and sizes in words. protocol: the rest of the protocol. machines: that recorded the cells.
    groups: names and user counts of the groups by length, with the gains. analysis: row -> name -> figure.
    """

    study: Study
    recipe: str
    overrides: tuple[str, ...]
    data: str
    seeds: tuple[int, ...]
    cells: tuple[CellStatus, ...]
    blocks: tuple[Block, ...] = ()
    curves: tuple[Curves, ...] = ()
    groups: tuple[tuple[str, int, Gain], ...] = ()
    costs: tuple[Cost, ...] = ()
    analysis: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)
    verdict: Verdict | None = None
    protocol: str = ""
    machines: tuple[str, ...] = ()

    @property
    def missing(self) -> list[CellStatus]:
        return [cell for cell in self.cells if not cell.there]

    @property
    def absent(self) -> list[Absent]:
        """The missing cells by row and ties."""
        groups: dict[tuple[str, str], list[CellStatus]] = {}
        for cell in self.missing:
            groups.setdefault((cell.row, cell.ties), []).append(cell)
        return [
            Absent(row, ties, tuple(cell.seed for cell in cells), _sum([cell.minutes for cell in cells]))
            for (row, ties), cells in groups.items()
        ]

    @property
    def main(self) -> Block | None:
        """The first block, which is also plotted."""
        return self.blocks[0] if self.blocks else None

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "study": self.study.name,
            "recipe": self.recipe,
            "overrides": list(self.overrides),
            "data": self.data,
            "protocol": self.protocol,
            "machines": list(self.machines),
            "cells": [asdict(cell) for cell in self.cells],
            "blocks": [block.as_json() for block in self.blocks],
            "curves": [asdict(curves) for curves in self.curves],
            "groups": [{"interactions": name, "users": size, **gain.as_json()} for name, size, gain in self.groups],
            "costs": [asdict(cost) for cost in self.costs],
            "analysis": {row: {name: asdict(v) for name, v in values.items()} for row, values in self.analysis.items()},
            "stated": self.study.stated or None,
            "verdict": asdict(self.verdict) if self.verdict else None,
        }

    def notes(self) -> list[str]:
        """Notes on seeds, tests and protocol, one sentence each."""
        seeds = {len(entry.seeds) for block in self.blocks for entry in block.entries if entry.seeds}
        seeds |= {figure.seeds for values in self.analysis.values() for figure in values.values()}
        if not seeds:
            return []
        spread = (
            "One seed per row: no standard deviation over seeds."
            if seeds == {1}
            else "Mean over seeds \N{PLUS-MINUS SIGN} standard deviation; our figures without one have one seed."
        )
        test = (
            "Tests: paired bootstrap over users of the mean over seeds, two-sided, 10,000 draws; p is not corrected "
            "for the number of rows."
        )
        return [spread, *([test] if self.blocks else []), *([f"{self.protocol}."] if self.protocol else [])]

    def progress(self) -> str:
        """The numbers of finished and missing cells, and the expected time of the missing ones."""
        missing, total = self.missing, len(self.cells)
        if not missing:
            return f"All {total} cells are finished."
        known = [cell.minutes for cell in missing if cell.minutes is not None]
        unknown = len(missing) - len(known)
        minutes = f", about {sum(known):,.0f} minutes" if known else ""
        rest = f" and {unknown} of unknown length" if known and unknown else ", of unknown length" if unknown else ""
        return f"{total - len(missing)} of {total} cells are finished; {len(missing)} are missing{minutes}{rest}."


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def shown(figure: Spread | None) -> str:
    """`0.0424 ± 0.0004`; a dash for None."""
    if figure is None:
        return "\N{EN DASH}"
    spread = "" if figure.deviation is None else f" \N{PLUS-MINUS SIGN} {figure.deviation:.4f}"
    return f"{figure.mean:.4f}{spread}"


def signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")

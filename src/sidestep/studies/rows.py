"""One framework for every study: rows, times seeds, times settings, are cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from sidestep.errors import ConfigError, did_you_mean
from sidestep.evaluation.ranking import Seen
from sidestep.studies.cells import RUNS, Cell, Users, run_folder

Shape = Literal["rise then fall", "ends over middle", "steady gap", "none"]
Kind = Literal["table", "curve", "lengths"]

METRICS = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
MAIN = "NDCG@10"
"""What rows are compared by, and what curves show."""

S2GR = "S2GR (arXiv 2601.18664)"
"""The paper whose tables and figures these are, as a source of figures."""


@dataclass(frozen=True)
class Published:
    """Figures of others on Beauty, with ties in the order of the file or in an order that is not stated.

    figures: metric -> value. users: whose they are. seen: how items of the history are treated; None where that
        is not stated.
    """

    source: str
    figures: Mapping[str, float]
    users: Users
    seen: Seen | None

    def fits(self, users: str, seen: str) -> bool:
        return self.users == users and self.seen in (None, seen)


@dataclass(frozen=True)
class Row:
    """A method with settings over the recipe; a cell for each seed.

    method: a row of the table of methods, or one without training; empty where the row is a tokenizer, whose cells are
        semantic IDs, and the method trained on them, if one is, the recipe's own.
    against: the row that it is tested against by default.
    at, line: where it stands on the axis of a curve, and on which curve; a row of a curve without a place is drawn
        across. shuffled: whether it also has cells with the ties of each user shuffled.
    parts: the rows of a generator and a scorer that are trained by themselves and then fused.
    """

    name: str
    method: str = ""
    sets: tuple[str, ...] = ()
    against: str | None = None
    published: tuple[Published, ...] = ()
    at: float | None = None
    line: str = ""
    shuffled: bool = False
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """asks: the question. stated: the answer of the paper in words, where it gives no figures. shape: the same, as a
    shape that figures can be tested for.

    axis: what a curve is over; where it is empty, every line has an axis of its own, and its name.
    industrial: whether the paper shows it on its own industrial data. costs: whether the time that rows take is shown.
    ratios: the hours it gives as (TIGER, S2GR), of training and of inference. analysis: whether figures of the
    models' inside are shown.
    """

    name: str
    title: str
    asks: str
    rows: tuple[Row, ...]
    kind: Kind = "table"
    stated: str = ""
    shape: Shape = "none"
    axis: str = ""
    industrial: bool = False
    costs: bool = False
    ratios: Mapping[str, tuple[float, float]] | None = None
    analysis: bool = False

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            ConfigError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        known = [row.name for row in self.rows]
        raise ConfigError(
            f"Study {self.name!r} has no row {name!r}{did_you_mean(name, known)}; it has {'; '.join(known)}"
        )

    def chosen(self, only: Sequence[str]) -> tuple[Row, ...]:
        """These rows alone, each once, in this order; all rows where none is named. Raises as `row`."""
        return tuple(self.row(name) for name in dict.fromkeys(only)) or self.rows


def study_of(studies: Mapping[str, Study], name: str, others: Sequence[str] = ()) -> Study:
    """The study of that name. others: names that belong to another table, for the message.

    Raises:
        ConfigError: there is none.
    """
    if name not in studies:
        known = [*studies, *others]
        raise ConfigError(f"No study {name!r}{did_you_mean(name, known)}; expected one of {', '.join(known)}")
    return studies[name]


@dataclass(frozen=True)
class Slot:
    """The place of a cell in a study."""

    row: Row
    ties: str
    seed: int
    cell: Cell


def slots(
    study: Study,
    recipe: str,
    overrides: Sequence[str],
    ties: str,
    seeds: Sequence[int],
    only: Sequence[str] = (),
    runs: Path = RUNS,
) -> list[Slot]:
    """Every cell of a study: its rows, some of them again with shuffled ties, for every seed.

    ties: the recipe's own. only: these rows alone. runs: where cells are trained.

    Raises:
        ConfigError: the study has no such row.
    """
    rows = study.chosen(only)
    found = []
    for row in rows:
        again = row.shuffled and ties == "file"
        for setting, seed in product((ties, "shuffled") if again else (ties,), seeds):
            other = () if setting == ties else (f"data.ties={setting}",)
            made_of = [study.row(name) for name in row.parts]
            parts = tuple(Cell(part.method, seed, (*overrides, *part.sets, *other), recipe) for part in made_of)
            fused = _fused(parts, runs) if parts else ()
            sets = (*overrides, *row.sets, *other, *fused)
            found.append(Slot(row, setting, seed, Cell(row.method, seed, sets, recipe, parts)))
    return found


def _fused(parts: Sequence[Cell], runs: Path) -> tuple[str, ...]:
    generator, scorer = (run_folder(part.path(Path()), runs) for part in parts)
    return f"fusion.generator={generator}", f"fusion.scorer={scorer}"

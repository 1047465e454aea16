"""The framework of all studies: rows x seeds x settings = cells."""

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
"""The metric of comparisons and curves."""

TEXT_ALONE = ("behaviour.source=none",)
PAPER = (
    *("generator.softmax=codebook", "generator.item_part=false", *TEXT_ALONE),
    *("thinking.carry=false", "thinking.residual=false", "thinking.code_weight=0", "thinking.head_weight=0"),
    *("thinking.levels=[]", "thinking.align_weight=1", "thinking.interest=true"),
)
"""Terms under which method `s2gr` is the paper's, as `s2gr-paper` is: cells keep the name that they were made with."""

S2GR = "S2GR (arXiv 2601.18664)"
"""The paper of these tables and figures, as the source of published figures."""


@dataclass(frozen=True)
class Published:
    """Published figures on Beauty, with ties in file order or unspecified.

    figures: metric -> value. users: of the evaluation. seen: treatment of items of the history; None if unspecified.
    """

    source: str
    figures: Mapping[str, float]
    users: Users
    seen: Seen | None

    def fits(self, users: str, seen: str) -> bool:
        return self.users == users and self.seen in (None, seen)


@dataclass(frozen=True)
class Row:
    """A method with settings that override the recipe; one cell per seed.

    method: a row of the table of methods, or one without training; empty for a tokenizer, whose cells are semantic IDs
        (a method that is trained on them is the recipe's own).
    terms: settings on which the study is made, whatever the method's defaults have become; the user's own win over
        them, and `sets` over both.
    against: the row that it is tested against by default.
    at, line: position on the axis of a curve, and the name of the curve; a row without position is a horizontal line.
    shuffled: whether it also has cells with shuffled ties.
    parts: the rows of a generator and a scorer that are trained separately and then fused.
    start: the row whose weights its training begins with.
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
    terms: tuple[str, ...] = ()
    start: str = ""

    @property
    def before(self) -> tuple[str, ...]:
        """The rows that are trained before it."""
        return self.parts or ((self.start,) if self.start else ())

    def settings(self, overrides: Sequence[str] = ()) -> tuple[str, ...]:
        """All overrides of the recipe, with the user's in their place."""
        return (*self.terms, *overrides, *self.sets)


@dataclass(frozen=True)
class Study:
    """asks: the question. stated: the paper's statement in words, if it gives no figures. shape: its testable form.

    axis: quantity on the axis of a curve; if empty, every line has its own axis, named like the line.
    judges: what a study of tokenizers measures: the IDs, the IDs and their agreement with labels, the vectors that the
        tokenizer reads, or all.
    industrial: whether the paper uses its own industrial data. costs: whether to report times.
    ratios: the paper's hours as (TIGER, S2GR), of training and of inference. analysis: whether to report that of the
    models. recipe: the built-in recipe that it is made for.
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
    judges: Literal["ids", "labels", "vectors", "both"] = "ids"
    costs: bool = False
    ratios: Mapping[str, tuple[float, float]] | None = None
    analysis: bool = False
    recipe: str = "s2gr-beauty"

    def row(self, name: str) -> Row:
        """The row with this name.

        Raises:
            ConfigError: an unknown row.
        """
        for row in self.rows:
            if row.name == name:
                return row
        known = [row.name for row in self.rows]
        raise ConfigError(
            f"Study {self.name!r} has no row {name!r}{did_you_mean(name, known)}; it has {'; '.join(known)}"
        )

    def chosen(self, only: Sequence[str]) -> tuple[Row, ...]:
        """The rows with these names, each once, in this order; all rows if `only` is empty. Raises as `row`."""
        return tuple(self.row(name) for name in dict.fromkeys(only)) or self.rows


def study_of(studies: Mapping[str, Study], name: str, others: Sequence[str] = ()) -> Study:
    """The study with this name. others: names of another table, for the message.

    Raises:
        ConfigError: an unknown study.
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
    """All cells of a study: its rows, some of them also with shuffled ties, for every seed.

    ties: the recipe's own. only: only these rows. runs: the folder of the trainings.

    Raises:
        ConfigError: an unknown row.
    """
    rows = study.chosen(only)
    planned = []
    for row in rows:
        both = row.shuffled and ties == "file"
        for setting, seed in product((ties, "shuffled") if both else (ties,), seeds):
            other = () if setting == ties else (f"data.ties={setting}",)
            part_rows = [study.row(name) for name in row.before]
            parts = tuple(Cell(part.method, seed, (*part.settings(overrides), *other), recipe) for part in part_rows)
            folders = [run_folder(part.path(Path()), runs) for part in parts]
            keys = ("train.start",) if row.start else ("fusion.generator", "fusion.scorer")
            made_of = tuple(f"{key}={folder}" for key, folder in zip(keys, folders, strict=False))
            sets = (*row.settings(overrides), *other, *made_of)
            planned.append(Slot(row, setting, seed, Cell(row.method, seed, sets, recipe, parts)))
    return planned

"""A cell of a study: one training on one dataset, and the small file with its result.

DATA/METHOD-SEED-DIGEST.json     a cell: settings, training, figures, every user's rank
DATA/METHOD-SEED-DIGEST.times.json     its measured times
DATA/cases-DIGEST.json           the users of the ranks and their history lengths; shared by the cells of a log
"""

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sidestep import artifact, durable, recipes
from sidestep.data.interactions import Ints
from sidestep.errors import ArtifactError, ConfigError, DataError
from sidestep.evaluation.metrics import METRICS, Values, named
from sidestep.evaluation.ranking import LONG_USERS, Seen
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import NON_NEURAL
from sidestep.studies import times
from sidestep.studies.identity import data_name, file_name, identity, own_training

FORMAT = 1
DEPTH = 100
"""Length of a cell's ranked lists."""
DEPTHS = (1, 5, 10, 20, 50, 100)
Users = Literal["all", ">=10"]
Place = tuple[Seen, Users]
GRID: tuple[Place, ...] = tuple((seen, users) for seen in get_args(Seen) for users in get_args(Users))


@dataclass(frozen=True)
class Cell:
    """The definition of one training.

    method: a row of `methods.METHODS`, or one that needs no training; empty for semantic IDs, which keep the recipe's
        method. sets: `key=value` overrides, the user's first and then the study's, since later ones win. recipe: a
        built-in name or a file.
    parts: cells whose trained models are fused in this one; they are trained first.

    A generator is trained with the recipe's settings. A baseline is trained with those of its own row, since it needs
    other steps and rates than a generator; `sets` override both.
    """

    method: str
    seed: int
    sets: tuple[str, ...]
    recipe: str
    parts: tuple["Cell", ...] = ()

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides for `sidestep run RECIPE`.

        Raises:
            ConfigError: an unknown method.
        """
        if not self.method:
            return (*self.sets, f"seed={self.seed}")
        method = [f"method={self.method}"] if self.method not in NON_NEURAL else []
        return (*method, *own_training(self.method), *self.sets, f"seed={self.seed}", f"evaluate.k={DEPTH}")

    def read(self) -> Recipe:
        """The whole recipe.

        Raises:
            ConfigError: an unknown recipe or method, or a wrong setting.
        """
        return recipes.read(self.recipe, self.overrides)

    def path(self, folder: Path) -> Path:
        """The path of the cell's file, which may not exist yet."""
        recipe = self.read()
        return folder / data_name(recipe) / file_name(identity(recipe, self.method))


@dataclass(frozen=True)
class DataPrint:
    """The identity of a data set: name and sizes. digest: of the numbered and ordered log.

    inputs: SHA-256 of the user's files by name; empty for older cells and for planted data.
    """

    name: str
    users: int
    items: int
    interactions: int
    digest: str
    inputs: Mapping[str, str] = field(default_factory=dict, compare=False)

    def fits(self, other: "DataPrint") -> bool:
        """Whether both are the same log, and the same files as far as both methods read them."""
        shared = self.inputs.keys() & other.inputs.keys()
        return self == other and all(self.inputs[name] == other.inputs[name] for name in shared)


@dataclass(frozen=True)
class Training:
    """The course of a training.

    asked, done: configured and completed epochs. best: the epoch whose weights were kept, from 1. scores: validation
        NDCG@10 after every epoch, None without validation. seconds: of all epochs, without validation; None if
        unknown. targets: per epoch.
    """

    asked: int
    done: int
    best: int
    scores: tuple[float | None, ...]
    seconds: float | None
    parameters: int
    targets: int


@dataclass(frozen=True)
class Machine:
    """The machine that recorded the cell. cores: of the recording process; the training may have had fewer."""

    cpu: str
    cores: int
    torch: str
    sidestep: str


@dataclass(frozen=True)
class CellResult:
    """The result of a cell.

    recipe: its name, if known. settings: dotted keys that differ from `Recipe`'s defaults, of the sections that the
        method depends on (`identity`). ties, split, k, beams: the protocol; beams is None without codes.
    training: None for popularity, item-kNN, and a fused model from two finished runs.
    grid: by seen items and users: `num_users` and the means `HR@k`, `NDCG@k`, `MRR@k` for k in `DEPTHS`; for all users
        also `coverage`, `gini`, `popularity`, `novelty` of the first 10 (see `evaluation.beyond`); of a second look
        also `kept` and the metrics of `evaluation.second_look.given`.
    ranks: by seen items, the rank of every case's target, `[C]`, 0 if it is not among the k.
    users, lengths: user number of every case, ascending, and interactions up to and including the target, `[C]`; a user
        has several cases if the split holds out several items.
    targets: digest of users, lengths and target items: cells with the same digest can be paired case by case.
    analysis: results of `sidestep analyse` for a generator.
    balance: weight of the item scores in a fused model, from 0 to 1.
    """

    method: str
    recipe: str
    settings: Mapping[str, Any]
    seed: int
    ties: str
    split: str
    k: int
    beams: int | None
    data: DataPrint
    training: Training | None
    machine: Machine
    grid: Mapping[Place, Mapping[str, float | int | None]]
    ranks: Mapping[Seen, Ints] = field(repr=False)
    users: Ints = field(repr=False)
    lengths: Ints = field(repr=False)
    targets: str
    analysis: Mapping[str, Any] | None = None
    balance: float | None = None

    def values(self, seen: Seen, users: Users, metric: str) -> Values:
        """One value per case of a metric such as `"NDCG@10"`.

        Raises:
            ConfigError: an unknown metric, or one deeper than the lists are long.
        """
        name, depth = named(metric)
        if depth > self.k:
            raise ConfigError(f"{metric} needs longer lists than the {self.k} items of this cell")
        return METRICS[name](self.ranks[seen][self.chosen(users)], depth)

    def chosen(self, users: Users) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The cases of these users, as a mask `[C]`."""
        return self.lengths >= (LONG_USERS if users == ">=10" else 0)

    def mean(self, seen: Seen, users: Users, metric: str) -> float | int | None:
        """A figure of the grid; None without such users, or if it was not measured."""
        return self.grid[seen, users].get(metric)

    @property
    def cases(self) -> str:
        """Digest of users and lengths: cells with the same digest can be averaged user by user."""
        return _digest(self.users, self.lengths)

    @property
    def place(self) -> str:
        """Folder and name of the cell's file."""
        return f"{self.data.name}/{file_name(self.settings)}"

    def save(self, folder: Path) -> Path:
        """Write the cell, and the file of its cases if it does not exist yet; both atomically. What a killed
        writer left beside them goes.
        """
        path = folder / self.place
        durable.sweep(path.parent)
        cases = _cases_file(path.parent, self.cases)
        if not cases.is_file():
            steps = np.diff(self.users, prepend=0)  # users ascend: steps of 0 and 1 compress well
            durable.write_json(cases, {"user_steps": _pack(steps), "lengths": _pack(self.lengths)})
        cell, seconds = times.apart(self._as_json())
        times.keep(path, seconds)
        durable.write_json(path, cell)
        return path

    def _as_json(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if name not in ("users", "lengths", "ranks", "grid")}
        return {
            **plain,
            "format": FORMAT,
            "settings": dict(self.settings),
            "data": asdict(self.data),
            "training": asdict(self.training) if self.training else None,
            "machine": asdict(self.machine),
            "grid": {f"{seen}, {users}": dict(figures) for (seen, users), figures in self.grid.items()},
            "ranks": {seen: _pack(ranks) for seen, ranks in self.ranks.items()},
            "cases": self.cases,
            "analysis": dict(self.analysis) if self.analysis is not None else None,
        }

    @classmethod
    def load(cls, path: Path) -> "CellResult":
        """Read a cell.

        Raises:
            ArtifactError: no file, not a cell, a cell of a newer release, or its cases are missing or do not match.
        """
        content = _read(path)
        if content.get("format") != FORMAT:
            raise ArtifactError(
                f"{str(path)!r} is not a cell of format {FORMAT} (its format: {content.get('format')!r})"
            )
        try:
            return cls._of_json(path, times.joined(path, content))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"{str(path)!r} is damaged ({error!r}); restore it, or remove it") from None

    @classmethod
    def _of_json(cls, path: Path, content: Mapping[str, Any]) -> "CellResult":
        cases_path = _cases_file(path.parent, content["cases"])
        cases = _read(cases_path)
        users, lengths = np.cumsum(_unpack(cases["user_steps"])), _unpack(cases["lengths"])
        if _digest(users, lengths) != content["cases"]:
            raise ArtifactError(f"{str(cases_path)!r} was changed after it was written; restore it, or remove it")
        training = content["training"]
        scores = {"scores": tuple(training["scores"])} if training else {}
        return cls(
            **{name: content[name] for name in ("method", "recipe", "settings", "seed", "ties", "split", "k", "beams")},
            data=DataPrint(**content["data"]),
            training=Training(**({"seconds": None} | training | scores)) if training else None,
            machine=Machine(**content["machine"]),
            grid={place: content["grid"][f"{place[0]}, {place[1]}"] for place in GRID},
            ranks={seen: _unpack(ranks) for seen, ranks in content["ranks"].items()},
            users=users,
            lengths=lengths,
            targets=content["targets"],
            analysis=content["analysis"],
            balance=content.get("balance"),
        )


RUNS = Path("runs/cells")


def run_folder(path: Path, runs: Path = RUNS) -> Path:
    """The run folder of the cell with the file `path`."""
    return runs / path.parent.name / path.stem


def load_existing(folder: Path, cells: Iterable[Cell]) -> dict[Cell, CellResult]:
    """The results of those cells whose files exist.

    Raises:
        ArtifactError: as `CellResult.load`. DataError: a cell of other input files than those of the recipe.
    """
    paths = {cell: cell.path(folder) for cell in cells}
    results = {cell: CellResult.load(path) for cell, path in paths.items() if path.is_file()}
    hashes: dict[Path, str] = {}
    for cell, result in results.items():
        data = cell.read().data.path
        for name, expected in result.data.inputs.items():
            path = data / name
            if not path.is_file():
                continue  # a study can be read without its data
            hashes[path] = hashes.get(path) or artifact.file_hash(path)
            if hashes[path] != expected:
                raise DataError(
                    f"{str(paths[cell])!r} was computed from another version of {str(path)!r}; keep the cells of other "
                    "data in their own folder, with --cells"
                )
    return results


def targets_digest(users: Ints, lengths: Ints, targets: Ints) -> str:
    """The digest that two cells must share to be paired case by case."""
    return _digest(users, lengths, targets)


def _digest(*columns: Ints) -> str:
    content = b"".join(np.ascontiguousarray(column, dtype="<i8").tobytes() for column in columns)
    return hashlib.sha256(content).hexdigest()[:16]


def _cases_file(folder: Path, digest: str) -> Path:
    return folder / f"cases-{digest[:8]}.json"


def _pack(values: Ints) -> dict[str, str]:
    """Whole numbers from 0 in the smallest type that holds them, compressed, as text."""
    kind = np.min_scalar_type(int(values.max(initial=0))).newbyteorder("<")
    packed = zlib.compress(np.ascontiguousarray(values, dtype=kind).tobytes(), 9)
    return {"type": kind.str, "zlib": base64.b64encode(packed).decode("ascii")}


def _unpack(packed: Mapping[str, str]) -> Ints:
    content = zlib.decompress(base64.b64decode(packed["zlib"]))
    return np.frombuffer(content, dtype=packed["type"]).astype(np.int64)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = durable.read_json(path)
    except FileNotFoundError:
        raise ArtifactError(f"No cell in {str(path)!r}; run its study") from None
    if not isinstance(content, dict):
        raise ArtifactError(f"{str(path)!r} is not a cell: expected a JSON object")
    return content

"""A cell of a study: one training on one dataset, and the small file that keeps its results.

DATA/METHOD-SEED-DIGEST.json     a cell: settings, training, figures, every user's rank
DATA/cases-DIGEST.json           the users of the ranks and their numbers of interactions; shared by the cells of a log
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sidestep import artifact, recipes
from sidestep.data.interactions import Ints
from sidestep.errors import ArtifactError, ConfigError, DataError
from sidestep.evaluation.metrics import METRICS, Values, named
from sidestep.evaluation.ranking import LONG_USERS, Seen
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import NON_NEURAL
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
    """A training that a study wants.

    method: a row of `methods.METHODS`, or one that needs no training; empty for semantic IDs, which leave the recipe's
        method as it is. sets: `key=value` overrides, the user's first and then the study's, since later ones win.
        recipe: a built-in name or a file.

    parts: cells whose trained models it consists of; they are trained before it.

    A generator is trained as the recipe says. A baseline is trained as its method's own row says, since it learns
    quickly and wants other steps than a generator; `sets` win over both.
    """

    method: str
    seed: int
    sets: tuple[str, ...]
    recipe: str
    parts: tuple["Cell", ...] = ()

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of `sidestep run RECIPE`.

        Raises:
            ConfigError: no such method.
        """
        if not self.method:
            return (*self.sets, f"seed={self.seed}")
        method = [f"method={self.method}"] if self.method not in NON_NEURAL else []
        return (*method, *own_training(self.method), *self.sets, f"seed={self.seed}", f"evaluate.k={DEPTH}")

    def read(self) -> Recipe:
        """The whole recipe.

        Raises:
            ConfigError: no such recipe or method, or a setting that is wrong.
        """
        return recipes.read(self.recipe, self.overrides)

    def path(self, folder: Path) -> Path:
        """The file of the cell, whether it exists or not."""
        recipe = self.read()
        return folder / data_name(recipe) / file_name(identity(recipe, self.method))


@dataclass(frozen=True)
class DataPrint:
    """Which data: name, sizes and content. digest: of the log as it is numbered and ordered.

    inputs: the SHA-256 of the user's files behind it, by file name; empty for older cells and for planted data.
    """

    name: str
    users: int
    items: int
    interactions: int
    digest: str
    inputs: Mapping[str, str] = field(default_factory=dict, compare=False)

    def fits(self, other: "DataPrint") -> bool:
        """Whether both are of one log, and of the same files where both methods read them."""
        shared = self.inputs.keys() & other.inputs.keys()
        return self == other and all(self.inputs[name] == other.inputs[name] for name in shared)


@dataclass(frozen=True)
class Training:
    """How long a model was trained.

    asked, done: epochs at most, and epochs trained. best: the epoch whose weights are kept, from 1. scores: validation
        NDCG@10 after every epoch, None for an epoch without validation. seconds: of all epochs without validation.
        targets: in an epoch.
    """

    asked: int
    done: int
    best: int
    scores: tuple[float | None, ...]
    seconds: float
    parameters: int
    targets: int


@dataclass(frozen=True)
class Machine:
    """The machine that recorded the cell. cores: those of the recording process; its training may have had fewer."""

    cpu: str
    cores: int
    torch: str
    sidestep: str


@dataclass(frozen=True)
class CellResult:
    """The results of a cell.

    recipe: its name, where that is known. settings: dotted keys that differ from `Recipe`'s defaults, of the sections
        that the results depend on (`identity`). ties, split, k, beams: the protocol; beams is None without codes.
    training: None without one: popularity, item-kNN, and a fused model of two finished runs.
    grid: by seen items and users: `num_users` and the means `HR@k`, `NDCG@k`, `MRR@k` for k in `DEPTHS`; for all users
        also `coverage`, `gini`, `popularity`, `novelty` of the first 10 (see `evaluation.beyond`).
    ranks: by seen items, the rank of every case's target, `[C]`, 0 where it is not among the k.
    users, lengths: user number of every case, rising, and interactions up to and including the target, `[C]`; a user
        has several cases where the split holds out several items.
    targets: digest of users, lengths and target items: cells that share it can be paired case by case.
    analysis: the figures of `sidestep analyse`, of a generator.
    balance: how much items count beside codes in a fused model, from 0 to 1.
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
            raise ConfigError(f"Cannot tell {metric} from a cell whose lists hold {self.k} items")
        return METRICS[name](self.ranks[seen][self.chosen(users)], depth)

    def chosen(self, users: Users) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the cases are of these users, `[C]`."""
        return self.lengths >= (LONG_USERS if users == ">=10" else 0)

    def mean(self, seen: Seen, users: Users, metric: str) -> float | int | None:
        """A figure of the grid; None where there are no such users, or it is not measured."""
        return self.grid[seen, users].get(metric)

    @property
    def cases(self) -> str:
        """Digest of users and lengths: cells that share it can be averaged user by user."""
        return _digest(self.users, self.lengths)

    @property
    def place(self) -> str:
        """Folder and name of the cell's file."""
        return f"{self.data.name}/{file_name(self.settings)}"

    def save(self, folder: Path) -> Path:
        """Write the cell, and the file of its users unless it exists; each whole or not at all."""
        path = folder / self.place
        cases = _cases_file(path.parent, self.cases)
        if not cases.is_file():
            steps = np.diff(self.users, prepend=0)  # users never fall: steps of 0 and 1 pack into next to nothing
            artifact.write_json(cases, {"user_steps": _pack(steps), "lengths": _pack(self.lengths)})
        artifact.write_json(path, self._as_json())
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
            ArtifactError: nothing there, no cell, one of a newer release, or its cases are missing or others.
        """
        held = _read(path)
        if held.get("format") != FORMAT:
            raise ArtifactError(f"{str(path)!r} is no cell of format {FORMAT} (its format: {held.get('format')!r})")
        try:
            return cls._of_json(path, held)
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"{str(path)!r} is damaged ({error!r}); restore it, or remove it") from None

    @classmethod
    def _of_json(cls, path: Path, held: Mapping[str, Any]) -> "CellResult":
        cases_path = _cases_file(path.parent, held["cases"])
        cases = _read(cases_path)
        users, lengths = np.cumsum(_unpack(cases["user_steps"])), _unpack(cases["lengths"])
        if _digest(users, lengths) != held["cases"]:
            raise ArtifactError(f"{str(cases_path)!r} was changed after it was written; restore it, or remove it")
        training = held["training"]
        return cls(
            **{name: held[name] for name in ("method", "recipe", "settings", "seed", "ties", "split", "k", "beams")},
            data=DataPrint(**held["data"]),
            training=Training(**{**training, "scores": tuple(training["scores"])}) if training else None,
            machine=Machine(**held["machine"]),
            grid={place: held["grid"][f"{place[0]}, {place[1]}"] for place in GRID},
            ranks={seen: _unpack(ranks) for seen, ranks in held["ranks"].items()},
            users=users,
            lengths=lengths,
            targets=held["targets"],
            analysis=held["analysis"],
            balance=held.get("balance"),
        )


RUNS = Path("runs/cells")


def run_folder(path: Path, runs: Path = RUNS) -> Path:
    """The run folder of the cell whose file is `path`."""
    return runs / path.parent.name / path.stem


def load_existing(folder: Path, cells: Iterable[Cell]) -> dict[Cell, CellResult]:
    """The results of those cells whose files exist.

    Raises:
        ArtifactError: as `CellResult.load`. DataError: one is of other files than the recipe names now.
    """
    paths = {cell: cell.path(folder) for cell in cells}
    there = {cell: CellResult.load(path) for cell, path in paths.items() if path.is_file()}
    hashes: dict[Path, str] = {}
    for cell, result in there.items():
        data = cell.read().data.path
        for name, wanted in result.data.inputs.items():
            path = data / name
            if not path.is_file():
                continue  # a study can be read where its data are not
            hashes[path] = hashes.get(path) or artifact.file_hash(path)
            if hashes[path] != wanted:
                raise DataError(
                    f"{str(paths[cell])!r} holds results of another {str(path)!r} than exists now; keep the cells of "
                    "other data in a folder of their own, with --cells"
                )
    return there


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
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"No cell in {str(path)!r}; run the study that it belongs to") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"Cannot read {str(path)!r}: {error}; restore it, or remove it") from None
    if not isinstance(held, dict):
        raise ArtifactError(f"{str(path)!r} is no cell: expected a JSON object")
    return held

"""The training of cells: missing ones are trained with `sidestep run`, several at a time, and recorded."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sidestep import artifact, durable
from sidestep.errors import ArtifactError
from sidestep.methods.table import METHODS, NON_NEURAL
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until
from sidestep.studies import times
from sidestep.studies.cells import RUNS, Cell, CellResult, run_folder
from sidestep.studies.executing import Begin, Child, Job, Process, failure, problem_of, stop
from sidestep.studies.recording import Analyse, record
from sidestep.training.log import read_log

POLL_SECONDS = 1.0
Say = Callable[[str], None]
Condition = Literal["done", "running", "left", "failed"]


@dataclass(frozen=True)
class State:
    """The state of a cell. epoch, max_epochs: completed and configured epochs. score: of the last validation. minutes:
    remaining training time, from the slowest known epoch of the method, or else of its kind; None if none is known.
    """

    cell: Cell
    condition: Condition
    epoch: int = 0
    max_epochs: int = 0
    score: float | None = None
    minutes: float | None = None


def run_cells(
    cells: Sequence[Cell],
    files: Path,
    *,
    runs: Path = RUNS,
    cores: int = 1,
    show: Callable[[Sequence[State]], None] = lambda states: None,
    say: Say = lambda line: None,
    analyse: Analyse | None = None,
    begin: Begin = Process,
) -> dict[Cell, CellResult]:
    """The results of all cells: read from their files, or else trained in `runs/DATA/METHOD-SEED-DIGEST` and written.

    As many cells as cores are trained at a time. A stopped run resumes from its last checkpoint. The output of a run is
    stored next to its folder, in a file that ends with `.log`.

    show: called with all states whenever one of them changes. begin: who trains, see `executing`.

    Raises:
        ConfigError: a recipe that cannot be read. TrainingError: some runs failed; the others are finished and written.
        As `record`: a finished run cannot be recorded; written cells remain, and running ones are stopped.
    """
    paths = {cell: cell.path(files) for cell in dict.fromkeys(cells)}
    work = _Work(paths, runs, files, max(cores, 1), say, analyse, begin)
    last: list[State] = []
    try:
        while work.waiting or work.children:
            work.turn()
            now = work.states()
            if now != last:
                show(now)
                last = now
            if work.children:
                time.sleep(POLL_SECONDS)
    finally:
        work.stop()
    if work.failed:
        raise failure(work.failed.values(), len(paths))
    return {cell: CellResult.load(path) for cell, path in paths.items()}


def states(
    cells: Sequence[Cell], files: Path, runs: Path = RUNS, conditions: Mapping[Cell, Condition] | None = None
) -> list[State]:
    """The state of every cell, from its file and the log of its training. Nothing is trained.

    conditions: of running and failed cells.
    """
    paths = {cell: cell.path(files) for cell in dict.fromkeys(cells)}
    logs = {cell: read_log(run_folder(path, runs) / "train") for cell, path in paths.items() if not path.is_file()}
    pace = _pace(files, {cell: path.parent for cell, path in paths.items()}, logs)
    return [
        State(cell, "done")
        if paths[cell].is_file()
        else _state(cell, (conditions or {}).get(cell, "left"), logs[cell], _seconds(pace, paths[cell].parent, cell))
        for cell in paths
    ]


def table(current: Sequence[State]) -> str:
    """One line per cell, and a last line with the total."""
    lines = [_line(state) for state in current]
    left = [state for state in current if state.condition != "done"]
    known = [state.minutes for state in left if state.minutes is not None]
    unknown = len(left) - len(known)
    total = f"{len(current) - len(left)} of {len(current)} cells done"
    if left:
        total += f"; about {sum(known):,.0f} minutes of training left" if known else "; time left unknown"
        total += f", and {unknown} of unknown length" if known and unknown else ""
    return "\n".join([*lines, f"{total}."])


def _line(state: State) -> str:
    cell = state.cell
    sets = f"  {' '.join(cell.sets)}" if cell.sets else ""
    words: list[str] = [state.condition]
    if state.condition != "done":
        if state.max_epochs:
            words.append(f"epoch {state.epoch} of {state.max_epochs}")
        if state.score is not None:
            words.append(f"score {state.score:.4f}")
        words.append("unknown" if state.minutes is None else f"{state.minutes:,.0f} min left")
    return f"{cell.method:20} seed {cell.seed}  {', '.join(words)}{sets}"


@dataclass
class _Work:
    """The current runs. paths: of the file of every cell."""

    paths: Mapping[Cell, Path]
    runs: Path
    files: Path
    cores: int
    say: Say
    analyse: Analyse | None
    begin: Begin
    children: dict[Cell, Child] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waiting = [cell for cell, path in self.paths.items() if not path.is_file()]
        self.threads = max(1, self.cores // max(min(len(self.waiting), self.cores), 1))

    def turn(self) -> None:
        """Record ended runs, and start new ones on free cores."""
        for cell, child in list(self.children.items()):
            code = child.poll()
            if code is not None:
                child.close()
                del self.children[cell]
                self._ended(cell, code)
        while self.waiting and len(self.children) < self.cores:
            cell = self.waiting.pop(0)
            missing = [part for part in cell.parts if not artifact.exists(self._folder(part) / "model")]
            if failed := [part for part in missing if part in self.failed]:
                self.failed[cell] = f"{cell.method}, seed {cell.seed}: its part failed: {self.failed[failed[0]]}"
            elif missing:
                self._train_first(cell, missing)
                break
            elif cell.method in NON_NEURAL:
                self._rank(cell)
            else:
                self.children[cell] = self._begin(cell)

    def _train_first(self, cell: Cell, parts: Sequence[Cell]) -> None:
        """Put a cell back and start one of its parts. A part with a cell file but without a model is trained again."""
        self.waiting.append(cell)
        part = next((part for part in parts if part not in self.children), None)
        if part is not None:
            if part in self.waiting:
                self.waiting.remove(part)
            self.children[part] = self._begin(part)

    def _folder(self, cell: Cell) -> Path:
        return run_folder(self.paths.get(cell) or cell.path(self.files), self.runs)

    def states(self) -> list[State]:
        conditions: dict[Cell, Condition] = dict.fromkeys(self.children, "running")
        conditions |= dict.fromkeys(self.failed, "failed")
        return states(list(self.paths), self.files, self.runs, conditions)

    def stop(self) -> None:
        """End all runs."""
        stop(self.children.values())

    def _begin(self, cell: Cell) -> Child:
        folder = self._folder(cell)
        words = ("run", cell.recipe, *cell.overrides, "--out", str(folder))
        return Job(f"{cell.method}, seed {cell.seed}", words, folder).begin(self.begin, self.threads)

    def _ended(self, cell: Cell, code: int) -> None:
        folder = self._folder(cell)
        if code == 0 and cell not in self.paths:  # a part that is not itself a cell of the study
            return
        if code == 0:
            self._write(cell, record(folder, recipe=cell.recipe, analyse=self.analyse))
            return
        self.failed[cell] = f"{cell.method}, seed {cell.seed}: {problem_of(folder, code)}"
        self.say(self.failed[cell])

    def _rank(self, cell: Cell) -> None:
        """Rank with a method without training, which needs only the prepared log."""
        run = Run.open(self._folder(cell), cell.read())
        with run.writing():
            run_until(run, "prepare", self.say)
            self._write(cell, record(run.folder, recipe=cell.recipe, method=cell.method))

    def _write(self, cell: Cell, result: CellResult) -> None:
        written = result.save(self.files)
        assert written == self.paths[cell], f"{written} is not the path of {cell}"


def _state(cell: Cell, condition: Condition, log: Sequence[Mapping[str, Any]], seconds: float | None) -> State:
    if cell.method in NON_NEURAL:
        return State(cell, condition, minutes=0.0)
    max_epochs = cell.read().train.epochs
    score = next((row["score"] for row in reversed(log) if row.get("score") is not None), None)
    minutes = None if seconds is None else max(max_epochs - len(log), 0) * seconds / 60
    return State(cell, condition, len(log), max_epochs, score, minutes)


def _seconds(pace: Mapping[tuple[Path, str], float], folder: Path, cell: Cell) -> float | None:
    """Seconds of an epoch of the cell's method, or else of the slowest method with the same sections."""
    if cell.method in NON_NEURAL:
        return None
    sections = METHODS[cell.method].sections
    near = {method: value for (place, method), value in pace.items() if place == folder and method in METHODS}
    alike = [value for method, value in near.items() if METHODS[method].sections == sections]
    return near.get(cell.method, max(alike, default=None))


def _pace(
    files: Path, folders: Mapping[Cell, Path], logs: Mapping[Cell, Sequence[Mapping[str, Any]]]
) -> dict[tuple[Path, str], float]:
    """The slowest known epoch in seconds, by folder of the data and method."""
    slowest: dict[tuple[Path, str], float] = {}

    def add(folder: Path, method: str, seconds: float) -> None:
        slowest[folder, method] = max(slowest.get((folder, method), 0.0), seconds)

    for folder in set(folders.values()):
        for path in folder.glob("*-*-*.json"):
            if path.name.endswith(times.SUFFIX):
                continue
            with suppress(ArtifactError, AttributeError, KeyError, TypeError):
                content = times.joined(path, durable.read_json(path))
                add(folder, content["method"], content["training"]["seconds"] / content["training"]["done"])
    for cell, rows in logs.items():
        for row in rows:
            add(folders[cell], cell.method, row["seconds"])
    return slowest

"""`sidestep reproduce`: train a study's cells, and compute the outcome from the finished ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidestep import recipes
from sidestep.errors import ConfigError, TrainingError
from sidestep.studies.cells import Cell, load_existing
from sidestep.studies.executing import Begin, Process
from sidestep.studies.identity import data_name
from sidestep.studies.joining import join
from sidestep.studies.outcome import Outcome
from sidestep.studies.papers import study_named
from sidestep.studies.recording import Analyse
from sidestep.studies.rows import Slot, slots
from sidestep.studies.running import Say, State, run_cells, states

Show = Callable[[Sequence[State]], None]


@dataclass(frozen=True)
class Request:
    """A study on a recipe with the user's overrides.

    only: only these rows. against: the row that all others are tested against, instead of each row's own. cells: the
    folder of the cells' files. runs: the folder of their trainings.
    """

    study: str
    recipe: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: Path
    runs: Path
    only: tuple[str, ...] = ()
    against: str | None = None

    def slots(self) -> list[Slot]:
        """All cells of the study.

        Raises:
            ConfigError: an unknown study, row or recipe, or a wrong override.
        """
        study, ties = study_named(self.study), recipes.read(self.recipe, self.overrides).data.ties
        if self.against is not None:
            study.row(self.against)
        return slots(study, self.recipe, self.overrides, ties, self.seeds, self.only, self.runs)

    def distinct(self) -> list[Cell]:
        """The cells without duplicates: different overrides may describe the same cell."""
        return list({slot.cell.path(self.cells): slot.cell for slot in reversed(self.slots())}.values())[::-1]


def status(request: Request) -> Outcome:
    """The outcome of the finished cells. Nothing is trained.

    Raises:
        ConfigError: as `Request.slots`; or neither data nor cells. ArtifactError: a cell's file that cannot be read.
        DataError: cells of different data.
    """
    _check_paths(request)
    planned = request.slots()
    paths = {slot.cell: slot.cell.path(request.cells) for slot in planned}
    results = load_existing(request.cells, paths)
    minutes = {paths[state.cell]: state.minutes for state in progress(request)}
    joined = [(slot, results.get(slot.cell), minutes[paths[slot.cell]]) for slot in planned]
    recipe = Path(request.recipe).stem
    return join(study_named(request.study), recipe, request.overrides, request.seeds, joined, request.against)


def _check_paths(request: Request) -> None:
    """Refuse paths with neither data nor cells, instead of reporting that all cells are missing."""
    data = recipes.read(request.recipe, request.overrides)
    place = request.cells / data_name(data)
    if (
        data.data.source == "table"
        and not place.is_dir()
        and not (data.data.path / (data.data.interactions or "")).is_file()
    ):
        raise ConfigError(
            f"Neither data in {str(data.data.path)!r} nor its cells in {str(place)!r}; name the folder of the data, "
            "such as data.path=DIR/beauty; it need not exist if its cells do"
        )


def progress(request: Request) -> list[State]:
    """The state of every cell of a study. Nothing is trained."""
    return states(request.distinct(), request.cells, request.runs)


def reproduce(
    request: Request, cores: int, show: Show, say: Say, analyse: Analyse | None = None, begin: Begin = Process
) -> tuple[Outcome, TrainingError | None]:
    """Train the missing cells, by `begin`; returns `status`, and the error of failed cells, if any."""
    failure = None
    load_existing(request.cells, request.distinct())  # refuses cells of other data before anything is trained
    try:
        cells, runs = request.distinct(), request.runs
        run_cells(cells, request.cells, runs=runs, cores=cores, show=show, say=say, analyse=analyse, begin=begin)
    except TrainingError as error:
        failure = error
    return status(request), failure

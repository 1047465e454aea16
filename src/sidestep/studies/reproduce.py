"""`sidestep reproduce`: train the missing cells of a study, and join those that exist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidestep import recipes
from sidestep.errors import ConfigError, TrainingError
from sidestep.studies.cells import Cell, load_existing
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

    only: these rows alone. against: the row that all others are tested against, instead of each row's own. cells: the
    folder of the cells' files. runs: that of their trainings.
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
        """Every cell that is wanted.

        Raises:
            ConfigError: no such study, row or recipe, or an override that is wrong.
        """
        study, ties = study_named(self.study), recipes.read(self.recipe, self.overrides).data.ties
        if self.against is not None:
            study.row(self.against)
        return slots(study, self.recipe, self.overrides, ties, self.seeds, self.only, self.runs)

    def distinct(self) -> list[Cell]:
        """Each cell once: two rows may name one cell by different settings."""
        return list({slot.cell.path(self.cells): slot.cell for slot in reversed(self.slots())}.values())[::-1]


def status(request: Request) -> Outcome:
    """The outcome of the cells that exist. Nothing is trained.

    Raises:
        ConfigError: as `Request.slots`; or neither data nor cells. ArtifactError: a cell's file that cannot be read.
        DataError: cells of different data.
    """
    _seen(request)
    wanted = request.slots()
    paths = {slot.cell: slot.cell.path(request.cells) for slot in wanted}
    there = load_existing(request.cells, paths)
    minutes = {paths[state.cell]: state.minutes for state in progress(request)}
    joined = [(slot, there.get(slot.cell), minutes[paths[slot.cell]]) for slot in wanted]
    recipe = Path(request.recipe).stem
    return join(study_named(request.study), recipe, request.overrides, request.seeds, joined, request.against)


def _seen(request: Request) -> None:
    """Refuse a wrong folder, where every cell would seem to be missing."""
    data = recipes.read(request.recipe, request.overrides)
    place = request.cells / data_name(data)
    if (
        data.data.source == "table"
        and not place.is_dir()
        and not (data.data.path / (data.data.interactions or "")).is_file()
    ):
        raise ConfigError(
            f"Neither data in {str(data.data.path)!r} nor cells of them in {str(place)!r}; name the data's "
            "folder, as in data.path=DIR/beauty, which need not be there where its cells are"
        )


def progress(request: Request) -> list[State]:
    """Where every cell of a study stands. Nothing is trained."""
    return states(request.distinct(), request.cells, request.runs)


def reproduce(
    request: Request, cores: int, show: Show, say: Say, analyse: Analyse | None = None
) -> tuple[Outcome, TrainingError | None]:
    """Train the missing cells; then `status`, and the error of the cells that failed, if any did."""
    failure = None
    load_existing(request.cells, request.distinct())  # refuses cells of other data before anything is trained
    try:
        run_cells(
            request.distinct(), request.cells, runs=request.runs, cores=cores, show=show, say=say, analyse=analyse
        )
    except TrainingError as error:
        failure = error
    return status(request), failure

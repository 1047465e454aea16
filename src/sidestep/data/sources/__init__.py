"""Sources: every layout of files becomes the same catalogue and the same log."""

from collections.abc import Callable

from sidestep.data.sources import amazon, movielens, recbole, table
from sidestep.data.sources.assemble import Dataset, Tables, assemble
from sidestep.data.sources.config import DataConfig, Source
from sidestep.data.sources.worlds import read_planted

__all__ = ["DataConfig", "Dataset", "read"]

READERS: dict[Source, Callable[[DataConfig], Tables]] = {
    "table": table.read_table,
    "amazon": amazon.read_amazon,
    "movielens": movielens.read_movielens,
    "recbole": recbole.read_recbole,
}


def read(config: DataConfig, seed: int) -> Dataset:
    """The catalogue and the log that [data] describes; `seed` shuffles ties and draws the planted world.

    Raises:
        DataError: whatever is wrong with the files or their rows; nothing is written.
    """
    if config.source == "planted":
        return Dataset(*read_planted(config.planted, seed))
    return assemble(READERS[config.source](config), config, seed)

"""Which planted world a configuration describes."""

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.data.sources.clocked import ClockedWorld
from sidestep.data.sources.planted import PlantedConfig, PlantedWorld
from sidestep.data.sources.regulars import RegularsWorld
from sidestep.data.sources.streams import StreamsWorld
from sidestep.data.splits import Cases


def planted_world(config: PlantedConfig, seed: int) -> PlantedWorld | StreamsWorld:
    """The shop or the channels, their log and the law behind it; the same seed gives the same bytes."""
    if config.streams:
        return StreamsWorld(config, seed)
    if config.parts:
        return ClockedWorld(config, seed)
    return RegularsWorld(config, seed) if config.homes else PlantedWorld(config, seed)


def best_possible(world: PlantedWorld | StreamsWorld, cases: Cases, k: int, history: bool, request: bool) -> float:
    """The best possible HR@k for whoever knows the times of the history, and of the request, or does not."""
    if isinstance(world, ClockedWorld):
        return world.best_possible(cases, k, history, request)
    return world.best_possible(cases, k)


def read_planted(config: PlantedConfig, seed: int) -> tuple[Catalog, Interactions]:
    """The catalogue and the log of one planted world."""
    world = planted_world(config, seed)
    return world.catalog, world.interactions

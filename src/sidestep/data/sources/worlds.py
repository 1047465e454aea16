"""Which planted world a configuration describes."""

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.data.sources.planted import PlantedConfig, PlantedWorld
from sidestep.data.sources.regulars import RegularsWorld


def planted_world(config: PlantedConfig, seed: int) -> PlantedWorld:
    """The shop, its log and the law of its shoppers; the same seed gives the same bytes."""
    return RegularsWorld(config, seed) if config.homes else PlantedWorld(config, seed)


def read_planted(config: PlantedConfig, seed: int) -> tuple[Catalog, Interactions]:
    """The catalogue and the log of one planted world."""
    world = planted_world(config, seed)
    return world.catalog, world.interactions

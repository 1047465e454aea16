"""The industrial shape of S2GR's paper as a planted world, whole or in part.

37,500 users, 1,086,872 items, 3,778,562 interactions, 100.8 a user on average. Fewer items come with fewer users in
proportion, so that an item is met as often and a history is as long.
"""

from copy import copy

import numpy as np

from sidestep.data.interactions import Interactions
from sidestep.data.sources.planted import PlantedConfig, PlantedWorld
from sidestep.vectors.item_vectors import ItemVectors

ITEMS, USERS, MEAN_LENGTH = 1_086_872, 37_500, 100.8
DEPARTMENT = {"aisles": 37, "shelves": 5, "brands": 5, "variants": 5}
WIDTH = 384
ROWS = 65_536  # vectors drawn at once


def industrial(items: int = ITEMS) -> PlantedConfig:
    """The shape with about `items` items: whole departments of 4,625. All of it is 1,086,875 items."""
    departments = max(round(items / np.prod(list(DEPARTMENT.values()))), 1)
    shape = PlantedConfig(departments=departments, **DEPARTMENT, mean_length=MEAN_LENGTH)
    return shape.model_copy(update={"users": max(round(USERS * shape.num_items / ITEMS), 1)})


def shoppers(shop: PlantedWorld, users: int, seed: int) -> Interactions:
    """The log of so many further shoppers of the same shop, for logs that are made part by part."""
    further = copy(shop)
    further.config = shop.config.model_copy(update={"users": users})
    return further._shop(np.random.default_rng(seed))


def item_vectors(shape: PlantedConfig, width: int = WIDTH, seed: int = 0) -> ItemVectors:
    """What a text encoder might give: a direction of the shelf, one of the brand and variant, and noise, alike long."""
    rng = np.random.default_rng(seed)
    places = shape.brands * shape.variants
    of_shelf = rng.standard_normal((shape.num_shelves, width), dtype=np.float32)
    of_place = rng.standard_normal((places, width), dtype=np.float32)
    values = np.empty((shape.num_items, width), dtype=np.float32)
    for begin in range(0, len(values), ROWS):
        item = np.arange(begin, min(begin + ROWS, len(values)))
        noise = rng.standard_normal((len(item), width), dtype=np.float32)
        values[begin : begin + ROWS] = of_shelf[item // places] + of_place[item % places] + noise
    return ItemVectors(values)

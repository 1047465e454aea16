"""A made-up shop as its own export would hold it: what a newcomer tries everything on."""

import numpy as np
import polars as pl

from sidestep.data.sources.planted import PlantedConfig, PlantedWorld

SHOP = PlantedConfig(departments=3, aisles=2, shelves=2, brands=4, variants=3, users=400)
CHEAPEST, DEAREST, AVAILABLE = 4.0, 90.0, 0.9


def example() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The log and the items of a made-up shop, always the same: 400 people, 144 items, 4,699 interactions.

    The log has columns user_id, item_id and time (ISO 8601); the items have item_id, title, brand, category, price and
    in_stock. `sidestep example` writes the two as files.
    """
    world, rng = PlantedWorld(SHOP, seed=0), np.random.default_rng(0)
    catalog, log = world.catalog, world.interactions
    ids, users = pl.Series(catalog.item_ids), pl.Series(log.user_ids)
    times = pl.from_epoch(pl.Series(log.known_times // 1000), time_unit="s")
    interactions = pl.DataFrame(
        {"user_id": users[log.users], "item_id": ids[log.items], "time": times.dt.strftime("%Y-%m-%dT%H:%M:%SZ")}
    ).sort("time", maintain_order=True)
    prices = np.exp(rng.uniform(np.log(CHEAPEST), np.log(DEAREST), len(ids)))
    items = catalog.table.select("item_id", "title", "brand", pl.col("categories").alias("category")).with_columns(
        price=pl.Series(prices).round(2), in_stock=pl.Series(rng.random(len(ids)) < AVAILABLE)
    )
    return interactions, items

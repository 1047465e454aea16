"""A small shop in files of somebody's own."""

from pathlib import Path

import numpy as np
import polars as pl

USERS, ITEMS, LENGTH = 30, 20, 6


def write_shop(folder: Path) -> None:
    """Column names of their own, ids with leading zeros, text with markup."""
    rng = np.random.default_rng(0)
    rows = [
        (f"{user:03}", f"{item:04}", 1_700_000_000 + 86_400 * step + user)
        for user in range(USERS)
        for step, item in enumerate(rng.choice(ITEMS, LENGTH, replace=False))
    ]
    pl.DataFrame(rows, schema=["customer", "sku", "when"], orient="row").write_csv(folder / "log.csv")
    words = ["red", "green", "blue", "round"]
    items = [{"sku": f"{item:04}", "title": f"<b>{words[item % 4]}</b> thing {item}"} for item in range(ITEMS)]
    pl.DataFrame(items).write_csv(folder / "items.csv")

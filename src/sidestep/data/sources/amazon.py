"""Amazon reviews as the McAuley Lab publishes them: 2014, 2018 and 2023.

2014 (He and McAuley): `reviews_*_5.json.gz` and `meta_*.json.gz`, whose lines are Python dictionaries, not JSON.
2018 (Ni et al.): `*_5.json.gz` and `meta_*.json.gz`. 2023 (Hou et al.): `*.jsonl.gz` or the benchmark's `*.csv.gz`,
and `meta_*.jsonl.gz`; items are known by their parent ASIN there. https://amazon-reviews-2023.github.io
"""

import ast
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sidestep.data.catalog import ITEM_ID, SOURCE_ROW
from sidestep.data.sources import files, table
from sidestep.data.sources.assemble import ITEM_KEY, Tables
from sidestep.data.sources.config import DataConfig, TimeUnit
from sidestep.data.sources.content import opened, plain_text
from sidestep.data.sources.delimited import Ragged
from sidestep.errors import DataError, listed

SCALARS = ("title", "brand", "store", "main_category", "main_cat", "price")
LISTS = ("categories", "category", "features", "feature", "description")


@dataclass(frozen=True)
class Layout:
    """The columns of one release."""

    user: str
    item: str
    time: str
    unit: TimeUnit


LAYOUTS = (
    Layout("reviewerID", "asin", "unixReviewTime", "s"),  # 2014 and 2018
    Layout("user_id", "parent_asin", "timestamp", "ms"),  # 2023
)


def read_amazon(config: DataConfig) -> Tables:
    """Reviews and, where a meta file lies beside them, the items.

    Raises:
        DataError: no reviews found, a file of another layout, a damaged file.
    """
    reviews, meta = locate(config)
    names = files.column_names(reviews)
    layout = next((one for one in LAYOUTS if {one.user, one.item, one.time} <= set(names)), None)
    if layout is None:
        known = " or ".join(f"{one.user}, {one.item}, {one.time}" for one in LAYOUTS)
        raise DataError(f"{str(reviews)!r} is no Amazon review file: it has {listed(names)}, expected {known}")
    notes, ragged = list[str](), Ragged()
    raw = files.read_columns(reviews, [layout.user, layout.item, layout.time], (layout.user, layout.item), ragged)
    own = {"user": layout.user, "item": layout.item, "time": layout.time, "time_unit": layout.unit}
    own_config = config.model_copy(update={**own, "order": None, "event": None, "events": None})
    log = table.canonical_log(raw, own_config, reviews, notes, ragged)
    if meta is None:
        notes.append(f"no meta_* file beside {reviews.name}: the items have no text")
        return Tables(log, None, notes, (reviews,))
    wanted = None if config.items_without_interactions == "keep" else set(log[ITEM_KEY].unique().to_list())
    return Tables(log, read_meta(meta, layout.item, wanted), notes, (reviews, meta))


def locate(config: DataConfig) -> tuple[Path, Path | None]:
    """The reviews file and the meta file of the same category, if there is one."""
    folder = config.path.parent if config.path.is_file() else config.path
    if not folder.is_dir():
        raise DataError(f"No file or folder {str(folder)!r} (data.path)")
    known = (*files.JSON_LINES, *files.DELIMITED)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.lower().removesuffix(".gz").endswith(known))
    metas = [name for name in names if name.startswith("meta_")]
    reviews = [name for name in names if name not in metas]
    if config.path.is_file():
        reviews = [config.path.name]
    chosen = config.interactions or (reviews[0] if len(reviews) == 1 else None)
    if chosen is None:
        raise DataError(
            f"Cannot tell which file of {str(folder)!r} holds the reviews: {listed(reviews) or 'none there'}; "
            "set data.interactions"
        )
    category = chosen.split(".")[0].removeprefix("reviews_").removesuffix("_5")
    fitting = [name for name in metas if name.split(".")[0] == f"meta_{category}"] or metas
    meta = config.items or (fitting[0] if len(fitting) == 1 else None)
    return folder / chosen, None if meta is None else folder / meta


def read_meta(path: Path, key: str, wanted: set[str] | None) -> pl.DataFrame:
    """The items of a meta file as `Tables.items`; only the `wanted` ones are parsed, for a file holds many more."""
    with files.reading(path):  # also halves of characters, which JSON can spell and no text can hold
        return _described(path, key, wanted)


def _described(path: Path, key: str, wanted: set[str] | None) -> pl.DataFrame:
    numbered = [(place, row) for place, row in _meta_rows(path, key, wanted) if wanted is None or row[key] in wanted]
    rows = [row for _, row in numbered]
    ids = [row[key] for row in rows]
    described = [pl.Series(ITEM_ID, ids, dtype=pl.String), pl.Series(ITEM_KEY, ids, dtype=pl.String)]
    for name in (*SCALARS, *LISTS):
        values = [row.get(name) for row in rows]
        if any(values):
            described.append(_scalars(name, values) if name in SCALARS else _lists(name, values))
    return pl.DataFrame([*described, pl.Series(SOURCE_ROW, [place for place, _ in numbered], dtype=pl.Int64)])


def _meta_rows(path: Path, key: str, wanted: set[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every wanted item with its row in the file, counted from 0; blank lines are no rows."""
    mention = re.compile(rf"""['"]{key}['"]\s*:\s*['"]([^'"]+)['"]""".encode())
    place = -1
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            line = plain_text(line, path) if number == 1 else line
            if not line.strip():
                continue
            place += 1
            if wanted is not None and not any(
                found.decode("utf-8", "replace") in wanted for found in mention.findall(line)
            ):
                continue
            row = _parse(line)
            if row is None or not isinstance(row.get(key), str):
                raise DataError(f"{str(path)!r}: line {number} is neither a JSON nor a Python dictionary with {key!r}")
            yield place, row


def _parse(line: bytes) -> dict[str, Any] | None:
    """One line of either spelling; nothing in it is ever executed."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():  # about spellings such as 1or 2, which are no literals anyway
                warnings.simplefilter("ignore", SyntaxWarning)
                row = ast.literal_eval(line.decode("utf-8"))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return row if isinstance(row, dict) else None


def _scalars(name: str, values: list[Any]) -> pl.Series:
    return pl.Series(name, [None if value in (None, "") else str(value) for value in values], dtype=pl.String)


def _lists(name: str, values: list[Any]) -> pl.Series:
    """Lists of strings, or of paths when any value is nested (the categories of 2014)."""
    rows = [value if isinstance(value, list) else [] if value in (None, "") else [value] for value in values]
    nested = any(isinstance(part, list) for row in rows for part in row)
    if not nested:
        return pl.Series(name, [[str(part) for part in row] for row in rows], dtype=pl.List(pl.String))
    paths = [[part if isinstance(part, list) else [part] for part in row] for row in rows]
    texts = [[[str(step) for step in path] for path in row] for row in paths]
    return pl.Series(name, texts, dtype=pl.List(pl.List(pl.String)))

"""Any table with any column names: Parquet, CSV, TSV or JSON lines."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sidestep.data.catalog import ITEM_ID, SOURCE_ROW
from sidestep.data.sources import columns, files
from sidestep.data.sources.assemble import ITEM_KEY, Tables
from sidestep.data.sources.bad_rows import BadRows, absent, ids_among
from sidestep.data.sources.config import DataConfig, TimeUnit
from sidestep.data.sources.delimited import Ragged
from sidestep.data.sources.hints import EVENTS, column_like
from sidestep.data.sources.moments import UNIT_NAMES
from sidestep.errors import DataError, brief, listed

USUAL_STEMS = ("interactions", "ratings", "reviews", "events", "log", "clicks", "purchases", "views")


def read_table(config: DataConfig) -> Tables:
    """The interactions and, where named, the items, as [data] says.

    Raises:
        DataError: a missing or damaged file, a missing column, an empty id, a time or a position of the wrong type.
    """
    folder = config.path.parent if config.path.is_file() else config.path
    path = config.path if config.path.is_file() and config.interactions is None else _interactions_file(config, folder)
    names = files.column_names(path)
    config = with_event(config, names, path)
    wanted = {
        "user": config.user,
        "item": config.item,
        "order": config.order,
        "time": config.time,
        "event": config.event,
    }
    for key, name in wanted.items():
        if name is not None:
            files.require(path, names, name, key)
    notes: list[str] = []
    ragged = Ragged()
    chosen = list(dict.fromkeys(name for name in wanted.values() if name is not None))
    raw = files.read_columns(path, chosen, (config.user, config.item), ragged)
    if config.items is None:
        return Tables(canonical_log(raw, config, path, notes, ragged), None, notes, (path,))
    file = folder / config.items
    of_items: list[str] = []
    items = canonical_items(file, config, of_items)
    log = canonical_log(raw, config, path, notes, ragged, items)
    return Tables(log, items, notes + of_items, (path, file))


def with_event(config: DataConfig, names: Sequence[str], path: Path) -> DataConfig:
    """The section with its column of kinds named, where data.events chooses some of them.

    Raises:
        DataError: no column is named for one of kinds.
    """
    if config.events is None or config.event is not None:
        return config
    column = column_like(names, EVENTS)
    if column is None:
        raise DataError(
            f"Cannot tell which column of {str(path)!r} holds the kinds that data.events names: {listed(names)}; "
            "name it in data.event"
        )
    return config.model_copy(update={"event": column})


def canonical_log(
    raw: pl.DataFrame,
    config: DataConfig,
    path: Path,
    notes: list[str],
    ragged: Ragged | None = None,
    items: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """A source's frame as `Tables.log`, by the column names in `config`, without its bad rows where they are dropped.

    ragged: the rows with more or fewer fields than the header. items: those of the catalogue.

    Raises:
        DataError: bad rows, more of them than may be dropped, or a column that cannot hold what it should.
    """
    counted = None
    if config.event is not None:
        notes.append(_event_note(raw[config.event], config))
        counted = columns.chosen_events(raw[config.event], config.events, path) if config.events else None
    bad = BadRows.of(path, config, counted)
    if ragged is not None and ragged.rows:
        bad.add(ragged.mask(len(raw)), ragged.what)
    listed = [] if items is None else items[ITEM_KEY].filter(absent(items[ITEM_KEY], config.missing)).to_list()
    found = [
        columns.ids(raw[config.user], path, "user", bad).alias("user_id"),
        columns.ids(raw[config.item], path, "item", bad, listed).alias(ITEM_KEY),
    ]
    if config.order is not None:
        found.append(columns.order(raw[config.order], path, bad).alias("order"))
    if config.time is not None:
        time, unit = columns.times(raw[config.time], config.time_unit, path, bad)
        found.append(time.alias("time"))
        notes.extend(_unit_note(config.time, config.time_unit, unit))
        if config.order is None:
            bad.add(time.is_null(), f"have no {config.time!r} (data.time), so their place in the history is unknown")
    return bad.without(pl.DataFrame(found), notes)


def canonical_items(path: Path, config: DataConfig, notes: list[str] | None = None) -> pl.DataFrame:
    """An items file as `Tables.items`. `source_row` is the row in the file, whatever rows are dropped."""
    key, public = item_columns(config)
    names = files.column_names(path)
    files.require(path, names, key, "item_key")
    files.require(path, names, public, "item_id")
    ragged = Ragged()
    table = files.read_table(path, (key, public), ragged)
    return canonical_item_rows(table, config, path, notes, ragged)


def canonical_item_rows(
    table: pl.DataFrame, config: DataConfig, path: Path, notes: list[str] | None = None, ragged: Ragged | None = None
) -> pl.DataFrame:
    """The items of a frame by the column names in `config`, with `source_row` and without bad rows."""
    key, public = item_columns(config)
    bad = BadRows.of(path, config)
    if ragged is not None and ragged.rows:
        bad.add(ragged.mask(len(table)), ragged.what)
    notes = notes if notes is not None else []
    items = canonical_item_columns(table, key, public, path, bad, notes)
    numbered = items.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(SOURCE_ROW))
    return bad.without(numbered, notes)


def canonical_item_columns(
    items: pl.DataFrame, key: str, public: str, path: Path, bad: BadRows, notes: list[str]
) -> pl.DataFrame:
    """The frame with `item_id` and `item_key` in front and every other column as the source has it."""
    listed = {name: ids_among(items, name, bad.missing) for name in dict.fromkeys((public, key))}
    public_ids = columns.ids(items[public], path, "item_id", bad, listed[public]).alias(ITEM_ID)
    keys = columns.ids(items[key], path, "item_key", bad, listed[key]).alias(ITEM_KEY)
    notes += [
        f"{word!r} in {name!r} is an item and no missing value, for one row of {path.name} describes it; data.missing "
        "says otherwise"
        for name, words in listed.items()
        for word in words
    ]
    others = items.drop(dict.fromkeys((key, public)))
    clashing = {name: f"source_{name}" for name in (ITEM_ID, ITEM_KEY) if name in others.columns}
    return pl.DataFrame([public_ids, keys, *others.rename(clashing).get_columns()])


def item_columns(config: DataConfig) -> tuple[str, str]:
    """The items file's join column and its column of public ids."""
    key = config.item_key or config.item
    return key, config.item_id or key


def _interactions_file(config: DataConfig, folder: Path) -> Path:
    """The named file, or the only one in the folder that can be meant."""
    if config.interactions is not None:
        return folder / config.interactions
    if not folder.is_dir():
        raise DataError(f"No file or folder {str(folder)!r} (data.path)")
    known = (*files.DELIMITED, *files.JSON_LINES, *files.PARQUET)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.lower().removesuffix(".gz").endswith(known))
    candidates = [name for name in names if name != config.items]
    usual = [name for name in candidates if name.lower().startswith(USUAL_STEMS)]
    chosen = usual if len(usual) == 1 else candidates
    if len(chosen) != 1:
        raise DataError(
            f"Cannot tell which file of {str(folder)!r} holds the interactions: "
            f"{listed(names) or 'no tables there'}; set data.interactions"
        )
    return folder / chosen[0]


def _unit_note(name: str, wanted: TimeUnit, found: str) -> list[str]:
    if wanted != "auto":
        return []
    return [f"times in {name!r} were read as {UNIT_NAMES[found]}; data.time_unit says otherwise if need be"]


def _event_note(column: pl.Series, config: DataConfig) -> str:
    counts = column.cast(pl.String).str.strip_chars().value_counts(sort=True).rows()
    shown = ", ".join(f"{brief(kind, 30)} {count:,}" for kind, count in counts[:8])
    shown += f", ... ({len(counts):,} kinds)" if len(counts) > 8 else ""
    which = f"those of data.events = {config.events} count" if config.events else "every row counts (data.events)"
    return f"kinds of interactions in {config.event!r}: {shown}; {which}"

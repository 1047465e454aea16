"""What `sidestep sids report` tells: tables of semantic IDs from runs and files, all judged by the same evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Ints, by_popularity
from sidestep.errors import ConfigError
from sidestep.evaluation.sid_quality import SidQuality, judge
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.sids.names import cluster_names
from sidestep.workshop.evidence import Asked, Ground, evidence, ground_of_files, ground_of_run, labels_as_text
from sidestep.workshop.tables import Source, Table, of_run, opened, read_file, same_items

__all__ = ["Asked", "SidFindings", "Source", "Table", "gather", "judge_run", "look_behind", "page_of"]

PAGE = "sids.html"


@dataclass(frozen=True)
class SidFindings:
    """Everything the terminal and the page show.

    qualities: of every table, in the order asked for; the first belongs to `first`.
    catalog: None where there is none; items are then known by number. popularity: `[N]`, training interactions.
    category: `[N]`, each item's category as text, empty where it has none; None where there is no such column.
    cluster_names: by level and cluster, of `first`; empty where it has no clusters.
    """

    qualities: list[SidQuality]
    first: Table
    catalog: Catalog | None
    popularity: Ints | None
    category: list[str] | None
    cluster_names: list[list[str]]

    def behind(self, prefix: Sequence[int]) -> Ints:
        """The items whose ID in the first table begins with these codes, by falling popularity, then number.

        Raises:
            ConfigError: more codes than levels, or a code that its level does not have.
        """
        sizes = self.first.sizes
        if not 0 < len(prefix) <= len(sizes):
            raise ConfigError(f"--code has {len(prefix)} codes; expected 1 to {len(sizes)}, the levels of the table")
        for level, (code, size) in enumerate(zip(prefix, sizes, strict=False), start=1):
            if not 0 <= code < size:
                raise ConfigError(f"--code has {code} at level {level}; expected a code from 0 to {size - 1}")
        items = np.flatnonzero((self.first.codes[:, : len(prefix)] == np.array(prefix)).all(axis=1))
        return items[by_popularity(len(items), None if self.popularity is None else self.popularity[items])]

    def rows(self, items: Ints) -> list[dict[str, Any]]:
        """What a person should know of each of these items: id, title, category, popularity, semantic ID; what is not
        known is None.
        """
        catalog = self.catalog
        return [
            {
                "item_id": str(item) if catalog is None else catalog.item_ids[item],
                "title": None if catalog is None else catalog.title(item),
                "category": self.category[item] or None if self.category is not None else None,
                "popularity": None if self.popularity is None else int(self.popularity[item]),
                "sid": self.first.codes[item].tolist(),
            }
            for item in items.tolist()
        ]


def gather(sources: Sequence[Source], asked: Asked) -> SidFindings:
    """Judge every table of the sources, run folders or files of tables, by one catalogue, log and set of vectors: the
    first run's where there is a run, else those of the files that `asked` names.

    Raises:
        ConfigError, DataError, ArtifactError: sources that cannot be read or do not fit each other.
    """
    ground, tables = _ground_and_tables(sources, asked)
    shown = [table for whole in tables for table in _with_cut(whole, asked.cut)]
    found = evidence(ground, asked, len(tables[0].codes))
    first = tables[0]
    return SidFindings(
        qualities=[judge(table.name, table.codes, table.sizes, found, table.making) for table in shown],
        first=first,
        catalog=ground.catalog,
        popularity=found.popularity,
        category=labels_as_text(ground.catalog, "category", asked),
        cluster_names=_cluster_names(first, ground, found.popularity),
    )


def look_behind(sources: Sequence[Source], asked: Asked) -> SidFindings:
    """The first source alone and unjudged, for a look at the items behind its codes."""
    ground, tables = _ground_and_tables(sources, asked)
    popularity = None if ground.split is None else ground.split.train.popularity(len(tables[0].codes))
    return SidFindings([], tables[0], ground.catalog, popularity, labels_as_text(ground.catalog, "category", asked), [])


def page_of(sources: Sequence[Source]) -> Path | None:
    """Where the page goes that nobody named: into the first run; nowhere without one."""
    return next((contents.run.path(PAGE) for contents in map(opened, sources) if contents is not None), None)


def judge_run(run: Run) -> SidQuality:
    """A run's IDs, judged by its own catalogue, training interactions and vectors."""
    contents = RunContents(run)
    table = of_run(contents)
    found = evidence(ground_of_run(contents), Asked(), len(table.codes))
    return judge(table.name, table.codes, table.sizes, found, table.making)


def _ground_and_tables(sources: Sequence[Source], asked: Asked) -> tuple[Ground, list[Table]]:
    if asked.cut is not None and asked.cut < 1:
        raise ConfigError(f"--cut is {asked.cut}; expected at least 1 level")
    all_contents = [opened(source) for source in sources]
    runs = [contents for contents in all_contents if contents is not None]
    if runs and asked.files:
        raise ConfigError(
            f"{asked.files[0]} is for tables made elsewhere; the run {str(runs[0].run.folder)!r} among the sources "
            "has its own catalogue, interactions and vectors; leave one of the two out"
        )
    ground = ground_of_run(runs[0]) if runs else ground_of_files(asked)
    tables: list[Table] = []
    for source, contents in zip(sources, all_contents, strict=True):
        tables += (
            read_file(source.path, ground.catalog, source.table)
            if contents is None
            else [_run_table(contents, source, ground)]
        )
    _check_rows(tables)
    return ground, _distinct_names(tables)


def _run_table(contents: RunContents, source: Source, ground: Ground) -> Table:
    assert ground.catalog is not None
    return same_items(of_run(contents, source.name), contents.catalog, ground.catalog)


def _check_rows(tables: Sequence[Table]) -> None:
    """Without a catalogue, tables can only be of the same items."""
    first = tables[0]
    for table in tables:
        if len(table.codes) != len(first.codes):
            raise ConfigError(
                f"Table {table.name!r} has {len(table.codes):,} rows and {first.name!r} {len(first.codes):,}; expected "
                "tables of the same items; report on them one by one"
            )


def _distinct_names(tables: Sequence[Table]) -> list[Table]:
    """Two tables of one name get numbers."""
    names = [table.name for table in tables]
    seen: dict[str, int] = {}
    found = []
    for table in tables:
        seen[table.name] = seen.get(table.name, 0) + 1
        repeated = names.count(table.name) > 1
        found.append(replace(table, name=f"{table.name} ({seen[table.name]})") if repeated else table)
    return found


def _with_cut(table: Table, levels: int | None) -> list[Table]:
    if levels is None or levels >= len(table.sizes):
        return [table]
    return [table, table.cut(levels)]


def _cluster_names(table: Table, ground: Ground, popularity: Ints | None) -> list[list[str]]:
    if table.sids is None or ground.catalog is None or popularity is None:
        return []
    titles = [ground.catalog.title(item) for item in range(len(ground.catalog))]
    return cluster_names(table.sids, titles, ground.catalog.texts, popularity)

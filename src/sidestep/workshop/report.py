"""The findings of `sidestep sids report`: quality of tables from runs and files, measured with the same evidence."""

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
from sidestep.workshop.evidence import (
    Reference,
    ReportOptions,
    evidence,
    labels_as_text,
    reference_of_files,
    reference_of_run,
)
from sidestep.workshop.tables import Source, Table, of_run, open_run, read_file, same_items

__all__ = [
    "ReportOptions",
    "SidFindings",
    "Source",
    "Table",
    "default_page",
    "gather",
    "judge_run",
    "without_qualities",
]

PAGE = "sids.html"


@dataclass(frozen=True)
class SidFindings:
    """The contents of the report, for the terminal and the page.

    qualities: of every table, in the given order; the first belongs to `first`.
    catalog: None if there is none; items are then identified by number. popularity: `[N]`, training interactions.
    category: `[N]`, each item's category as text, empty if it has none; None without such a column.
    cluster_names: by level and cluster, of `first`; empty without clusters.
    notes: how tables from files are read, if not as they are written.
    """

    qualities: list[SidQuality]
    first: Table
    catalog: Catalog | None
    popularity: Ints | None
    category: list[str] | None
    cluster_names: list[list[str]]
    notes: tuple[str, ...] = ()

    def items_with(self, prefix: Sequence[int]) -> Ints:
        """The items whose ID in the first table begins with these codes, by falling popularity, then number.

        Raises:
            ConfigError: more codes than levels, or a code outside of its level's range.
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
        """Id, title, category, popularity and semantic ID of each of these items; unknown values are None."""
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


def gather(sources: Sequence[Source], options: ReportOptions) -> SidFindings:
    """Measure the quality of every table of the sources (run folders or files), with one catalogue, log and set of
    vectors: those of the first run, or without a run, those of the files in `options`.

    Raises:
        ConfigError, DataError, ArtifactError: sources that cannot be read or do not fit each other.
    """
    reference, tables = _reference_and_tables(sources, options)
    measured = [table for whole in tables for table in _with_cut(whole, options.cut)]
    inputs = evidence(reference, options, len(tables[0].codes))
    first = tables[0]
    return SidFindings(
        qualities=[judge(table.name, table.codes, table.sizes, inputs, table.of_tokenizer) for table in measured],
        first=first,
        catalog=reference.catalog,
        popularity=inputs.popularity,
        category=labels_as_text(reference.catalog, "category", options),
        cluster_names=_cluster_names(first, reference, inputs.popularity),
        notes=tuple(note for table in tables for note in table.notes),
    )


def without_qualities(sources: Sequence[Source], options: ReportOptions) -> SidFindings:
    """The findings for the first source without its quality, to list items by code."""
    reference, tables = _reference_and_tables(sources, options)
    popularity = None if reference.split is None else reference.split.train.popularity(len(tables[0].codes))
    category = labels_as_text(reference.catalog, "category", options)
    return SidFindings([], tables[0], reference.catalog, popularity, category, [])


def default_page(sources: Sequence[Source]) -> Path | None:
    """The default path of the page, in the first run; None without a run."""
    return next((contents.run.path(PAGE) for contents in map(open_run, sources) if contents is not None), None)


def judge_run(run: Run) -> SidQuality:
    """The quality of a run's IDs, with its own catalogue, training interactions and vectors."""
    contents = RunContents(run)
    table = of_run(contents)
    inputs = evidence(reference_of_run(contents), ReportOptions(), len(table.codes))
    return judge(table.name, table.codes, table.sizes, inputs, table.of_tokenizer)


def _reference_and_tables(sources: Sequence[Source], options: ReportOptions) -> tuple[Reference, list[Table]]:
    if options.cut is not None and options.cut < 1:
        raise ConfigError(f"--cut is {options.cut}; expected at least 1 level")
    all_contents = [open_run(source) for source in sources]
    runs = [contents for contents in all_contents if contents is not None]
    if runs and options.files:
        raise ConfigError(
            f"{options.files[0]} is for tables from files; the run {str(runs[0].run.folder)!r} among the sources "
            "has its own catalogue, interactions and vectors; leave out one of the two"
        )
    reference = reference_of_run(runs[0]) if runs else reference_of_files(options)
    tables: list[Table] = []
    for source, contents in zip(sources, all_contents, strict=True):
        tables += (
            read_file(source.path, reference.catalog, source.table)
            if contents is None
            else [_of_run(contents, source, reference)]
        )
    _check_rows(tables)
    return reference, _distinct_names(tables)


def _of_run(contents: RunContents, source: Source, reference: Reference) -> Table:
    assert reference.catalog is not None
    return same_items(of_run(contents, source.name), contents.catalog, reference.catalog)


def _check_rows(tables: Sequence[Table]) -> None:
    """All tables need the same number of rows: they must be of the same items."""
    first = tables[0]
    for table in tables:
        if len(table.codes) != len(first.codes):
            raise ConfigError(
                f"Table {table.name!r} has {len(table.codes):,} rows and {first.name!r} {len(first.codes):,}; expected "
                "tables of the same items; report on them one by one"
            )


def _distinct_names(tables: Sequence[Table]) -> list[Table]:
    """The tables with numbers added to repeated names."""
    names = [table.name for table in tables]
    seen: dict[str, int] = {}
    renamed = []
    for table in tables:
        seen[table.name] = seen.get(table.name, 0) + 1
        repeated = names.count(table.name) > 1
        renamed.append(replace(table, name=f"{table.name} ({seen[table.name]})") if repeated else table)
    return renamed


def _with_cut(table: Table, levels: int | None) -> list[Table]:
    if levels is None or levels >= len(table.sizes):
        return [table]
    return [table, table.cut(levels)]


def _cluster_names(table: Table, reference: Reference, popularity: Ints | None) -> list[list[str]]:
    if table.sids is None or reference.catalog is None or popularity is None:
        return []
    return cluster_names(table.sids, reference.catalog.titles, reference.catalog.texts, popularity)

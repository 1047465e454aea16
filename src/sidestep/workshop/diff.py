"""The difference of semantic IDs between two versions, two runs, or two tables."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sidestep import artifact
from sidestep.data.catalog import SOURCE_ROW, Catalog
from sidestep.data.interactions import Ints
from sidestep.errors import ArtifactError, DataError
from sidestep.pipeline import lineage, versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.workshop.tables import Source, is_run, read_file

EXAMPLES = 10
"""Maximum number of moved items in `Difference.examples`."""

NO_CODE = -1


@dataclass(frozen=True)
class IdList:
    """The IDs of one source.

    codes: `[N, L]`. sids: with codebooks, if they are known. catalog: the items; None if items are identified by row
    only. items_file: the catalogue before items were appended; a bare table has one row per row of its items file.
    """

    codes: Ints
    sids: SemanticIds | None = None
    catalog: Catalog | None = None
    items_file: Catalog | None = None


@dataclass(frozen=True)
class Moved:
    item_id: str
    before: list[int]
    after: list[int]


@dataclass(frozen=True)
class Difference:
    """kept, moved: numbers of items with the same, or with another ID. moved_at: of the moved items, the number that
    first differ at level 1, 2, ... new, gone: numbers of items that only the second, or only the first source has.
    levels: of both. codebooks: "unknown" if one of the two is a bare table. examples: the first items that moved.
    """

    kept: int
    moved: int
    moved_at: list[int]
    new: int
    gone: int
    levels: list[int]
    codebooks: Literal["same", "changed", "unknown"]
    examples: list[Moved]

    def text(self) -> str:
        lines = [
            f"{self.kept:,} items keep their ID, {self.moved:,} moved, {self.new:,} are new, {self.gone:,} are gone"
        ]
        if self.moved:
            where = ", ".join(f"level {level}: {count:,}" for level, count in enumerate(self.moved_at, start=1))
            lines.append(f"first moved at {where}")
        lines.append(f"codebooks: {self.codebooks}; levels: {self.levels[0]} and {self.levels[1]}")
        lines += [f"  {entry.item_id}: {_joined(entry.before)} -> {_joined(entry.after)}" for entry in self.examples]
        if self.moved > len(self.examples):
            lines.append(f"  and {self.moved - len(self.examples):,} more")
        return "\n".join(lines)


def compare(first: Source, second: Source) -> Difference:
    """The difference of two sources; a run without a version is its newest one. A bare table has the rows of the other
    one's items file.

    Raises:
        ArtifactError, DataError: a source that cannot be read.
    """
    ours = _of_folder(first)
    theirs = _of_folder(second)
    return difference(
        ours or _of_file(first, theirs.items_file if theirs else None),
        theirs or _of_file(second, ours.items_file if ours else None),
    )


def difference(first: IdList, second: IdList) -> Difference:
    """The difference of two lists. Items are identified by outside ids if both lists have them, else by row. With
    different numbers of levels, an ID whose common levels agree has moved at the first level that one source lacks.
    """
    ours, theirs = _common(first, second)
    before, after = first.codes[ours], second.codes[theirs]
    depth = max(before.shape[1], after.shape[1])
    differs = _padded(before, depth) != _padded(after, depth)
    moved = np.flatnonzero(differs.any(axis=1))
    catalog = first.catalog or second.catalog
    rows = ours if first.catalog else theirs
    return Difference(
        kept=len(ours) - len(moved),
        moved=len(moved),
        moved_at=np.bincount(differs[moved].argmax(axis=1), minlength=depth).tolist(),
        new=len(second.codes) - len(theirs),
        gone=len(first.codes) - len(ours),
        levels=[first.codes.shape[1], second.codes.shape[1]],
        codebooks=_codebooks(first.sids, second.sids),
        examples=[
            Moved(catalog.item_ids[rows[at]] if catalog else str(rows[at]), before[at].tolist(), after[at].tolist())
            for at in moved[:EXAMPLES].tolist()
        ],
    )


def _of_folder(source: Source) -> IdList | None:
    """A run, a version of it, or a folder of semantic IDs with or without its catalogue in the same folder."""
    path = source.path
    if is_run(path):
        run = Run.open(path)
        number = versions.newest(run) if source.version is None else source.version
        versions.manifest(run, number)
        contents = RunContents(run, number)
        return IdList(contents.sids.codes, contents.sids, contents.catalog, RunContents(run).catalog)
    if not artifact.exists(path):
        return None
    sids, beside = SemanticIds.load(path), path.parent / "catalog"
    catalog = Catalog.load(beside) if artifact.exists(beside) else None
    if is_run(path.parent):
        lineage.check(Run.open(path.parent), "sids", "catalog")
    elif catalog is not None:
        digest = artifact.read_manifest(beside).digest
        if artifact.read_manifest(path).parents.get("catalog", digest) != digest:
            raise ArtifactError(f"{str(path)!r} has the semantic IDs of another catalogue than {str(beside)!r}")
    return IdList(sids.codes, sids, catalog, None if catalog is None else _without_appended(catalog))


def _without_appended(catalog: Catalog) -> Catalog:
    """The items that have a row in the items file; all items if rows are unknown."""
    known = SOURCE_ROW in catalog.table.columns
    return Catalog(catalog.table.drop_nulls(SOURCE_ROW)) if known else catalog


def _of_file(source: Source, catalog: Catalog | None) -> IdList:
    tables = read_file(source.path, catalog, source.table)
    if len(tables) > 1:
        names = [table.name for table in tables]
        raise DataError(
            f"{str(source.path)!r} holds {len(names)} tables ({', '.join(names[:5])}); choose one, as in "
            f"{source.path}:{names[0]}"
        )
    return IdList(tables[0].codes, catalog=catalog)


def _common(first: IdList, second: IdList) -> tuple[Ints, Ints]:
    """The rows of the items that both have, in the order of the first."""
    if first.catalog is None or second.catalog is None:
        rows = np.arange(min(len(first.codes), len(second.codes)))
        return rows, rows
    row_of = second.catalog.number_of
    rows = np.array([row_of.get(item_id, NO_CODE) for item_id in first.catalog.item_ids], dtype=np.int64)
    return np.flatnonzero(rows >= 0), rows[rows >= 0]


def _padded(codes: Ints, depth: int) -> Ints:
    return np.pad(codes, ((0, 0), (0, depth - codes.shape[1])), constant_values=NO_CODE)


def _codebooks(first: SemanticIds | None, second: SemanticIds | None) -> Literal["same", "changed", "unknown"]:
    if first is None or second is None:
        return "unknown"
    same = first.codebook_sizes == second.codebook_sizes and all(map(np.array_equal, first.codebooks, second.codebooks))
    return "same" if same else "changed"


def _joined(codes: list[int]) -> str:
    return "-".join(map(str, codes))

"""Tables of semantic IDs, from runs and from files, on the items of one catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sidestep import artifact
from sidestep.data.catalog import SOURCE_ROW, Catalog
from sidestep.data.interactions import Ints
from sidestep.data.sources.arrays import read_arrays
from sidestep.errors import ArtifactError, DataError, did_you_mean
from sidestep.evaluation.geometry import deviation, left_by_codewords, squares
from sidestep.evaluation.sid_quality import TokenizerEvidence
from sidestep.pipeline import versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import RECIPE, Run
from sidestep.sids import tokenizer
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.workshop.codings import plain_codes

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST_CODE = 2**24 - 1


@dataclass(frozen=True)
class Table:
    """A table of semantic IDs.

    codes: `[N, L]`. sizes: number of codes at every level; for a file, the largest code + 1.
    sids: with codebooks and clusters, and of_tokenizer: evidence of its tokenizer, for the table of a run.
    """

    name: str
    codes: Ints
    sizes: tuple[int, ...]
    sids: SemanticIds | None = None
    of_tokenizer: TokenizerEvidence | None = None
    notes: tuple[str, ...] = ()

    def cut(self, levels: int) -> "Table":
        """The table reduced to its first levels."""
        return replace(self, name=f"{self.name} [:{levels}]", codes=self.codes[:, :levels], sizes=self.sizes[:levels])


@dataclass(frozen=True)
class Source:
    """Where semantic IDs lie: a run folder, a folder of semantic IDs, or a .npy or .npz file.

    version: of a run's items and IDs; None leaves the choice to the reader. table: one array of an .npz; "" is each.
    """

    path: Path
    version: int | None = None
    table: str = ""

    @property
    def name(self) -> str:
        """What its table is called."""
        return self.path.resolve().name + ("" if self.version is None else f"@{self.version}")


def is_run(folder: Path) -> bool:
    return (folder / RECIPE).is_file()


def open_run(source: Source) -> RunContents | None:
    """The run of a source, in its version or else the first, which the generator was trained with; None where the
    source is no run.

    Raises:
        ArtifactError: the run has no such version.
    """
    if not is_run(source.path):
        return None
    run = Run.open(source.path)
    if source.version is not None:
        versions.manifest(run, source.version)
    return RunContents(run, source.version or 1)


def of_run(contents: RunContents, name: str = "") -> Table:
    """The table of a run.

    Raises:
        ArtifactError: it has no semantic IDs yet, or modified ones.
    """
    run = contents.run
    if not artifact.exists(run.path("sids")):
        raise ArtifactError(
            f"{str(run.folder)!r} has no semantic IDs yet; `sidestep tokenize {run.folder}` writes them"
        )
    sids = contents.sids
    return Table(name or run.folder.resolve().name, sids.codes, sids.codebook_sizes, sids, _of_tokenizer(contents))


def same_items(table: Table, catalog: Catalog, reference: Catalog) -> Table:
    """A run's table in the order of another run's catalogue.

    Raises:
        DataError: the two do not hold the same items.
    """
    if catalog.item_ids == reference.item_ids:
        return table
    known = catalog.number_of
    strange = next((item_id for item_id in reference.item_ids if item_id not in known), None)
    if strange is not None or len(catalog) != len(reference):
        example = "" if strange is None else f", and not {strange!r}"
        raise DataError(
            f"{table.name!r} has {len(catalog):,} items{example}; expected the {len(reference):,} of the first run, "
            "whose catalogue and vectors are used for all tables; report on runs of other data one by one"
        )
    rows = reference.items(catalog.item_ids).argsort()
    sids = None if table.sids is None else replace(table.sids, codes=table.sids.codes[rows])
    return replace(table, codes=table.codes[rows], sids=sids)


def read_file(path: Path, catalog: Catalog | None, table: str = "") -> list[Table]:
    """Every array of an `.npz`, or the one of an `.npy`, as a table; one alone where `table` names it.

    Row i of an array is row i of the items file; `catalog` says which rows those of its items are. Nothing is ever
    unpickled.

    Raises:
        DataError: no such file, not whole numbers `[rows, levels]`, negative or enormous codes, too many or few rows,
            no such table.
    """
    arrays = _arrays(path)
    if table and table not in arrays:
        raise DataError(
            f"{str(path)!r} has no table {table!r}{did_you_mean(table, arrays)}; it has {', '.join(arrays)}"
        )
    return [_table(path, name, array, catalog) for name, array in arrays.items() if not table or name == table]


def _arrays(path: Path) -> dict[str, Array]:
    kinds = f"expected a run folder ({RECIPE} in it), or .npz or .npy tables of codes"
    if path.is_dir():
        raise DataError(f"{str(path)!r} is no run folder; {kinds}")
    if not path.exists():
        raise DataError(f"No file or folder {str(path)!r}; {kinds}")
    if path.suffix not in (".npz", ".npy"):
        raise DataError(f"Cannot read {str(path)!r}: its name ends in {path.suffix!r}; {kinds}")
    arrays = read_arrays(path)
    if not arrays:
        raise DataError(f"{str(path)!r} holds no arrays; {kinds}")
    return arrays


def _table(path: Path, name: str, array: Array, catalog: Catalog | None) -> Table:
    where = f"{str(path)!r}, table {name!r}:"
    if array.ndim != 2 or not array.size:
        raise DataError(f"{where} an array of shape {list(array.shape)}, expected codes [items, levels]")
    if array.dtype.kind not in "iu":
        raise DataError(f"{where} values of type {array.dtype}, expected codes as whole numbers; save them as int64")
    if array.min() < 0:
        row, level = (int(place[0]) for place in np.nonzero(array < 0))
        raise DataError(
            f"{where} the code {array[row, level]} in row {row} at level {level + 1}; codes count from 0, and every "
            "item needs one at every level"
        )
    if array.max() > LARGEST_CODE:
        raise DataError(f"{where} the code {array.max()}, expected at most {LARGEST_CODE}; number the codes from 0")
    codes, notes = plain_codes(array.astype(np.int64), None if catalog is None else _num_rows(where, catalog))
    codes = codes if catalog is None else codes[_rows(where, len(codes), catalog)]
    sizes = tuple((codes.max(axis=0) + 1).tolist())
    return Table(name, codes, sizes, notes=tuple(f"{where} {note}" for note in notes))


def _num_rows(where: str, catalog: Catalog) -> int:
    """How many rows the items file of a catalogue has at least.

    Raises:
        DataError: some items have no row in it.
    """
    return int(_rows_of_items(where, catalog).max(initial=-1)) + 1


def _rows(where: str, num_rows: int, catalog: Catalog) -> Ints:
    """The row of each item, `[N]`."""
    rows = _rows_of_items(where, catalog)
    needed = int(rows.max(initial=-1)) + 1
    if num_rows < needed or (num_rows != needed and needed == len(rows)):
        raise DataError(
            f"{where} {num_rows:,} rows, expected {needed:,}: one for every row of the items file, in its order"
        )
    return rows


def _rows_of_items(where: str, catalog: Catalog) -> Ints:
    if SOURCE_ROW not in catalog.table.columns:
        return np.arange(len(catalog))
    appended = catalog.table[SOURCE_ROW].null_count()
    if appended:
        raise DataError(
            f"{where} its rows are those of the items file, and {appended:,} appended items have no row there; "
            "report on version 1, with RUN@1"
        )
    rows: Ints = catalog.table[SOURCE_ROW].to_numpy().astype(np.int64)
    return rows


def _of_tokenizer(contents: RunContents) -> TokenizerEvidence:
    """Residual shares of the latents and of the vectors, and the clusters of every learnt level."""
    sids = contents.sids
    if not artifact.exists(contents.run.path("tokenizer")):
        return TokenizerEvidence(sids.clusters, without="the run has no tokenizer")
    rows, model = contents.rows, contents.tokenizer
    learnt = min(len(model.quantiser.levels), sids.num_levels)  # later levels only distinguish items of an ID
    books = sids.codebooks[:learnt]
    if len(rows) != len(sids):
        reason = "the vectors of appended items are not stored; see version 1"
        return TokenizerEvidence(sids.clusters[:learnt], without=reason)
    latents = model.encode(torch.from_numpy(rows.values)).cpu().numpy()
    left = left_by_codewords(latents, sids.codes, books)
    return TokenizerEvidence(sids.clusters[:learnt], left or (), _decoded(model, rows, sids.codes, books))


def _decoded(model: tokenizer.Tokenizer, rows: ItemVectors, codes: Ints, books: Sequence[Array]) -> list[float]:
    """For each level, the squared error of the decoded sum of codewords, as a share of the vectors' squared deviation
    from their mean.
    """
    latents, shares = torch.zeros(len(codes), books[0].shape[1]), []
    vectors = rows.values[:, : model.decode(latents[:1]).shape[1]]  # labels behind them are not restored
    total = deviation(vectors)
    if total is None:
        return []
    for level, book in enumerate(books):
        latents += torch.from_numpy(book[codes[:, level]])
        shares.append(squares(model.decode(latents).cpu().numpy() - vectors) / total)
    return shares

"""Evidence for the quality of semantic IDs: a run's catalogue, log and vectors, or the user's files."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep import artifact
from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.data.labels import USUAL_COLUMNS, Label, labels
from sidestep.data.sources import READERS, DataConfig
from sidestep.data.sources.assemble import assemble
from sidestep.data.sources.files import column_names
from sidestep.data.sources.guess import guess
from sidestep.data.sources.hints import ITEMS, column_like
from sidestep.data.sources.table import canonical_items
from sidestep.data.splits import Split, SplitConfig, split
from sidestep.data.texts import add_text
from sidestep.errors import ArtifactError, ConfigError, DataError, listed
from sidestep.evaluation.purity import Linked, Relation, SameLabel, label_numbers
from sidestep.evaluation.sid_quality import Evidence
from sidestep.pipeline.contents import RunContents
from sidestep.vectors.files import read_vectors
from sidestep.vectors.graph import GraphConfig, cooccurrence
from sidestep.vectors.item_vectors import ItemVectors


@dataclass(frozen=True)
class ReportOptions:
    """The user's options of a report.

    catalog, interactions, vectors: files with the evidence, if no source is a run.
    cut: report every table also with this number of first levels. category, brand: columns of the catalogue.
    """

    catalog: Path | None = None
    interactions: Path | None = None
    vectors: Path | None = None
    cut: int | None = None
    category: str | None = None
    brand: str | None = None

    @property
    def files(self) -> list[str]:
        """The given options that are files."""
        options = {"--catalog": self.catalog, "--interactions": self.interactions, "--vectors": self.vectors}
        return [option for option, path in options.items() if path is not None]

    def column(self, label: Label) -> str | None:
        """The column the user chose for a label."""
        return {"category": self.category, "brand": self.brand}[label]


@dataclass(frozen=True)
class Reference:
    """The data that all tables are measured with; None for parts that are missing.

    split: the divided log. graph: settings of the co-occurrence graph. hint: how the user can add missing parts, as the
    beginning of a phrase. no_vectors: the reason for missing vectors.
    """

    catalog: Catalog | None
    split: Split | None
    vectors: ItemVectors | None
    graph: GraphConfig
    hint: str = ""
    no_vectors: str = "no vectors"


def reference_of_run(contents: RunContents) -> Reference:
    """Raises:
    ArtifactError: the run is not prepared yet.
    """
    run = contents.run
    if not artifact.exists(run.path("catalog")):
        raise ArtifactError(
            f"{str(run.folder)!r} has no catalogue yet; `sidestep tokenize {run.folder}` writes it and the IDs"
        )
    if not artifact.exists(run.path("vectors")):
        return Reference(contents.catalog, contents.split, None, run.recipe.graph)
    vectors = contents.embedded
    if len(vectors) != len(contents.catalog):
        reason = "the run does not store the vectors of appended items"
        return Reference(contents.catalog, contents.split, None, run.recipe.graph, no_vectors=reason)
    return Reference(contents.catalog, contents.split, vectors, run.recipe.graph)


def reference_of_files(options: ReportOptions) -> Reference:
    """Raises:
    ConfigError: a log without a catalogue. DataError: files that cannot be read.
    """
    catalog, parts = None, None
    if options.interactions is not None:
        if options.catalog is None:
            raise ConfigError(
                "--interactions needs --catalog: rows of a table are matched with items by the rows of the items file"
            )
        catalog, parts = _catalog_and_log(options.catalog, options.interactions)
    elif options.catalog is not None:
        catalog = _catalog(options.catalog)
    return Reference(catalog, parts, None, GraphConfig(), hint="; give ")


def evidence(reference: Reference, options: ReportOptions, num_items: int) -> Evidence:
    """The evidence for tables of `num_items` rows, with the reasons for missing parts.

    Raises:
        ConfigError: a column that the catalogue does not have.
    """
    missing: list[str] = []
    relations: dict[str, Relation] = {}
    for label in USUAL_COLUMNS:
        texts = labels_as_text(reference.catalog, label, options)
        if texts is not None:
            relations[label] = SameLabel(label_numbers(texts))
        else:
            missing.append(_no_label(reference, label))
    popularity = targets = None
    if reference.split is not None:
        popularity, targets = reference.split.train.popularity(num_items), reference.split.test.targets
        relations["co-purchase"] = Linked(cooccurrence(reference.split.train, num_items, reference.graph))
    else:
        missing.append(
            "co-purchase; ceilings are over items, not over test targets: no interactions"
            + _hint(reference, "--interactions")
        )
    vectors = reference.vectors
    if vectors is None and options.vectors is not None:
        vectors = read_vectors(options.vectors, reference.catalog or _unnamed(num_items))
    if vectors is None:
        missing.append(
            f"variance left, cosines within clusters: {reference.no_vectors}" + _hint(reference, "--vectors")
        )
    return Evidence(relations, popularity, targets, None if vectors is None else vectors.values, missing)


def labels_as_text(catalog: Catalog | None, label: Label, options: ReportOptions) -> list[str] | None:
    """`labels` of the catalogue, with the user's choice of columns; None without a catalogue or a column.

    Raises:
        ConfigError: a chosen column does not exist, or there is no catalogue.
    """
    chosen = options.column(label)
    if catalog is not None:
        return labels(catalog, label, chosen)
    if chosen is not None:
        raise ConfigError(f"--{label} {chosen!r} needs a catalogue; name its items file with --catalog")
    return None


def _no_label(reference: Reference, label: Label) -> str:
    if reference.catalog is None:
        return f"purity by {label}: no catalogue{_hint(reference, '--catalog')}"
    usual = ", ".join(USUAL_COLUMNS[label][:3])
    return f"purity by {label}: the catalogue has no column like {usual}; name one with --{label}"


def _hint(reference: Reference, option: str) -> str:
    return f"{reference.hint}{option} FILE" if reference.hint else ""


def _catalog(path: Path) -> Catalog:
    names = column_names(path)
    key = column_like(names, ITEMS)
    if key is None:
        raise DataError(
            f"No column of {str(path)!r} looks like the items' ids: {listed(names)}; rename the right one to item_id"
        )
    items = canonical_items(path, DataConfig(item=key)).unique(ITEM_ID, keep="first", maintain_order=True)
    return Catalog(add_text(items, None))


def _catalog_and_log(items: Path, interactions: Path) -> tuple[Catalog, Split]:
    """Both, read as by `sidestep init`. Items without interactions are kept, since a table has rows for them."""
    lenient = {"items_without_interactions": "keep", "unknown_items": "drop", "duplicate_items": "first"}
    config = guess(interactions, items).config.model_copy(update=lenient)
    dataset = assemble(READERS[config.source](config), config, seed=0)
    return dataset.catalog, split(dataset.interactions, SplitConfig())


def _unnamed(num_items: int) -> Catalog:
    return Catalog(pl.DataFrame({ITEM_ID: [str(item) for item in range(num_items)]}))

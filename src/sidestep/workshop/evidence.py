"""What tables of semantic IDs are judged by: a run's own catalogue, log and vectors, or files that the user names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sidestep import artifact
from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.data.interactions import Ints
from sidestep.data.labels import USUAL_COLUMNS, Label, labels
from sidestep.data.sources import READERS, DataConfig
from sidestep.data.sources.assemble import assemble
from sidestep.data.sources.files import column_names
from sidestep.data.sources.guess import ITEMS, column_like, guess
from sidestep.data.sources.table import canonical_items
from sidestep.data.sources.texts import add_text
from sidestep.data.splits import Split, SplitConfig, split
from sidestep.errors import ArtifactError, ConfigError, DataError
from sidestep.evaluation.purity import NO_LABEL, Linked, Relation, SameLabel
from sidestep.evaluation.sid_quality import Evidence
from sidestep.pipeline.contents import RunContents
from sidestep.vectors.files import read_vectors
from sidestep.vectors.graph import GraphConfig, cooccurrence
from sidestep.vectors.item_vectors import ItemVectors


@dataclass(frozen=True)
class Asked:
    """What the user asked for beside the sources.

    catalog, interactions, vectors: files that judge tables made elsewhere, where no run does.
    cut: every table is shown with its first so many levels, too. category, brand: columns of the catalogue.
    """

    catalog: Path | None = None
    interactions: Path | None = None
    vectors: Path | None = None
    cut: int | None = None
    category: str | None = None
    brand: str | None = None

    @property
    def files(self) -> list[str]:
        """The options that name files."""
        named = {"--catalog": self.catalog, "--interactions": self.interactions, "--vectors": self.vectors}
        return [option for option, path in named.items() if path is not None]

    def column(self, label: Label) -> str | None:
        """The column the user chose for a label."""
        return {"category": self.category, "brand": self.brand}[label]


@dataclass(frozen=True)
class Ground:
    """A catalogue, its log divided, its vectors, how the graph is made; None where there is none. wish: how the user
    could give what is not there. no_vectors: why there are none.
    """

    catalog: Catalog | None
    split: Split | None
    vectors: ItemVectors | None
    graph: GraphConfig
    wish: str = ""
    no_vectors: str = "no vectors"


def ground_of_run(contents: RunContents) -> Ground:
    """Raises:
    ArtifactError: the run is not prepared yet.
    """
    run = contents.run
    if not artifact.exists(run.path("catalog")):
        raise ArtifactError(
            f"{str(run.folder)!r} has no catalogue yet; make it and the IDs with `sidestep tokenize {run.folder}`"
        )
    if not artifact.exists(run.path("vectors")):
        return Ground(contents.catalog, contents.split, None, run.recipe.graph)
    vectors = ItemVectors.load(run.path("vectors"))
    if len(vectors) != len(contents.catalog):
        said = "the run keeps no vectors of items that were appended"
        return Ground(contents.catalog, contents.split, None, run.recipe.graph, no_vectors=said)
    return Ground(contents.catalog, contents.split, vectors, run.recipe.graph)


def ground_of_files(asked: Asked) -> Ground:
    """Raises:
    ConfigError: a log without a catalogue. DataError: files that cannot be read.
    """
    catalog, parts = None, None
    if asked.interactions is not None:
        if asked.catalog is None:
            raise ConfigError(
                "--interactions needs --catalog: rows of a table are matched with items by the rows of the items file"
            )
        catalog, parts = _catalog_and_log(asked.catalog, asked.interactions)
    elif asked.catalog is not None:
        catalog = _catalog(asked.catalog)
    return Ground(catalog, parts, None, GraphConfig(), wish="; give ")


def evidence(ground: Ground, asked: Asked, num_items: int) -> Evidence:
    """Everything a table of `num_items` rows can be judged by, and what is missing.

    Raises:
        ConfigError: a column that the catalogue does not have.
    """
    missing: list[str] = []
    relations: dict[str, Relation] = {}
    for label in USUAL_COLUMNS:
        texts = labels_as_text(ground.catalog, label, asked)
        if texts is not None:
            relations[label] = SameLabel(_numbers(texts))
        else:
            missing.append(_no_label(ground, label))
    popularity = targets = None
    if ground.split is not None:
        popularity, targets = ground.split.train.popularity(num_items), ground.split.test.targets
        relations["co-purchase"] = Linked(cooccurrence(ground.split.train, num_items, ground.graph))
    else:
        missing.append(
            "co-purchase; ceilings are over items, not over test targets: no interactions"
            + _way(ground, "--interactions")
        )
    vectors = ground.vectors
    if vectors is None and asked.vectors is not None:
        vectors = read_vectors(asked.vectors, ground.catalog or _unnamed(num_items))
    if vectors is None:
        missing.append(f"variance left, likeness of clusters: {ground.no_vectors}" + _way(ground, "--vectors"))
    return Evidence(relations, popularity, targets, None if vectors is None else vectors.values, missing)


def labels_as_text(catalog: Catalog | None, label: Label, asked: Asked) -> list[str] | None:
    """`labels` of the catalogue under the user's choice of columns; None where there is no catalogue or no column.

    Raises:
        ConfigError: a column was chosen that is not there, or without a catalogue.
    """
    chosen = asked.column(label)
    if catalog is not None:
        return labels(catalog, label, chosen)
    if chosen is not None:
        raise ConfigError(f"--{label} {chosen!r} needs a catalogue; name its items file with --catalog")
    return None


def _numbers(texts: list[str]) -> Ints:
    """Equal texts get equal numbers, empty ones `NO_LABEL`."""
    values = np.array(texts, dtype=np.object_)
    numbers = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return np.where(values == "", NO_LABEL, numbers)


def _no_label(ground: Ground, label: Label) -> str:
    if ground.catalog is None:
        return f"purity by {label}: no catalogue{_way(ground, '--catalog')}"
    usual = ", ".join(USUAL_COLUMNS[label][:3])
    return f"purity by {label}: the catalogue has no column like {usual}; name one with --{label}"


def _way(ground: Ground, option: str) -> str:
    return f"{ground.wish}{option} FILE" if ground.wish else ""


def _catalog(path: Path) -> Catalog:
    names = column_names(path)
    key = column_like(names, ITEMS)
    if key is None:
        raise DataError(
            f"Cannot tell which column of {str(path)!r} holds the items' ids: {', '.join(names)}; rename it to item_id"
        )
    items = canonical_items(path, DataConfig(item=key)).unique(ITEM_ID, keep="first", maintain_order=True)
    return Catalog(add_text(items, None))


def _catalog_and_log(items: Path, interactions: Path) -> tuple[Catalog, Split]:
    """Both, read as `sidestep init` would; items stay that nobody touched, since a table has rows for them."""
    lenient = {"items_without_interactions": "keep", "unknown_items": "drop", "duplicate_items": "first"}
    config = guess(interactions, items).config.model_copy(update=lenient)
    dataset = assemble(READERS[config.source](config), config, seed=0)
    return dataset.catalog, split(dataset.interactions, SplitConfig())


def _unnamed(num_items: int) -> Catalog:
    return Catalog(pl.DataFrame({ITEM_ID: [str(item) for item in range(num_items)]}))

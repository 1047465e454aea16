"""Where item vectors come from: the user's file, the items' content, or behaviour.

A further encoder of content (another text model, a tuned one, images) is a file of `encoders/` with the three members
of `TextEncoder`, a name in `Kind` and a line in `text_encoder`. A further source of behaviour (the item embeddings of
a trained scorer, say) is a name in `Kind` and a branch of `embed`, beside the one of the co-occurrence graph; it says
in `embed_further` whether items that nobody has interacted with can have such vectors.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import Field, model_validator

from sidestep.config import HomePath, Section
from sidestep.data.catalog import Catalog
from sidestep.data.splits import TrainingInteractions
from sidestep.encoders.directions import Matrix
from sidestep.encoders.lsa import LSA
from sidestep.encoders.sentence import Sentence
from sidestep.errors import ConfigError, DataError
from sidestep.vectors.cache import cached, key_of
from sidestep.vectors.edges import graph_of
from sidestep.vectors.files import located, read_vectors
from sidestep.vectors.graph import GraphConfig, spectral_vectors
from sidestep.vectors.item_vectors import ItemVectors

Kind = Literal["auto", "file", "lsa", "minilm", "sentence-transformers", "behaviour"]
Progress = Callable[[int, int], object]


class EmbedConfig(Section):
    """How items get their vectors.

    kind: "file" reads `path`; "lsa" needs no model (see `lsa`); "minilm" is all-MiniLM-L6-v2 from the package index;
        "sentence-transformers" is any `model` by hub name or local folder (the paper's is Qwen/Qwen3-Embedding-4B);
        "behaviour" reads no text. "auto" takes the file where `path` is set, else lsa where items have texts, else
        behaviour.
    model: hub name or local folder, for "sentence-transformers".
    path, tensor: a file of vectors, looked for beside the data and then in the working directory, and which of its
        tensors or columns, where it has several.
    width: dimensions of lsa and behaviour; the models have their own.
    batch_size: texts at once in a model. max_chars: longer texts are cut.
    """

    kind: Kind = "auto"
    path: HomePath | None = None
    tensor: str | None = None
    model: str | None = None
    width: int = Field(default=256, ge=1)
    batch_size: int = Field(default=64, ge=1)
    max_chars: int = Field(default=2_000, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "EmbedConfig":
        if self.kind == "file" and self.path is None:
            raise ValueError("kind = 'file' needs embed.path")
        if self.path is not None and self.kind not in ("auto", "file"):
            raise ValueError(f"embed.path is set, which kind = '{self.kind}' does not read; use kind = 'file'")
        if (self.model is None) == (self.kind == "sentence-transformers"):
            raise ValueError("embed.model and kind = 'sentence-transformers' go together: a hub name or a local folder")
        return self


@runtime_checkable
class TextEncoder(Protocol):
    """Vectors of texts, in one space for all of them."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the vectors depend on besides the texts, as JSON values."""

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Matrix:
        """Unit rows `[N, D]`. progress: called with the texts done and their number."""

    def folding(
        self, texts: Sequence[str], vectors: Matrix, progress: Progress | None = None
    ) -> Callable[[Sequence[str]], Matrix]:
        """What makes unit rows `[M, D]` of further texts, in the space of `vectors` `[N, D]`, which `texts` gave."""


def text_encoder(kind: Kind, config: EmbedConfig, seed: int) -> TextEncoder:
    """The encoder behind a kind of vectors from texts."""
    if kind == "lsa":
        return LSA(config.width, seed)
    return Sentence(config.model, config.batch_size)  # minilm is the model without a name


def chosen_kind(catalog: Catalog, config: EmbedConfig) -> Kind:
    """The kind that "auto" stands for here; any other kind stands for itself."""
    if config.kind != "auto":
        return config.kind
    if config.path is not None:
        return "file"
    return "lsa" if any(text.strip() for text in catalog.texts or []) else "behaviour"


def vectors_file(config: EmbedConfig, folder: Path) -> Path | None:
    """The user's file of vectors: `config.path` beside the data, or else in the working directory; None without one.

    folder: where the data lies; a file stands for the folder it lies in.
    """
    return None if config.path is None else located(config.path, folder, Path.is_file)


def embed(
    catalog: Catalog,
    config: EmbedConfig,
    train: TrainingInteractions,
    seed: int,
    *,
    folder: Path = Path(),
    cache: Path | None = None,
    progress: Progress | None = None,
    graph: GraphConfig | None = None,
) -> ItemVectors:
    """One vector for every item.

    folder: where a relative `config.path` is looked for first; a file stands for the folder it lies in.
    cache: where vectors of texts are kept, if it can be written; None means $SIDESTEP_CACHE, or ~/.cache/sidestep.
    progress: called with the number of texts that are done, and of all texts.
    graph: how the co-occurrence graph is built from which vectors of behaviour are made; None takes the defaults.

    Raises:
        DataError: no text where one is needed, or a bad file. MissingExtraError: a model without its library.
        ConfigError: a model that cannot be loaded.
    """
    kind = chosen_kind(catalog, config)
    if kind == "file":
        path = vectors_file(config, folder)
        assert path is not None
        return read_vectors(path, catalog, config.tensor)
    if kind == "behaviour":
        return spectral_vectors(graph_of(train, catalog, graph or GraphConfig(), folder), config.width, seed)
    texts = _texts(catalog, config)
    if not any(texts):
        raise DataError(
            f"embed.kind = {kind!r} needs texts and no item has any; name their columns in data.text_fields, "
            "or use embed.kind = 'behaviour'"
        )
    encoder = text_encoder(kind, config, seed)
    return cached(cache, key_of(texts, kind, encoder.settings), lambda: encoder.encode(texts, progress))


def embed_further(
    further: Catalog,
    catalog: Catalog,
    vectors: ItemVectors,
    config: EmbedConfig,
    seed: int,
    path: Path | None = None,
    progress: Progress | None = None,
) -> ItemVectors:
    """Vectors of further items in the space of a catalogue's own `vectors`, which `config` and `seed` made.

    path: a file of vectors of the further items, for kind "file".

    Raises:
        ConfigError: vectors of this kind cannot be made for further items, or a file is missing or not wanted.
        DataError: a bad file, or no texts.
    """
    kind = chosen_kind(catalog, config)
    if kind == "behaviour":
        raise ConfigError(
            "The run's vectors come from behaviour, and no user has interacted with a further item, so it can have "
            "none; make a new run once there are interactions with it"
        )
    if (kind == "file") != (path is not None):
        ways = "give those of the further items with --vectors" if path is None else "leave out --vectors"
        raise ConfigError(f"The run's vectors are of embed.kind = {kind!r}; {ways}")
    if path is not None:
        given = read_vectors(path, further, config.tensor)
        if given.width != vectors.width:
            raise DataError(f"{str(path)!r} has vectors of {given.width} dimensions, the run's have {vectors.width}")
        return given
    if not any(_texts(further, config)):
        raise DataError(f"None of the {len(further)} further items has a text, so no vectors can be made for them")
    return folding(catalog, vectors, config, seed, progress)(further)


def folding(
    catalog: Catalog, vectors: ItemVectors, config: EmbedConfig, seed: int, progress: Progress | None = None
) -> Callable[[Catalog], ItemVectors]:
    """`embed_further` for many portions of further items: the encoder is loaded or fitted once. Items without a text
    get the mean direction of `vectors`.

    Raises:
        ConfigError: the catalogue's vectors come from no text.
    """
    kind = chosen_kind(catalog, config)
    if kind in ("file", "behaviour"):
        raise ConfigError(f"The run's vectors are of embed.kind = {kind!r}, which makes none of further items' texts")
    fold = text_encoder(kind, config, seed).folding(_texts(catalog, config), vectors.values, progress)
    return lambda further: ItemVectors(fold(_texts(further, config) or [""] * len(further)))


def _texts(catalog: Catalog, config: EmbedConfig) -> list[str]:
    return [text[: config.max_chars].strip() for text in catalog.texts or []]

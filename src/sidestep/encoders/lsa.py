"""Latent semantic analysis: vectors of texts from the texts alone, without a model and without the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from sidestep.encoders.directions import Matrix, unit_rows, with_mean_direction
from sidestep.errors import DataError

Fold = Callable[[Sequence[str]], Matrix]
MAX_FEATURES = 50_000
"""Words kept, and as many trigrams: the most frequent."""


@dataclass(frozen=True)
class LSA:
    """The text encoder of `embed.kind = "lsa"`. width: dimensions. seed: of the randomised SVD."""

    width: int
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        """What the vectors depend on besides the texts."""
        return {"width": self.width, "seed": self.seed}

    def encode(self, texts: Sequence[str], progress: Callable[[int, int], object] | None = None) -> Matrix:
        """Unit vectors of the texts, `[N, <= width]`. Raises as `lsa`."""
        return lsa(texts, self.width, self.seed)

    def folding(
        self, texts: Sequence[str], vectors: Matrix, progress: Callable[[int, int], object] | None = None
    ) -> Fold:
        """From further texts to their unit vectors `[M, D]`, folded into the space of `vectors` `[N, D]`, which `texts`
        gave; each depends on its own text alone.

        Raises:
            DataError: the texts no longer give these vectors. As `lsa`.
        """
        own, fold = _fitted(texts, self.width, self.seed)
        if not np.allclose(own, vectors, atol=1e-3):
            raise DataError(
                "The catalogue's texts no longer give the run's vectors (another release of scikit-learn, perhaps), so "
                "further texts would lie in another space; make the run again"
            )
        return fold


def lsa(texts: Sequence[str], width: int, seed: int, further: Sequence[str] = ()) -> Matrix:
    """Latent semantic analysis (Deerwester et al. 1990): TF-IDF, then a truncated SVD; unit rows `[N, <= width]`.

    Features are words, and trigrams of characters within words: trigrams tie inflected and misspelt words together,
    and serve languages that write no spaces. Texts without a letter or a digit get the mean direction of the others.
    Fewer texts or features than `width` give fewer dimensions.

    further: texts that are folded in (Deerwester et al. 1990): their rows come last, and no other row depends on them.

    Raises:
        DataError: no text holds a letter or a digit.
    """
    vectors, fold = _fitted(texts, width, seed)
    return np.concatenate([vectors, fold(further)]) if further else vectors


def _fitted(texts: Sequence[str], width: int, seed: int) -> tuple[Matrix, Fold]:
    """The vectors of the texts, and what folds further ones in."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd

    empty = np.array([not any(character.isalnum() for character in text) for text in texts])
    if empty.all():
        raise DataError(
            f"None of {len(texts)} texts holds a letter or a digit, so no vectors can be made of them; "
            "use embed.kind = 'behaviour'"
        )
    shared: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "max_features": MAX_FEATURES}
    words = TfidfVectorizer(analyzer="word", token_pattern=r"(?u)\w+", **shared)
    trigrams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), **shared)
    features = sparse.hstack([words.fit_transform(texts), trigrams.fit_transform(texts)], format="csr")
    rank = min(width, *features.shape)
    left, singular, right = randomized_svd(features, rank, random_state=seed)
    vectors = with_mean_direction((left * singular).astype(np.float32), empty)
    mean = vectors.mean(axis=0)

    def fold(further: Sequence[str]) -> Matrix:
        new = sparse.hstack([words.transform(further), trigrams.transform(further)], format="csr") @ right.T
        unit = unit_rows(np.asarray(new, dtype=np.float32))
        unit[~unit.any(axis=1)] = mean  # a text that shares no feature with the texts
        return unit_rows(unit)

    return vectors, fold

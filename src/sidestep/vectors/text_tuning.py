"""Vectors of texts by an encoder or a language model that is tuned on pairs that users make."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Ints
from sidestep.encoders import questions
from sidestep.encoders.causal_model import CausalEncoder, Progress
from sidestep.encoders.segments import Segments
from sidestep.encoders.text_model import States, TextModel, TokenStates, vectors_of, with_weights
from sidestep.errors import DataError
from sidestep.vectors.files import located
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.pair_batches import PairBatches
from sidestep.vectors.pairs import Pairs
from sidestep.vectors.tuning import TuneConfig


class ReadsTexts(nn.Module, ABC):
    """What reads an item's text, so that new items need no other vector."""

    @abstractmethod
    def of_items(self, catalog: Catalog) -> ItemVectors:
        """Unit vectors of a catalogue's texts, `[N, D]`; empty ones get the mean direction."""


class TextTuner(ReadsTexts):
    """A text model with upper layers of its own, the only weights that it trains and keeps."""

    def __init__(self, text_model: TextModel) -> None:
        super().__init__()
        self.upper, self.text_model = text_model.upper(), text_model

    @classmethod
    def of(cls, config: TuneConfig, weights: Mapping[str, Tensor] | None = None) -> "TextTuner":
        """weights: tuned ones; None takes the model's own.

        Raises:
            MissingExtraError, ConfigError: as `TextModel.of`, or weights of another model.
        """
        tuner = cls(TextModel.of(config.model, config.tokens, config.layers))
        if weights is not None:
            with_weights(tuner.upper, {name.removeprefix("upper."): value for name, value in weights.items()})
        return tuner.eval()

    def forward(self, states: States) -> Float[Tensor, "n D"]:
        vectors: Tensor = self.upper(states)
        return vectors

    def of_items(self, catalog: Catalog, states: TokenStates | None = None) -> ItemVectors:
        """See `ReadsTexts`.

        states: of these texts, where they are known already.
        """
        texts = texts_of(catalog)
        known = self.text_model.states(texts) if states is None else states
        return ItemVectors(vectors_of(self.upper, known, texts))


class LanguageTuner(ReadsTexts):
    """A causal language model that gives an item's vector; see `CausalEncoder`."""

    def __init__(self, encoder: CausalEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def of(cls, config: TuneConfig, weights: Mapping[str, Tensor] | None = None) -> "LanguageTuner":
        """weights: tuned ones; None takes the model's own.

        Raises:
            MissingExtraError, ConfigError: as `CausalEncoder.of`, or weights of another model.
        """
        encoder = CausalEncoder.of(
            config.model, config.rank, config.emb_tokens, config.tokens, config.qa_tokens, config.at_once
        )
        if weights is not None:
            encoder.take({name.removeprefix("encoder."): value for name, value in weights.items()})
        return cls(encoder).eval()

    def forward(self, segments: Segments) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = self.encoder(segments)
        return found

    def of_items(self, catalog: Catalog, progress: Progress | None = None) -> ItemVectors:
        return ItemVectors(self.encoder.vectors(texts_of(catalog), progress))


def tuner_of(config: TuneConfig, weights: Mapping[str, Tensor] | None = None) -> ReadsTexts:
    """What a recipe tunes that reads texts; see `TextTuner.of` and `LanguageTuner.of`."""
    return (LanguageTuner if config.kind == "lm" else TextTuner).of(config, weights)


def questions_of(catalog: Catalog, config: TuneConfig, folder: Path) -> list[str] | None:
    """What is asked and answered about every item, `[N]`; None where nothing is. folder: of the data.

    Raises:
        DataError: see `questions.of_file`, or a catalogue whose columns answer nothing.
    """
    if config.qa_path is not None:
        return questions.of_file(located(config.qa_path, folder, Path.is_file), catalog)
    if config.qa == "none":
        return None
    return questions.by_templates(catalog)


def texts_of(catalog: Catalog) -> list[str]:
    """Every item's text.

    Raises:
        DataError: no item has any.
    """
    texts = catalog.texts or []
    if not any(text.strip() for text in texts):
        raise DataError(
            f"tune.kind = 'encoder' or 'lm' reads texts, and none of {len(catalog):,} items has any; name their "
            "columns in data.text_fields, or use tune.kind=map, which reads vectors"
        )
    return texts


class TextPairBatches(PairBatches):
    """Batches of pairs of texts. Items of equal text are no negatives of each other."""

    def __init__(
        self, pairs: Pairs, texts: Sequence[str], states: TokenStates, batch_size: int, steps: int, seed: int
    ) -> None:
        super().__init__(pairs, _kinds(texts), batch_size, steps, seed)
        self._states = states

    def inputs(self, items: Ints, index: int) -> States:
        return self._states.of(items)


class SegmentPairBatches(PairBatches):
    """Batches of pairs of items as a language model reads them. What is said of an item sees the item at the start, and
    less with every step: not at all from the step `anneal` of all on.

    said: see `questions_of`. anneal: a share of the steps.
    """

    def __init__(
        self, pairs: Pairs, texts: Sequence[str], said: Sequence[str] | None, encoder: CausalEncoder,
        config: TuneConfig, seed: int,
    ) -> None:  # fmt: skip
        super().__init__(pairs, _kinds(texts), config.batch_size, config.steps, seed)
        self._texts, self._said, self._encoder = texts, said, encoder
        self._steps_seen = config.anneal * config.steps

    def inputs(self, items: Ints, index: int) -> Segments:
        said = None if self._said is None else [self._said[item] for item in items]
        seen = max(0.0, 1 - index / self._steps_seen) if self._steps_seen else 0.0
        return self._encoder.segments([self._texts[item] for item in items], said, seen)


def _kinds(texts: Sequence[str]) -> Ints:
    """A number for every item, `[N]`, the same for equal texts."""
    return np.unique(np.array(texts, dtype=np.object_), return_inverse=True)[1].astype(np.int64)

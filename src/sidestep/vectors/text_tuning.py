"""Vectors of texts by an encoder whose upper layers are tuned on pairs that users make."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Ints
from sidestep.encoders.text_model import States, TextModel, TokenStates, vectors_of, with_weights
from sidestep.errors import DataError
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.pair_batches import PairBatches
from sidestep.vectors.pairs import Pairs
from sidestep.vectors.tuning import TuneConfig


class TextTuner(nn.Module):
    """A text model with upper layers of its own, the only weights that it trains and keeps. Reads an item's text, so
    that new items need no other vector.
    """

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
        """Unit vectors of a catalogue's texts, `[N, D]`; empty ones get the mean direction.

        states: of these texts, where they are known already.
        """
        texts = texts_of(catalog)
        known = self.text_model.states(texts) if states is None else states
        return ItemVectors(vectors_of(self.upper, known, texts))


def texts_of(catalog: Catalog) -> list[str]:
    """Every item's text.

    Raises:
        DataError: no item has any.
    """
    texts = catalog.texts or []
    if not any(text.strip() for text in texts):
        raise DataError(
            f"tune.kind = 'encoder' reads texts, and none of {len(catalog):,} items has any; name their columns in "
            "data.text_fields, or use tune.kind=map, which reads vectors"
        )
    return texts


class TextPairBatches(PairBatches):
    """Batches of pairs of texts. Items of equal text are no negatives of each other."""

    def __init__(
        self, pairs: Pairs, texts: Sequence[str], states: TokenStates, batch_size: int, steps: int, seed: int
    ) -> None:
        numbers = np.unique(np.array(texts, dtype=np.object_), return_inverse=True)[1].astype(np.int64)
        super().__init__(pairs, numbers, batch_size, steps, seed)
        self._states = states

    def inputs(self, items: Ints) -> States:
        return self._states.of(items)

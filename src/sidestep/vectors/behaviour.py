"""What users do with items, as vectors beside those of the items' content, for the tokenizer."""

from typing import Literal

import numpy as np
from pydantic import Field

from sidestep.config import Section
from sidestep.encoders.directions import Matrix, unit_rows
from sidestep.vectors.item_vectors import ItemVectors


class BehaviourConfig(Section):
    """Vectors from training interactions that the tokenizer reads beside the items' own, so that items which follow the
    same histories get semantic IDs that are alike.

    source: "none"; "sasrec", the item embeddings of a SASRec with full cross-entropy that is trained for this alone,
        on the training interactions, with a seed of its own and without any validation; or "spectral", the leading
        eigenvectors of the co-occurrence graph, in seconds.
    weight: length of these vectors, where the items' own have length 1.
    width: of these vectors. epochs: of the SASRec.
    """

    source: Literal["none", "sasrec", "spectral"] = "none"
    weight: float = Field(1.0, gt=0)
    width: int = Field(64, ge=1)
    epochs: int = Field(20, ge=1)


def joined(vectors: ItemVectors, behaviour: Matrix | None, config: BehaviourConfig) -> ItemVectors:
    """The vectors of some items with their behaviour behind them, `[n, D + d]`: unit rows, then rows of length
    `weight`; zeros for an item without behaviour. The graph then brings whole rows to unit length.

    behaviour: `[n, d]`, or None for items that nobody has interacted with, such as appended ones.
    """
    if config.source == "none":
        return vectors
    if behaviour is None:
        behaviour = np.zeros((len(vectors), config.width), dtype=np.float32)
    assert len(behaviour) == len(vectors)
    return ItemVectors(np.concatenate([unit_rows(vectors.values), config.weight * unit_rows(behaviour)], axis=1))

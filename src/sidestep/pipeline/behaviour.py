"""Item vectors from training interactions, for the tokenizer."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sidestep.data.sequences import TrainingSequences
from sidestep.data.splits import TrainingInteractions
from sidestep.objectives import scoring
from sidestep.pipeline.course import HistoryBatches
from sidestep.scorers.sasrec import SASRec
from sidestep.scorers.sequential import BaselineConfig
from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.behaviour import BehaviourConfig
from sidestep.vectors.graph import Graph, spectral_vectors
from sidestep.vectors.item_vectors import ItemVectors

SEED_APART = 2**19
"""Added to the run's seed, so that no model of the run starts as this one."""
MOST_TARGETS, LEAST_TARGETS, FEWEST_STEPS = 1024, 16, 64
"""Targets of a step, and the steps that an epoch should at least have: a small log takes smaller steps, since a few
dozen would leave the vectors as they were drawn.
"""


def learnt_vectors(
    train: TrainingInteractions, num_items: int, config: BehaviourConfig, seed: int, folder: Path
) -> ItemVectors:
    """The item embeddings `[num_items, width]` of a SASRec that is trained on `train` alone for `config.epochs`, as
    `sasrec-ce` is, but with the last weights; zeros for items that `train` does not hold.

    Neither validation nor test can reach them: no other log comes in, and no epoch is chosen. folder: for checkpoints.
    """
    seed = (seed + SEED_APART) % 2**20
    popularity = train.popularity(num_items)
    torch.manual_seed(seed)
    model = SASRec(popularity, BaselineConfig(loss="ce", width=config.width))
    sequences = TrainingSequences(train, model.reads, model.every_position)
    settings = training_settings(sequences.num_targets, config.epochs)
    data, objective = (
        HistoryBatches(sequences, settings.batch_size, seed),
        partial(scoring.next_item, baseline=model.config),
    )
    fit(model, objective, data, settings, seed=seed, folder=folder, title="behaviour")
    values = model.embeddings().detach().cpu().numpy().copy()
    values[popularity == 0] = 0
    return ItemVectors(values)


def counted_vectors(edges: Graph, config: BehaviourConfig, seed: int) -> ItemVectors:
    """The leading eigenvectors of the co-occurrence graph, `[N, config.width]`; zeros for items without a neighbour."""
    values = spectral_vectors(edges, config.width, seed).values
    values[np.diff(edges.indptr) == 0] = 0
    missing = config.width - values.shape[1]  # fewer items than dimensions
    return ItemVectors(np.pad(values, ((0, 0), (0, max(missing, 0)))))


def training_settings(num_targets: int, epochs: int) -> TrainConfig:
    """Those of `sasrec-ce` with full cross-entropy, in steps that suit a log of so many targets."""
    size = min(max(num_targets // FEWEST_STEPS, LEAST_TARGETS), MOST_TARGETS)
    warmup = min(200, epochs * math.ceil(num_targets / size) // 10)
    return TrainConfig(
        epochs=epochs, batch_size=size, lr=2e-3, warmup_steps=warmup, weight_decay=0.0, clip=0.0, patience=0
    )

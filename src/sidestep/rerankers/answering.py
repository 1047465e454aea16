"""Trained second looks as `recommenders.reranked.Reranker`s."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.recommenders.reranked import Reordering
from sidestep.rerankers.evidence import Evidence
from sidestep.rerankers.listwise import Listwise
from sidestep.rerankers.reasoner import Reasoner
from sidestep.rerankers.scenes import scenes_of


class ListwiseReranker:
    """Sorts candidates by `Listwise`, equal ones as the pre-ranker has them."""

    def __init__(self, evidence: Evidence, model: Listwise) -> None:
        self._evidence, self._model = evidence, model

    @torch.no_grad()
    def __call__(self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"]) -> Reordering:
        device = self._evidence.counts.device
        features = self._evidence(batch.to(device), items.to(device), scores.to(device))
        found = self._model(features).masked_fill(items.to(device) < 0, -torch.inf)
        return Reordering(found.sort(dim=1, descending=True, stable=True).indices.cpu())


class ReasoningReranker:
    """Writes the likeliest trace and takes its order. A list of another length than those it was trained on is left as
    it is.
    """

    def __init__(self, evidence: Evidence, model: Reasoner) -> None:
        self._evidence, self._model = evidence, model

    @torch.no_grad()
    def __call__(self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"]) -> Reordering:
        device, language = self._evidence.counts.device, self._model.language
        places = torch.arange(items.shape[1]).repeat(len(items), 1)
        if items.shape[1] != language.candidates:
            return Reordering(places)
        batch, items, scores = batch.to(device), items.to(device), scores.to(device)
        scenes = scenes_of(self._evidence, batch, items, scores, self._model.config.history)
        texts, counts = self._model.written(scenes).tolist(), scenes.real.sum(1).tolist()
        for row, (text, count) in enumerate(zip(texts, counts, strict=True)):
            if (trace := language.read(text, count)) is not None:
                places[row, :count] = torch.tensor(trace.order, dtype=torch.int64)
        return Reordering(places)

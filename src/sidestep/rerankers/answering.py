"""Trained second looks as `recommenders.reranked.Reranker`s."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.labels import ItemLabels
from sidestep.data.sequences import SequenceBatch
from sidestep.recommenders.reranked import Reordering
from sidestep.rerankers import words
from sidestep.rerankers.evidence import MOST_HISTORY, Evidence
from sidestep.rerankers.listwise import Listwise
from sidestep.rerankers.reasoner import Reasoner
from sidestep.rerankers.scenes import scenes_of


class ListwiseReranker:
    """Sorts candidates by `Listwise`, equal ones as the pre-ranker has them. Its reasons are the heaviest evidence of
    the weighted sum, without what a hidden layer adds.
    """

    def __init__(self, evidence: Evidence, model: Listwise, labels: ItemLabels) -> None:
        self._evidence, self._model, self._names = evidence, model, words.Names(labels)

    @torch.no_grad()
    def __call__(
        self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"], explain: bool = False
    ) -> Reordering:
        device, model = self._evidence.counts.device, self._model
        batch, items, scores = batch.to(device), items.to(device), scores.to(device)
        features = self._evidence(batch, items, scores)
        found = model(features).masked_fill(items < 0, -torch.inf)
        order = found.sort(dim=1, descending=True, stable=True).indices
        if not explain:
            return Reordering(order.cpu())
        reasons, standard = [], model.standard(features)
        for row, scene in enumerate(scenes_of(self._evidence, batch, items, features, MOST_HISTORY).scenes()):
            of_row = words.of_weights(scene, standard[row], model.weight, self._names)
            reasons.append(words.moved(of_row, [place for place in order[row].tolist() if place < len(scene)]))
        return Reordering(order.cpu(), reasons)


class ReasoningReranker:
    """Writes the likeliest trace and takes its order. A list of another length than those it was trained on is left as
    it is.
    """

    def __init__(self, evidence: Evidence, model: Reasoner, labels: ItemLabels) -> None:
        self._evidence, self._model, self._names = evidence, model, words.Names(labels)

    @torch.no_grad()
    def __call__(
        self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"], explain: bool = False
    ) -> Reordering:
        device, language = self._evidence.counts.device, self._model.language
        places = torch.arange(items.shape[1]).repeat(len(items), 1)
        if items.shape[1] != language.candidates:
            return Reordering(places)
        batch, items, scores = batch.to(device), items.to(device), scores.to(device)
        features = self._evidence(batch, items, scores)
        scenes = scenes_of(self._evidence, batch, items, features, self._model.config.history)
        texts, counts = self._model.written(scenes).tolist(), scenes.real.sum(1).tolist()
        traces = [language.read(text, count) for text, count in zip(texts, counts, strict=True)]
        for row, trace in enumerate(traces):
            if trace is not None:
                places[row, : len(trace.order)] = torch.tensor(trace.order, dtype=torch.int64)
        if not explain:
            return Reordering(places)
        reasons = [
            words.moved(words.of_trace(trace, scene, self._names), places[row, : len(scene)].tolist())
            for row, (trace, scene) in enumerate(zip(traces, scenes.scenes(), strict=True))
        ]
        return Reordering(places, reasons)

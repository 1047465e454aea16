"""The contract of scoring given items: popularity, neighbours, sequential scorers, generators and their fusion."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from fused_world import make_fused
from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch, question
from sidestep.data.splits import TrainingInteractions
from sidestep.recommenders import itemwise
from sidestep.recommenders.fused import FusedRecommender
from sidestep.recommenders.generative import GenerativeRecommender, Precision
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.scorers.bert4rec import BERT4Rec
from sidestep.scorers.caser import Caser
from sidestep.scorers.content import ContentSASRec
from sidestep.scorers.counts import OwnCounts
from sidestep.scorers.gru4rec import GRU4Rec
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig
from sidestep.scorers.popularity import Popularity
from sidestep.scorers.rearec import ReaRec
from sidestep.scorers.sasrec import SASRec
from sidestep.scorers.sequential import BaselineConfig
from sidestep.scorers.towers import TwoTowers
from sidestep.search.scoring import CandidateScorer, ItemScores
from small_world import THINKING, make, make_sids

N = 40
POPULARITY = np.arange(N)
CONFIG = BaselineConfig(width=16, num_layers=1, inner=16, num_heads=2, max_history=6)
HISTORIES = [np.array(history, dtype=np.int64) for history in ([1, 2, 3], [], [5, 9], [30, 4, 4, 17, 22, 8])]


def log() -> TrainingInteractions:
    items = np.random.default_rng(0).integers(0, N, 200)
    return TrainingInteractions([str(user) for user in range(20)], np.arange(0, 201, 10), items)


def itemwise_of(build: Callable[[], Any]) -> ItemwiseRecommender:
    torch.manual_seed(0)
    model = build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ItemwiseRecommender(model.eval().score, N, Reads(6))


def generative(model: Any, precision: Precision = "fp32") -> GenerativeRecommender:
    return GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), N, precision)


def fused(balance: float, neighbours: int = 0) -> FusedRecommender:
    model = make_fused(neighbours=neighbours)
    if neighbours:
        assert model.neighbours is not None
        model.neighbours.learn(log())
        model.neighbour_weight.fill_(0.7)
    return FusedRecommender(generative(model), model.score, balance, N, 6)


VECTORS = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
RECOMMENDERS: dict[str, Callable[[], Any]] = {
    "popularity": lambda: ItemwiseRecommender(Popularity.fit(log(), N), N),
    "own-counts": lambda: ItemwiseRecommender(OwnCounts.fit(log(), N), N),
    "item-knn": lambda: ItemwiseRecommender(ItemKNN.fit(log(), N, ItemKNNConfig(neighbours=5)), N),
    "item-knn-recent": lambda: ItemwiseRecommender(ItemKNN.fit(log(), N, ItemKNNConfig(neighbours=5, half_life=1)), N),
    **{
        model.__name__: partial(itemwise_of, partial(model, POPULARITY, CONFIG))
        for model in (SASRec, GRU4Rec, Caser, BERT4Rec)
    },
    "ReaRec ERL": partial(itemwise_of, partial(ReaRec, POPULARITY, CONFIG, ensemble=True)),
    "ReaRec PRL": partial(itemwise_of, partial(ReaRec, POPULARITY, CONFIG, ensemble=False)),
    "ContentSASRec": partial(itemwise_of, partial(ContentSASRec, POPULARITY, CONFIG, VECTORS)),
    "TwoTowers": partial(itemwise_of, partial(TwoTowers, POPULARITY, CONFIG, VECTORS)),
    **{kind: partial(lambda kind: generative(make(kind)), kind) for kind in ("tiger", "silent", *THINKING)},
    "tiger in the trie": lambda: generative(make("tiger", softmax="trie")),
    "s2gr in the trie": lambda: generative(make("s2gr", softmax="trie")),
    "fused": partial(fused, 0.4),
    "fused with neighbours": partial(fused, 0.4, 5),
}


@pytest.fixture(params=RECOMMENDERS)
def recommender(request: pytest.FixtureRequest) -> Any:
    return RECOMMENDERS[request.param]()


def batch() -> SequenceBatch:
    return question(HISTORIES, Reads(6))


def test_contract_candidates_are_scored_as_they_are_ranked(recommender: Any) -> None:
    assert isinstance(recommender.score, CandidateScorer)
    ranked = recommender.rank(batch(), N)
    scores = recommender.score(batch(), ranked.items)
    torch.testing.assert_close(scores, ranked.scores, atol=1e-4, rtol=1e-5)
    everything = recommender.score(batch(), torch.arange(N).expand(4, -1))
    torch.testing.assert_close(everything.gather(1, ranked.items), scores, atol=1e-4, rtol=1e-5)


def test_contract_permuted_candidates_have_permuted_scores(recommender: Any) -> None:
    candidates = torch.arange(N).expand(4, -1)
    order = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(row)) for row in range(4)])
    scores = recommender.score(batch(), candidates)
    permuted = recommender.score(batch(), candidates.gather(1, order))
    torch.testing.assert_close(permuted, scores.gather(1, order), atol=1e-5, rtol=0)


def test_contract_padding_is_minus_infinity_and_changes_no_other_score(recommender: Any) -> None:
    candidates = torch.tensor([[3, NO_ITEM, 7], [NO_ITEM, 2, 4], [NO_ITEM] * 3, [9, 8, NO_ITEM]])
    scores = recommender.score(batch(), candidates)
    assert scores.shape == (4, 3)
    assert torch.equal(scores == -torch.inf, candidates == NO_ITEM)
    everything = recommender.score(batch(), torch.arange(N).expand(4, -1))
    real = candidates >= 0
    expected = everything.gather(1, candidates.clamp(min=0))
    torch.testing.assert_close(scores[real], expected[real], atol=1e-5, rtol=0)


def test_contract_rows_are_scored_as_they_are_alone(recommender: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = torch.tensor([[3, 1], [0, 2], [5, 5], [9, 8]])
    together = recommender.score(batch(), candidates)
    for row, history in enumerate(HISTORIES):
        alone = recommender.score(question([history], Reads(6)), candidates[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)
    monkeypatch.setattr(itemwise, "SCORES_AT_ONCE", N)  # one history at a time
    torch.testing.assert_close(recommender.score(batch(), candidates), together, atol=1e-5, rtol=0)


def test_contract_an_empty_history_scores_by_popularity(recommender: Any) -> None:
    scores = recommender.score(question([HISTORIES[1]], Reads(6)), torch.arange(N)[None])[0]
    ranked = recommender.rank(question([HISTORIES[1]], Reads(6)), N).items[0]
    assert (scores[ranked].diff() <= 0).all()


def test_an_item_scorer_is_a_candidate_scorer_by_a_gather() -> None:
    scorer = ItemScores(lambda batch: torch.arange(5.0).expand(len(batch), -1))
    assert isinstance(scorer, CandidateScorer)
    assert scorer(question(HISTORIES[:2], Reads(6)), torch.tensor([[4, 0], [NO_ITEM, 1]])).tolist() == [
        [4, 0],
        [-torch.inf, 1],
    ]

"""A planted shop small enough to be re-ranked in a second, with the exact law of what comes next."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from sidestep.data.labels import ItemLabels
from sidestep.data.sources.planted import PlantedConfig, PlantedWorld
from sidestep.data.splits import Split, SplitConfig, TrainingInteractions, split
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.rerankers.cases import CandidateCases, cross_fitted, folds_of, proposed
from sidestep.rerankers.evidence import Evidence, Floats
from sidestep.rerankers.language import PAD, Grammar, Language
from sidestep.rerankers.learning import Featured, crossed_features
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig

CANDIDATES, FOLDS, SEED = 10, 2, 0


@dataclass(frozen=True)
class Shop:
    """world: its law. crossed: hits of cross-fitted cases. test: hits of the test cases."""

    world: PlantedWorld
    parts: Split
    crossed: CandidateCases
    test: CandidateCases

    @property
    def num_items(self) -> int:
        return len(self.world.catalog)

    def pre_ranker(self, part: TrainingInteractions, fold: int = 0) -> ItemwiseRecommender:
        return _pre_ranker(part, self.num_items)

    def evidence(self) -> Evidence:
        vectors = np.random.default_rng(1).standard_normal((self.num_items, 8)).astype(np.float32)
        popularity = self.parts.train.popularity(self.num_items)
        return Evidence(popularity, vectors, ItemLabels.of(self.world.catalog))

    def learnt(self) -> Featured:
        """The evidence of the cross-fitted hits."""
        train = self.parts.train
        return crossed_features(self.crossed, train, folds_of(train.num_users, FOLDS, SEED), self.evidence)

    def expected_ndcg5(self, scores: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> float:
        """NDCG@5 that the law expects of the test hits in the order of these scores, given that the next item is one of
        the ten.
        """
        gains = 1 / np.log2(np.arange(2, 7))
        orders = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        return float((np.take_along_axis(self.laws, orders, axis=1) @ gains).mean())

    @cached_property
    def laws(self) -> Floats:
        """The exact probabilities of each test hit's candidates, given that the next item is one of them."""
        cases = self.test.cases
        probs = [self.world.next_item_probs(cases.history(case))[items] for case, items in enumerate(self.test.items)]
        return np.stack(probs) / np.sum(probs, axis=1, keepdims=True)


def _pre_ranker(part: TrainingInteractions, num_items: int) -> ItemwiseRecommender:
    return ItemwiseRecommender(ItemKNN.fit(part, num_items, ItemKNNConfig(half_life=1)), num_items)


@lru_cache
def shop(users: int = 800) -> Shop:
    config = PlantedConfig(
        departments=2, aisles=2, shelves=4, brands=3, variants=2, users=users, follow=0.6, wander=0.2
    )
    world = PlantedWorld(config, SEED)
    parts, count = split(world.interactions, SplitConfig()), len(world.catalog)

    def fit(part: TrainingInteractions, fold: int) -> ItemwiseRecommender:
        return _pre_ranker(part, count)

    crossed = cross_fitted(parts.train, fit, folds=FOLDS, candidates=CANDIDATES, seed=SEED)
    test = proposed(_pre_ranker(parts.train, count), parts.test, CANDIDATES)
    return Shop(world, parts, crossed.hits(), test.hits())


def every_text(language: Language, count: int) -> list[list[int]]:
    """All texts about so many candidates that the grammar allows."""
    texts: list[list[int]] = []
    unfinished: list[list[int]] = [[]]
    while unfinished:
        real = torch.zeros(len(unfinished), language.candidates, dtype=torch.bool)
        real[:, :count] = True
        grammar = Grammar(language, real)
        for step in range(len(unfinished[0])):
            grammar.advance(torch.tensor([text[step] for text in unfinished]))
        grown = [
            [*text, word]
            for text, row in zip(unfinished, grammar.allowed(), strict=True)
            for word in row.nonzero()[:, 0].tolist()
        ]
        texts += [text[:-1] for text in grown if text[-1] == PAD]
        unfinished = [text for text in grown if text[-1] != PAD]
    return texts

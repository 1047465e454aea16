"""The list-wise control: no weights change nothing, and on planted data it comes near the exact best order."""

import pytest
import torch

from rerank_world import Shop, shop
from sidestep.rerankers.evidence import FEATURES
from sidestep.rerankers.learning import Featured, HitBatches, features_of, taken_first
from sidestep.rerankers.listwise import Listwise
from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig

LAW = ("follows", "brand_previous")
"""The features that the planted law is made of."""


def test_the_score_is_the_weighted_sum_of_standard_features_and_constant_ones_are_left_out() -> None:
    model = Listwise(3)
    model.measure(torch.tensor([[1.0, 5.0, 2.0], [3.0, 5.0, 6.0]]))
    with torch.no_grad():
        model.weight.copy_(torch.tensor([2.0, 9.0, 1.0]))
    assert model(torch.tensor([[[3.0, 7.0, 4.0], [2.0, 0.0, 8.0]]])).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("hidden", [0, 4])
def test_without_training_all_scores_are_0(hidden: int) -> None:
    assert (Listwise(3, hidden)(torch.randn(2, 5, 3)) == 0).all()


def test_ranks_are_places_in_falling_order_and_ties_stand_as_they_stood() -> None:
    model = Listwise(1)
    with torch.no_grad():
        model.weight.fill_(1.0)
    features = torch.tensor([[[1.0], [3.0], [2.0]], [[1.0], [1.0], [1.0]], [[0.0], [1.0], [9.0]]])
    real = torch.tensor([[True] * 3, [True] * 3, [True, True, False]])
    assert Featured(features, real, torch.tensor([2, 1, 0])).ranks(model).tolist() == [2, 2, 2]


def trained(world: Shop, names: tuple[str, ...]) -> Listwise:
    """names: of the features that are read."""
    torch.manual_seed(0)
    model, learnt = Listwise(len(FEATURES)), world.learnt()
    model.measure(learnt.features[learnt.real])
    read = torch.tensor([name in names for name in FEATURES])
    model.deviation.copy_(torch.where(read, model.deviation, torch.inf))
    config = TrainConfig(epochs=10, batch_size=256, lr=2e-2, weight_decay=1e-3, warmup_steps=0, patience=0)
    fit(model, taken_first, HitBatches(learnt, 256, 0), config, seed=0)
    return model


def share_of_best(world: Shop, model: Listwise) -> float:
    found = features_of(world.test, world.evidence().learn(world.parts.train))
    with torch.no_grad():
        scores = found.scores(model).numpy()
    return world.expected_ndcg5(scores) / world.expected_ndcg5(world.laws)


def one_rule(world: Shop, name: str) -> float:
    """The share of the best order's NDCG@5 that one feature for everybody reaches."""
    found = features_of(world.test, world.evidence().learn(world.parts.train))
    return world.expected_ndcg5(found.features[..., FEATURES.index(name)].numpy()) / world.expected_ndcg5(world.laws)


def test_with_the_laws_two_features_it_reaches_98_percent_of_the_best_order_and_one_rule_does_not() -> None:
    world = shop()
    assert share_of_best(world, trained(world, LAW)) >= 0.98
    assert one_rule(world, "leaf_last") < 0.6
    assert one_rule(world, "rank") < 0.6
    assert one_rule(world, "brand_previous") < 0.9


@pytest.mark.slow
def test_with_all_features_and_more_shoppers_it_still_reaches_98_percent() -> None:
    world = shop(4_000)
    assert share_of_best(world, trained(world, FEATURES)) >= 0.98

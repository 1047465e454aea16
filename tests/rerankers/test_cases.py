"""Cross-fitted cases: nobody's candidates come from a pre-ranker that has seen them."""

from pathlib import Path

import numpy as np
import pytest

from rerank_world import CANDIDATES, FOLDS, SEED, shop
from sidestep.data.splits import TrainingInteractions
from sidestep.recommenders.recommender import Recommender
from sidestep.rerankers.cases import CandidateCases, TrainingCases, cross_fitted, folds_of, proposed


def test_no_fold_has_seen_its_users_and_every_target_but_the_first_is_a_case_once() -> None:
    world = shop()
    train, seen = world.parts.train, {}

    def fit(part: TrainingInteractions, fold: int) -> Recommender:
        seen[fold] = set(np.flatnonzero(part.lengths))
        return world.pre_ranker(part)

    cases = cross_fitted(train, fit, folds=3, candidates=4, seed=1)
    for fold in range(3):
        users = set(cases.cases.users[cases.folds == fold])
        assert users
        assert not users & seen[fold]
        assert users | seen[fold] == set(range(train.num_users))
    assert len(cases) == len(train) - train.num_users
    assert len(set(cases.cases.rows)) == len(cases)


def test_candidates_are_those_of_a_pre_ranker_fitted_on_the_other_folds_alone() -> None:
    world = shop()
    train = world.parts.train
    crossed = cross_fitted(train, world.pre_ranker, folds=FOLDS, candidates=CANDIDATES, seed=SEED, most=300)
    fold_of = folds_of(train.num_users, FOLDS, SEED)
    chosen = np.flatnonzero(crossed.folds == 1)[:50]
    others = train.take((fold_of != 1)[train.users])
    assert isinstance(others, TrainingInteractions)
    alone = proposed(world.pre_ranker(others), crossed.cases.take(chosen), CANDIDATES)
    assert (alone.items == crossed.items[chosen]).all()
    assert (alone.scores == crossed.scores[chosen]).all()


def test_cross_fitted_cases_have_the_hits_of_unseen_users_and_in_sample_ones_have_not() -> None:
    world = shop()
    train = world.parts.train
    crossed = cross_fitted(train, world.pre_ranker, folds=FOLDS, candidates=CANDIDATES, seed=SEED, most=1000)
    in_sample = proposed(world.pre_ranker(train), crossed.cases, CANDIDATES)
    unseen = proposed(world.pre_ranker(train), world.parts.valid, CANDIDATES)
    crossed_share, seen_share, share = (float((cases.ranks > 0).mean()) for cases in (crossed, in_sample, unseen))
    assert abs(crossed_share - share) < 0.1
    assert seen_share > crossed_share + 0.05  # of the same questions


def test_a_sample_of_cases_is_drawn_once_and_hits_are_those_with_the_answer(tmp_path: Path) -> None:
    world = shop()
    few = cross_fitted(world.parts.train, world.pre_ranker, folds=FOLDS, candidates=3, seed=SEED, most=60)
    again = cross_fitted(world.parts.train, world.pre_ranker, folds=FOLDS, candidates=3, seed=SEED, most=60)
    assert len(few) == 60
    assert (few.cases.rows == again.cases.rows).all()
    hits = few.hits()
    places = hits.ranks - 1
    assert (hits.items[np.arange(len(hits)), places] == hits.cases.targets).all()
    assert len(hits) == sum(target in row for target, row in zip(few.cases.targets, few.items, strict=True))
    TrainingCases(few, hits).save(tmp_path / "cases")
    back = TrainingCases.load(tmp_path / "cases", world.parts.train, world.parts.train)
    for mine, theirs in ((few, back.crossed), (hits, back.valid)):
        assert same(mine, theirs)


def same(one: CandidateCases, other: CandidateCases) -> bool:
    pairs = [(one.items, other.items), (one.scores, other.scores), (one.folds, other.folds)]
    pairs += [(one.cases.users, other.cases.users), (one.cases.rows, other.cases.rows)]
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_of_equal_size(folds: int) -> None:
    sizes = np.bincount(folds_of(103, folds, 7))
    assert sizes.sum() == 103
    assert sizes.max() - sizes.min() <= 1

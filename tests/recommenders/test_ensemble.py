"""Several generators with IDs of their own: brute force, one member that is itself, and what a recommender keeps to."""

import numpy as np
import torch

from sidestep.data.reads import Reads
from sidestep.recommenders.candidates import best, distinct
from sidestep.recommenders.ensemble import EnsembleRecommender
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter
from small_world import make, make_batch, make_sids

NUM_ITEMS = 40
POPULARITY = np.arange(NUM_ITEMS) // 2


def member(seed: int, kind: str = "s2gr", num_beams: int = NUM_ITEMS) -> GenerativeRecommender:
    sids = make_sids(seed=seed)
    model = make(kind, sids)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return GenerativeRecommender(model, sids, POPULARITY, Reads(6), num_beams)


def test_with_all_items_as_candidates_the_ranking_is_the_mean_of_brute_force() -> None:
    members, batch = [member(0), member(1, "tiger, trie"), member(2, "tiger")], make_batch()
    everything = torch.arange(NUM_ITEMS).expand(4, -1).contiguous()
    scores = sum(one.model.path_log_probs(batch, everything).sum(2) for one in members) / 3
    expected = scores.sort(dim=1, descending=True, stable=True)
    found = EnsembleRecommender(members, NUM_ITEMS).rank(batch, NUM_ITEMS)
    torch.testing.assert_close(found.scores, expected.values, atol=1e-5, rtol=0)
    assert torch.equal(found.items, expected.indices)


def test_what_one_member_alone_proposes_is_scored_by_all() -> None:
    members, batch = [member(0), member(1)], make_batch()
    proposed = [one.rank(batch, 3).items for one in members]
    assert not torch.equal(*proposed)
    few = EnsembleRecommender(members, 3).rank(batch, 3)
    everything = torch.arange(NUM_ITEMS).expand(4, -1).contiguous()
    exact = EnsembleRecommender(members, NUM_ITEMS).score(batch, everything)
    torch.testing.assert_close(few.scores, exact.gather(1, few.items), atol=1e-5, rtol=0)
    either = [set(ours) | set(theirs) for ours, theirs in zip(*(table.tolist() for table in proposed), strict=True)]
    for row, pool in enumerate(either):
        assert exact[row, few.items[row, 0]] == max(exact[row, item] for item in pool)


def test_equal_members_are_one_of_them() -> None:
    batch = make_batch()
    one = member(0).rank(batch, 12, explain=True)
    several = EnsembleRecommender([member(0), member(0)], 20).rank(batch, 12, explain=True)
    torch.testing.assert_close(several.scores, one.scores, atol=1e-5, rtol=0)
    assert several.paths is not None
    assert one.paths is not None
    codes = [[[step.code for step in path] for path in row] for row in several.paths]
    assert codes == [[make_sids().codes[item].tolist() for item in row] for row in several.items.tolist()]


def test_barred_items_stay_out_and_k_items_come_back_while_there_are_k() -> None:
    ensemble = EnsembleRecommender([member(0, num_beams=2), member(1, num_beams=2)], 2)
    allowed = torch.arange(NUM_ITEMS) % 4 == 1
    found = ensemble.rank(make_batch(), 12, ItemFilter(allowed=allowed))
    assert (found.items[:, :10] % 4 == 1).all()
    assert (found.items[:, 10:] < 0).all()
    assert ensemble.with_beams(7).num_beams == 7


def test_an_empty_history_is_answered_by_popularity() -> None:
    batch = make_batch()
    empty = batch.take(torch.tensor([1]))
    empty.lengths.zero_()
    found = EnsembleRecommender([member(0), member(1)], 10).rank(empty, 4)
    assert found.items.tolist() == [[38, 39, 36, 37]]
    assert found.scores.tolist() == [[19.0, 19.0, 18.0, 18.0]]


def test_an_item_counts_once_and_equal_ones_stand_by_number() -> None:
    items = distinct(torch.tensor([[5, 2, 5, -1, 2, 7]]))
    assert items.tolist() == [[5, 2, -1, -1, -1, 7]]
    scores = torch.tensor([[1.0, 1.0, -torch.inf, -torch.inf, -torch.inf, 3.0]])
    assert best(items, scores, 3)[0].tolist() == [[7, 2, 5]]

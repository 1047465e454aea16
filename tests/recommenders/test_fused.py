"""Two opinions fused: each alone at the ends of the scale, brute force between them, the contract of a recommender."""

import numpy as np
import pytest
import torch

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, question
from sidestep.evaluation.metrics import ndcg
from sidestep.generators.fused import Fused, FusionConfig
from sidestep.generators.thinking import ThinkingConfig
from sidestep.methods.balance import BALANCES, best_balance
from sidestep.recommenders import fused
from sidestep.recommenders.fused import FusedRecommender
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import ItemFilter, Recommender
from sidestep.scorers.sequential import BaselineConfig
from sidestep.scorers.towers import TwoTowers
from small_world import make_batch, make_sids, small

NUM_ITEMS = 40
POPULARITY = np.arange(NUM_ITEMS) // 2


def make_model() -> Fused:
    torch.manual_seed(0)
    config = BaselineConfig(width=8, num_layers=1, inner=16, max_history=6)
    scorer = TwoTowers(POPULARITY, config, torch.randn(NUM_ITEMS, 5))
    for tower in (scorer.numbers, scorer.content):
        torch.nn.init.normal_(tower.item_embedding.weight)
    return Fused(make_sids(), small(), ThinkingConfig(), scorer, FusionConfig(lead=True)).eval()


def searcher(model: Fused, num_beams: int = NUM_ITEMS) -> GenerativeRecommender:
    return GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), num_beams)


def recommender(model: Fused, balance: float, candidates: int = NUM_ITEMS) -> FusedRecommender:
    return FusedRecommender(searcher(model, candidates), model.scorer.score, balance, candidates, 6)


def test_at_the_ends_of_the_scale_one_half_speaks_alone() -> None:
    model, batch = make_model(), make_batch()
    by_items = ItemwiseRecommender(model.scorer.score, NUM_ITEMS).rank(batch, 15)
    alone = recommender(model, 1.0)
    assert torch.equal(alone.rank(batch, 15).items, by_items.items)
    assert torch.equal(alone.answer(batch, alone.opinions(batch, 15), 15).items, by_items.items)
    by_codes, ours = searcher(model).rank(batch, 15), recommender(model, 0.0).rank(batch, 15)
    torch.testing.assert_close(ours.scores, by_codes.scores, atol=1e-5, rtol=0)


def test_with_all_items_as_candidates_the_ranking_is_that_of_brute_force() -> None:
    model, batch = make_model(), make_batch()
    everything = torch.arange(NUM_ITEMS).expand(4, -1).contiguous()
    by_path = model.path_log_probs(batch, everything).sum(2)
    scores = 0.7 * by_path + 0.3 * model.scorer.score(batch).log_softmax(-1)
    expected = scores.sort(dim=1, descending=True)
    found = recommender(model, 0.3).rank(batch, NUM_ITEMS)
    torch.testing.assert_close(found.scores, expected.values, atol=1e-5, rtol=0)
    assert torch.equal(found.items, expected.indices)


def test_what_only_one_half_proposes_is_scored_by_both() -> None:
    model, batch = make_model(), make_batch()
    whole = recommender(model, 0.4).rank(batch, NUM_ITEMS)
    exact = [dict(zip(*row, strict=True)) for row in zip(whole.items.tolist(), whole.scores.tolist(), strict=True)]
    few = recommender(model, 0.4, candidates=3).rank(batch, 3)
    assert (few.items >= 0).all()
    for row, items in enumerate(few.items.tolist()):
        for item, score in zip(items, few.scores[row].tolist(), strict=True):
            assert score == pytest.approx(exact[row][item], abs=1e-5)


def test_rows_in_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make_model(), make_batch()
    whole = recommender(model, 0.5).rank(batch, 7)
    monkeypatch.setattr(fused, "ROWS_AT_ONCE", 1)
    parts = recommender(model, 0.5).rank(batch, 7)
    assert torch.equal(whole.items, parts.items)
    torch.testing.assert_close(whole.scores, parts.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("k", [1, 10, 40, 45])
def test_contract_k_distinct_permitted_items_come_back_whenever_they_exist(k: int) -> None:
    model, batch = make_model(), make_batch()
    allowed = torch.arange(NUM_ITEMS) % 3 > 0
    found = recommender(model, 0.5, candidates=5).rank(batch, k, ItemFilter(batch.history, allowed))
    assert found.items.shape == found.scores.shape == (4, k)
    for row, items in enumerate(found.items.tolist()):
        open_items = {item for item in range(NUM_ITEMS) if item % 3} - set(batch.history[row].tolist())
        real = [item for item in items if item >= 0]
        assert len(set(real)) == len(real) == min(k, len(open_items))
        assert set(real) <= open_items
        assert (found.scores[row, len(real) :] == -torch.inf).all()


def test_an_empty_history_is_answered_by_popularity() -> None:
    model = make_model()
    asked = question([np.array([], dtype=np.int64), np.array([3, 4])], Reads(6))
    found = recommender(model, 0.5).rank(asked, 5, ItemFilter(torch.tensor([[38, -1], [3, 4]])), explain=True)
    assert found.items[0].tolist() == [39, 36, 37, 34, 35]
    assert found.paths is not None
    assert found.paths[0] == []
    assert len(found.paths[1]) == 5


def test_an_explained_path_is_the_items_own_and_adds_up_to_its_score() -> None:
    model, batch = make_model(), make_batch()
    found = recommender(model, 0.0).rank(batch, 6, explain=True)
    assert found.paths is not None
    for row, paths in enumerate(found.paths):
        for rank, path in enumerate(paths):
            assert [step.code for step in path] == make_sids().codes[int(found.items[row, rank])].tolist()
            assert sum(step.log_prob for step in path) == pytest.approx(float(found.scores[row, rank]), abs=1e-4)
            assert all(0 < each.probability <= 1 for step in path for each in step.clusters)


def test_the_balance_is_the_best_on_validation_and_its_candidates_are_thought_of_once() -> None:
    model, batch = make_model(), make_batch()
    targets, asked = np.array([3, 17, 8, 30]), 0

    def ranks(of: Recommender) -> Ints:
        nonlocal asked
        asked += 1
        hit = of.rank(batch, 10).items.numpy() == targets[:, None]
        return np.where(hit.any(1), hit.argmax(1) + 1, 0)

    best, found = best_balance(recommender(model, 0.5), ranks)
    anew = [float(ndcg(ranks(recommender(model, balance)), 10).mean()) for balance in BALANCES]
    assert asked == 2 * len(BALANCES)
    assert found == pytest.approx(anew)
    assert found[BALANCES.index(best)] == max(found)


def test_each_half_is_shown_as_much_as_it_reads() -> None:
    model = make_model()
    model.config = model.config.model_copy(update={"max_history": 3})
    search = GenerativeRecommender(model, make_sids(), POPULARITY, Reads(3), NUM_ITEMS)
    histories = [np.arange(length, dtype=np.int64) for length in (1, 3, 5, 6)]
    for balance, alone in ((0.0, search), (1.0, ItemwiseRecommender(model.scorer.score, NUM_ITEMS))):
        both = FusedRecommender(search, model.scorer.score, balance, NUM_ITEMS, 6)
        assert both.reads == Reads(6)
        expected = alone.rank(question(histories, Reads(3 if balance == 0 else 6)), 10)
        found = both.rank(question(histories, Reads(6)), 10)
        if balance == 0:  # items of one ID stand in another order
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)
        else:
            assert torch.equal(found.items, expected.items)


def test_scores_are_the_same_with_and_without_an_explanation() -> None:
    both, batch = recommender(make_model(), 1.0), make_batch()
    plain, explained = both.rank(batch, 8), both.rank(batch, 8, explain=True)
    assert torch.equal(plain.items, explained.items)
    torch.testing.assert_close(plain.scores, explained.scores)


def opinions_by_item(of: FusedRecommender, batch: SequenceBatch) -> torch.Tensor:
    """The path score of every item, `[B, N]`, where all of them are candidates."""
    items, by_path, _ = of.opinions(batch, 5)
    scores = torch.full((len(batch), NUM_ITEMS + 1), -torch.inf)
    return scores.scatter(1, items.where(items >= 0, NUM_ITEMS), by_path)[:, :NUM_ITEMS]


def test_in_bf16_every_candidate_is_scored_by_the_rounded_weights_whoever_proposed_it() -> None:
    model, batch = make_model(), make_batch()
    everything = torch.arange(NUM_ITEMS).expand(4, -1)
    exact = model.path_log_probs(batch, everything).sum(2)
    search = GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), 1, "bf16")
    rounded = search.score(batch, everything)
    searched = GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), NUM_ITEMS, "bf16").rank(batch, NUM_ITEMS)
    of_search = torch.empty(4, NUM_ITEMS).scatter(1, searched.items, searched.scores)
    gap = (rounded - exact).abs().mean()
    assert gap > 0
    assert (rounded - of_search).abs().mean() < gap  # two roads through the same weights in the same precision
    both = FusedRecommender(search, model.scorer.score, 0.5, NUM_ITEMS, 6)
    # Few are proposed by the search of one beam, the others by the scorer alone: all have the rounded score.
    by_path = opinions_by_item(both, batch)
    assert by_path.isfinite().all()
    assert (by_path - rounded).abs().mean() < gap / 2


def test_in_bf16_no_path_score_comes_from_the_weights_before_rounding() -> None:
    model, batch = make_model(), make_batch()
    both = FusedRecommender(
        GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), 3, "bf16"),
        model.scorer.score,
        0.5,
        NUM_ITEMS,
        6,
    )
    before = both.opinions(batch, 5)
    with torch.no_grad():
        for layer in (*model.encoder.parameters(), *model.decoder.parameters(), *model.code_embedding.parameters()):
            layer.zero_()
    after = both.opinions(batch, 5)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(before, after, strict=True))


def test_an_explanation_has_the_precision_of_the_search() -> None:
    model, batch = make_model(), make_batch()
    search = GenerativeRecommender(model, make_sids(), POPULARITY, Reads(6), NUM_ITEMS, "bf16")
    found = search.rank(batch, 6, explain=True)
    assert found.paths is not None
    for ours, theirs in zip(search.explained(batch, found.items), found.paths, strict=True):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert [step.code for step in one] == [step.code for step in other]
            assert [step.log_prob for step in one] == pytest.approx([step.log_prob for step in other], abs=1e-2)
            assert [len(step.clusters) for step in one] == [len(step.clusters) for step in other] == [2, 2, 2]

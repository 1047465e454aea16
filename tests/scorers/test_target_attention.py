"""A search finds what it says, and a ranker behind one that finds everything is DIN."""

import numpy as np
import pytest
import torch

from sidestep.config import build
from sidestep.data.impressions import ImpressionBatch
from sidestep.data.reads import Reads
from sidestep.data.sequences import question
from sidestep.errors import ConfigError
from sidestep.objectives.ranking import taken
from sidestep.scorers.gsu import Nearest, Recent, SameGroup, found
from sidestep.scorers.target_attention import RankerConfig, SearchedRanker, TargetAttention
from sidestep.search.scoring import CandidateScorer

HISTORY = torch.tensor([[-1, 3, 0, 1, 2], [-1, -1, -1, -1, 4]])
TARGETS = torch.tensor([5, 5])
VECTORS = torch.tensor([[1.0, 0], [0, 1], [0.9, 0], [0, 1], [0.1, 0], [1, 0]])
CODES = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1], [1, 2], [0, 2]])


def model_of(**settings: object) -> TargetAttention:
    torch.manual_seed(0)
    return TargetAttention(6, CODES, RankerConfig.model_validate({"width": 8, "hidden": (8,), **settings}))


def test_searches_by_hand() -> None:
    assert found(Recent(), HISTORY, TARGETS, 2).tolist() == [[1, 2], [-1, 4]]
    assert found(Nearest(VECTORS), HISTORY, TARGETS, 3).tolist() == [[0, 1, 2], [-1, -1, 4]]  # 1 and 3 tie: the later
    groups = SameGroup(torch.tensor([0, 1, 0, 0, 1, 0]))
    assert found(groups, HISTORY, TARGETS, 2).tolist() == [[0, 2], [-1, -1]]
    nothing = SameGroup(torch.full((6,), -1))
    assert found(nothing, HISTORY, TARGETS, 2).tolist() == [[-1, -1], [-1, -1]]


def test_a_search_that_may_look_up_everything_is_attention_over_the_whole_history() -> None:
    model, whole = model_of(), HISTORY
    for search in (Recent(), Nearest(VECTORS), SameGroup(torch.zeros(6, dtype=torch.int64))):
        looked_up = found(search, HISTORY, TARGETS, 9)
        torch.testing.assert_close(model(looked_up, TARGETS), model(whole, TARGETS), rtol=0, atol=0)


def test_one_constant_code_searches_like_recency_and_tells_items_apart_no_better_than_ids() -> None:
    constant = SameGroup(torch.zeros(6, dtype=torch.int64))
    assert torch.equal(found(constant, HISTORY, TARGETS, 2), found(Recent(), HISTORY, TARGETS, 2))
    alone = TargetAttention(6, torch.zeros(6, 1, dtype=torch.int64), RankerConfig(ids=False, width=4))
    logits = alone(HISTORY[:1].expand(6, -1), torch.arange(6))
    torch.testing.assert_close(logits, logits[:1].expand(6))


def test_the_order_of_what_is_found_does_not_matter_and_nothing_found_is_no_error() -> None:
    model = model_of()
    logits = model(HISTORY, TARGETS)
    torch.testing.assert_close(model(HISTORY[:, [4, 2, 0, 1, 3]], TARGETS), logits)
    empty = torch.full((2, 3), -1)
    assert torch.equal(model(empty, TARGETS), model(torch.full((2, 1), -1), TARGETS))
    batch = ImpressionBatch(empty, TARGETS, torch.tensor([True, False]))
    losses = taken(model, batch)
    losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_loss_by_hand() -> None:
    model = model_of()
    batch = ImpressionBatch(HISTORY, TARGETS, torch.tensor([True, False]))
    p = model(HISTORY, TARGETS).sigmoid()
    torch.testing.assert_close(taken(model, batch)["total"], -(p[0].log() + (1 - p[1]).log()) / 2)


def test_codes_carry_what_is_learnt_to_items_that_were_never_shown() -> None:
    """Users take what has the first code of their history. Half of the items are never trained as targets."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.arange(40) % 4, torch.arange(40)], dim=1)
    history = torch.randint(0, 20, (1500, 1), generator=generator)
    targets = torch.randint(0, 20, (1500,), generator=generator)
    labels = codes[targets, 0] == codes[history[:, 0], 0]
    accuracy = {}
    for name, config in {"ids": RankerConfig(codes=False, width=8), "codes": RankerConfig(width=8)}.items():
        torch.manual_seed(1)
        model = TargetAttention(40, codes, config)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(80):
            optimiser.zero_grad()
            taken(model, ImpressionBatch(history, targets, labels))["total"].backward()
            optimiser.step()
        right = (model(history, targets + 20) > 0) == (codes[targets + 20, 0] == codes[history[:, 0], 0])
        accuracy[name] = float(right.float().mean())
    assert accuracy["codes"] > 0.95 > 0.85 > accuracy["ids"]


def test_it_scores_candidates_of_a_batch() -> None:
    model = model_of(looked_up=2)
    ranker = SearchedRanker(model, Recent())
    assert isinstance(ranker, CandidateScorer)
    batch = question([np.array([3, 0, 1]), np.array([4])], Reads(3))
    scores = ranker(batch, torch.tensor([[5, 2], [5, -1]]))
    assert scores[1, 1] == -torch.inf
    torch.testing.assert_close(scores[0], model(torch.tensor([[0, 1]] * 2), torch.tensor([5, 2])))
    torch.testing.assert_close(scores[1, :1], model(torch.tensor([[-1, 4]]), torch.tensor([5])))


def test_a_ranker_needs_something_to_know_an_item_by() -> None:
    with pytest.raises(ConfigError, match="nothing to know an item by"):
        build(RankerConfig, {"ids": False, "codes": False})

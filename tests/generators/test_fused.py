"""A generator with a scorer of items beside it: each learns from its own loss, and two roads lead to one score."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.data.splits import TrainingInteractions
from sidestep.generators.fused import Fused, FusionConfig
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.scorers.sequential import BaselineConfig
from sidestep.scorers.towers import TwoTowers
from small_world import make_batch, make_sids, small

NUM_ITEMS = 40
POPULARITY = np.arange(NUM_ITEMS)


def make_fused(
    lead: bool = True, neighbours: int = 0, half_life: float | None = 1.0, floor: float = 0.1, **changes: object
) -> Fused:
    torch.manual_seed(0)
    config = BaselineConfig(width=8, num_layers=1, inner=16, max_history=6)
    scorer = TwoTowers(POPULARITY, config, torch.randn(NUM_ITEMS, 5))
    for tower in (scorer.numbers, scorer.content):
        torch.nn.init.normal_(tower.item_embedding.weight)
    fusion = FusionConfig(lead=lead, neighbours=neighbours, half_life=half_life, floor=floor)
    return Fused(make_sids(), small(**changes), ThinkingConfig(), scorer, fusion).eval()


@pytest.mark.parametrize("history", ["items", "codes"])
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_the_path_of_a_given_item_is_as_probable_as_the_search_says(encoder: str, history: str) -> None:
    model, batch = make_fused(encoder=encoder, history=history), make_batch()
    found = GenerativeRecommender(model, make_sids(), POPULARITY, 6, num_beams=NUM_ITEMS).rank(batch, 12)
    said = model.path_log_probs(model.answer(batch, found.items)).sum(1).view(4, 12)
    torch.testing.assert_close(said, found.scores, atol=1e-5, rtol=0)


def test_places_without_an_item_are_left_out_of_an_answer() -> None:
    model, batch = make_fused(), make_batch()
    items = torch.tensor([[3, -1, 7], [-1, -1, -1], [1, 2, -1], [-1, -1, 9]])
    said = model.answer(batch, items)
    assert torch.equal(said.rows, torch.tensor([0, 0, 2, 2, 3]))
    alone = model.answer(batch.take(torch.tensor([3])), torch.tensor([[9]]))
    torch.testing.assert_close(model.path_log_probs(said)[4:], model.path_log_probs(alone))


def test_without_a_lead_the_codes_are_those_of_the_generator_alone() -> None:
    fused, batch = make_fused(lead=False), make_batch()
    alone = Thinking(make_sids(), small(), ThinkingConfig()).eval()
    own = {
        name: value
        for name, value in fused.state_dict().items()
        if not name.startswith(("scorer.", "balance", "scored_history"))
    }
    alone.load_state_dict(own)
    for ours, theirs in zip(fused(batch).codes.logits, alone(batch).logits, strict=True):
        assert torch.equal(ours, theirs)


def test_the_scorer_hears_nothing_of_the_codes_and_the_generator_nothing_of_the_items() -> None:
    model, batch = make_fused(), make_batch()
    sum(logits.square().sum() for logits in model(batch).codes.logits).backward()
    assert all(parameter.grad is None for parameter in model.scorer.parameters())
    assert model.lead is not None
    assert model.lead.weight.grad is not None
    model.zero_grad()
    sum(tower.states.square().sum() for tower in model(batch).items).backward()
    heard = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert heard == {"scorer"}


def test_no_target_sees_what_comes_after_it() -> None:
    model, batch = make_fused(), make_batch()
    changed = batch.history.clone()
    changed[0, 4:] = (changed[0, 4:] + 1) % NUM_ITEMS
    before, after = model(batch), model(replace(batch, history=changed))
    early = 4  # the first four targets of the first history see four items at most
    for ours, theirs in zip(before.codes.logits, after.codes.logits, strict=True):
        torch.testing.assert_close(ours[:early], theirs[:early])
        assert not torch.allclose(ours[early : early + 2], theirs[early : early + 2])
    for ours, theirs in zip(before.items, after.items, strict=True):
        torch.testing.assert_close(ours.states[:early], theirs.states[:early])


def test_an_item_is_its_free_part_and_its_projected_vector() -> None:
    scorer = make_fused().scorer.content
    assert scorer.vectors.mean(dim=0).abs().max() < 1e-6
    torch.testing.assert_close(scorer.vectors.square().mean(), torch.tensor(1.0))
    items = torch.tensor([[4, 0], [39, 4]])
    torch.testing.assert_close(scorer.read(items), scorer.embeddings()[items])
    by_hand = scorer.item_embedding.weight[4] + scorer.projection.weight @ scorer.vectors[4]
    torch.testing.assert_close(scorer.embeddings()[4], by_hand)


def test_the_score_of_two_towers_is_the_mean_of_their_log_probabilities() -> None:
    scorer, batch = make_fused().scorer, make_batch()
    with torch.no_grad():
        expected = (scorer.numbers.score(batch).log_softmax(-1) + scorer.content.score(batch).log_softmax(-1)) / 2
        torch.testing.assert_close(scorer.score(batch), expected)
        empty = replace(batch, lengths=torch.tensor([0, 1, 4, 3]))
        assert scorer.score(empty)[0].tolist() == POPULARITY.tolist()
    assert not {id(p) for p in scorer.numbers.parameters()} & {id(p) for p in scorer.content.parameters()}


def test_neighbours_join_the_item_level_score_by_their_weight_and_say_nothing_of_an_empty_history() -> None:
    batch = replace(make_batch(), lengths=torch.tensor([0, 1, 4, 3]))
    model = make_fused(neighbours=3, half_life=None, floor=0.2)
    assert model.neighbours is not None
    log = np.array([3, 17, 3, 17, 8, 30], dtype=np.int64)
    model.neighbours.learn(TrainingInteractions(["a", "b"], np.array([0, 2, 6]), log))
    plain = model.scorer.score(batch)
    assert torch.equal(model.score(batch), plain)  # its weight is 0 until it is chosen
    model.neighbour_weight.fill_(1.5)
    expected = plain + 1.5 * torch.log(0.2 + model.neighbours.evidence(batch))
    torch.testing.assert_close(model.score(batch)[1:], expected[1:])
    assert torch.equal(model.score(batch)[0], plain[0])


def test_a_model_without_neighbours_has_no_trace_of_them() -> None:
    assert not [name for name in make_fused().state_dict() if "neighbour" in name]

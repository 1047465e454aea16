"""A generator with a scorer of items beside it: each learns from its own loss, and two roads lead to one score."""

from dataclasses import replace

import numpy as np
import torch

from fused_world import NUM_ITEMS, POPULARITY, make_fused
from sidestep.data.splits import TrainingInteractions
from sidestep.generators.thinking import Thinking, ThinkingConfig
from small_world import make_batch, make_sids, small


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

"""Forms of thoughts beyond the paper's: each is the form without it where its weight or gate is 0, and changes what it
says it changes.
"""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from sidestep.config import merge
from sidestep.errors import ConfigError
from sidestep.generators.prediction import ThoughtfulPrediction
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, RECIPE, new_recipe
from sidestep.objectives import generating
from sidestep.studies.rows import PAPER
from small_world import make, make_batch, make_sids, small


def thinking(softmax: str = "codebook", **settings: object) -> Thinking:
    torch.manual_seed(0)
    return Thinking(make_sids(), small(softmax=softmax), ThinkingConfig.model_validate(settings)).eval()


def same_weights(model: Thinking, other: torch.nn.Module) -> Thinking:
    model.load_state_dict(other.state_dict(), strict=False)
    return model


def predicted(model: Thinking) -> ThoughtfulPrediction:
    prediction = model(make_batch())
    assert isinstance(prediction, ThoughtfulPrediction)
    return prediction


def taught(model: Thinking, **settings: object) -> dict[str, Tensor]:
    clusters = [torch.from_numpy(cluster) for cluster in make_sids().clusters]
    return generating.s2gr(model, make_batch(), ThinkingConfig.model_validate(settings), clusters)


@pytest.mark.parametrize("carry", [False, True])
def test_forgotten_thoughts_behind_a_closed_gate_leave_the_generator_without_thoughts(carry: bool) -> None:
    """Warm start: weights trained without thoughts answer the same with them, and the gate learns at the first step."""
    tiger = make("tiger")
    form = {"residual": True, "gated": True, "remember": False, "carry": carry}
    model = same_weights(thinking(**form, interest=False), tiger)
    for ours, theirs in zip(model(make_batch()).logits, tiger(make_batch()).logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    generating.tiger(model, make_batch())["total"].backward()
    assert model.thought_gate.grad is not None
    assert model.thought_gate.grad.all()
    with torch.no_grad():
        model.thought_gate.fill_(1.0)
    assert not torch.allclose(model(make_batch()).logits[0], tiger(make_batch()).logits[0], atol=1e-3)


def test_residual_logits_are_those_behind_the_thought_plus_those_at_the_thought() -> None:
    plain = thinking()
    residual = same_weights(thinking(residual=True), plain)
    alone, together = predicted(plain), predicted(residual)
    torch.testing.assert_close(alone.thoughts, together.thoughts)
    for level in range(3):
        behind = alone.thoughts[:, level] - plain.thought_position[level]
        expected = alone.logits[level] + behind @ plain.embeddings(level).T
        torch.testing.assert_close(together.logits[level], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("remember", "moved"), [(True, [True, True, True]), (False, [True, False, False])])
def test_later_levels_look_back_at_a_thought_that_is_remembered_alone(remember: bool, moved: list[bool]) -> None:
    model = thinking(remember=remember, interest=False)
    before = predicted(model)
    with torch.no_grad():
        model.thought_position[0] += 3.0
    after = predicted(model)
    assert [not torch.allclose(a, b, atol=1e-4) for a, b in zip(before.logits, after.logits, strict=True)] == moved


def test_a_level_without_thoughts_is_answered_behind_its_prefix_and_names_all_clusters_alike() -> None:
    model = thinking(levels=[2, 1], interest=False)
    prediction = predicted(model)
    assert prediction.levels == (0, 1)
    assert model.thought_position.shape[0] == 2
    assert not prediction.thoughts[:, 2].any()
    assert prediction.thoughts[:, :2].any(2).all()
    named = model.cluster_probs(2, prediction.thoughts[:, 2])
    torch.testing.assert_close(named, torch.full_like(named, 0.5))
    assert {key for key in taught(model, interest=False) if key.startswith("align")} == {"align_1", "align_2"}


def test_without_a_weight_the_code_at_the_thought_and_the_head_teach_nothing() -> None:
    plain = thinking(interest=False)
    both = same_weights(thinking(interest=False, code_weight=0.3, head_weight=0.1), plain)
    total = taught(plain)["total"]
    assert torch.equal(taught(both, code_weight=0.0, head_weight=0.0)["total"], total)
    prediction = predicted(both)
    early = sum(F.cross_entropy(prediction.early[level], prediction.codes[:, level]) for level in range(3))
    clusters = [
        torch.from_numpy(cluster)[prediction.codes[:, level]] for level, cluster in enumerate(make_sids().clusters)
    ]
    named = sum(F.cross_entropy(prediction.named[level], clusters[level]) for level in range(3))
    with_both = taught(both, code_weight=0.3, head_weight=0.1)["total"]
    torch.testing.assert_close(with_both, total + 0.3 * early + 0.1 * named)


def test_the_code_at_the_thought_is_chosen_among_the_same_codes_as_behind_it() -> None:
    model = thinking(softmax="trie", code_weight=1.0, levels=[1, 2], interest=False)
    prediction = predicted(model)
    assert list(prediction.early) == [0, 1]
    for level, logits in prediction.early.items():
        assert torch.equal(logits.isinf(), prediction.logits[level].isinf())
        assert logits.gather(1, prediction.choices[:, level : level + 1]).isfinite().all()


def test_what_a_thought_names_is_asked_of_the_head_where_there_is_one() -> None:
    model = thinking(head_weight=0.1, interest=False)
    prediction = predicted(model)
    for level in range(3):
        named = model.cluster_probs(level, prediction.thoughts[:, level])
        torch.testing.assert_close(named, prediction.named[level].softmax(-1))


def test_positions_start_at_the_scale_that_is_asked_for() -> None:
    literal, large = thinking(), thinking(position_scale=1.0)
    torch.testing.assert_close(large.thought_position * 0.02, literal.thought_position)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gated": True}, "residual"),
        ({"placement": "front", "levels": [1]}, "front"),
        ({"placement": "front", "remember": False}, "front"),
        ({"levels": [2]}, "interest"),
    ],
)
def test_forms_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ThinkingConfig.model_validate(settings)


def test_levels_that_the_ids_do_not_have_are_refused() -> None:
    with pytest.raises(ConfigError, match="level 4, and the semantic IDs have 3"):
        thinking(levels=[1, 4])


def test_the_papers_s2gr_is_s2gr_with_every_form_off() -> None:
    own, paper = new_recipe(merge({"method": "s2gr"}, PAPER, RECIPE)), new_recipe({"method": "s2gr-paper"})
    assert paper.section(ThinkingConfig) == own.section(ThinkingConfig) == ThinkingConfig()
    popularity = torch.ones(40, dtype=torch.int64).numpy()
    totals = []
    for recipe in (own, paper):
        materials = Materials(popularity, make_sids())
        torch.manual_seed(0)
        model = METHODS[recipe.method].build(materials, recipe)
        totals.append(METHODS[recipe.method].objective(materials, recipe)(model.eval(), make_batch())["total"])
    assert torch.equal(*totals)

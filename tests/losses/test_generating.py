"""S2GR's equations 18 to 21, 23 and 24 by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sidestep.generators.prediction import ThoughtfulPrediction
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.losses import contrastive, generating
from sidestep.objectives import generating as objective_generating
from small_world import make, make_batch, make_sids

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


def softmax(values: list[float], place: int) -> float:
    return math.exp(values[place]) / sum(math.exp(value) for value in values)


def test_eq_18_by_hand() -> None:
    """Two thoughts, two centroids, tau 1/2: cosines (1, 0) with target 0 and (-1, 0) with target 1."""
    thoughts = torch.tensor([[3.0, 0.0], [-0.5, 0.0]])  # lengths do not matter
    centroids = torch.tensor([[7.0, 0.0], [0.0, 0.1]])
    found = generating.align(generating.cluster_logits(thoughts, centroids, tau=0.5), torch.tensor([0, 1]))
    expected = -(math.log(softmax([2, 0], 0)) + math.log(softmax([-2, 0], 1))) / 2
    assert float(found) == pytest.approx(expected)


def test_centroids_are_cluster_means_without_gradient() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]], requires_grad=True)
    means = generating.centroids(embeddings, torch.tensor([0, 0, 1]))
    assert means.tolist() == [[2.0, 1.0], [5.0, 5.0]]
    assert not means.requires_grad


def test_centroids_equal_the_product_with_one_hot_memberships() -> None:
    torch.manual_seed(0)
    embeddings, clusters = torch.randn(256, 16), torch.randint(0, 32, (256,))
    members = torch.nn.functional.one_hot(clusters).float()
    expected = (members.T @ embeddings) / members.sum(0)[:, None]
    torch.testing.assert_close(generating.centroids(embeddings, clusters), expected)


def test_eq_20_by_hand() -> None:
    """Interest east and north, items east and west, tau 1: cosines (1, -1) and (0, 0)."""
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    found = contrastive.info_nce(torch.tensor([EAST, NORTH]), torch.tensor([EAST, WEST]), nothing, tau=1.0)
    assert float(found) == pytest.approx(-(math.log(softmax([1, -1], 0)) + math.log(0.5)) / 2)


def test_eq_20_leaves_barred_pairs_out() -> None:
    barred = torch.tensor([[False, True], [False, False]])
    found = contrastive.info_nce(torch.tensor([EAST, NORTH]), torch.tensor([EAST, WEST]), barred, tau=1.0)
    assert float(found) == pytest.approx(-(math.log(1.0) + math.log(0.5)) / 2)


def test_smoothing_spreads_a_share_over_the_codes_that_exist() -> None:
    """Logits (0, 1) of two codes that exist and one code alone; a tenth of the target is spread."""
    none = -math.inf
    logits = [torch.tensor([[0.0, 1.0, none], [5.0, none, none]])]
    plain = generating.recommend(logits, torch.tensor([[1], [0]]))
    smooth = generating.recommend(logits, torch.tensor([[1], [0]]), smoothing=0.1)
    own, other = math.log(softmax([0, 1], 1)), math.log(softmax([0, 1], 0))
    assert float(plain[0]) == pytest.approx(-own / 2)
    assert float(smooth[0]) == pytest.approx(-(0.9 * own + 0.05 * own + 0.05 * other) / 2)


def test_apao_weighs_prefixes_by_their_loss_and_the_worst_one_more() -> None:
    """Cross-entropies 2, 4, 9: prefixes of one and two codes have 2 and 3; the last code is in none."""
    per_level = torch.tensor([2.0, 4.0, 9.0], requires_grad=True)
    for focus in (0.0, 1.0):
        one, two = 2 * math.exp(2 * focus), 3 * math.exp(3 * focus)
        found = generating.prefixes(per_level, focus)
        assert float(found.detach()) == pytest.approx((one * 2 + two * 3) / (one + two))
        (gradient,) = torch.autograd.grad(found, per_level)
        assert gradient.tolist() == pytest.approx([(one + two / 2) / (one + two), two / 2 / (one + two), 0])
    assert float(generating.prefixes(torch.tensor([5.0]), 1.0)) == 0


def test_the_objective_adds_the_loss_of_prefixes() -> None:
    batch, model = make_batch(), make("tiger")
    plain = objective_generating.tiger(model, batch)
    with_prefixes = objective_generating.tiger(model, batch, objective_generating.OfCodes(prefix_weight=0.5))
    levels = torch.stack([plain[f"recommend_{level}"] for level in (1, 2, 3)])
    expected = plain["total"] + 0.5 * generating.prefixes(levels, 0.0)
    torch.testing.assert_close(with_prefixes["total"], expected)


def test_codes_that_do_not_exist_get_no_gradient_and_a_code_alone_costs_nothing() -> None:
    logits = torch.tensor([[0.0, 1.0, -math.inf], [5.0, -math.inf, -math.inf]], requires_grad=True)
    for smoothing in (0.0, 0.3):
        (gradient,) = torch.autograd.grad(
            generating.recommend([logits], torch.tensor([[1], [0]]), smoothing).sum(), logits
        )
        assert gradient.isfinite().all()
        assert gradient[0, 2] == 0
        assert not gradient[1].any()


def test_eq_21_by_hand_and_moves_the_thought_alone() -> None:
    thoughts = torch.tensor([EAST, EAST], requires_grad=True)
    interest = torch.tensor([[2.0, 0.0], NORTH], requires_grad=True)
    found = generating.holistic(thoughts, interest)
    assert found.item() == pytest.approx(1 - (1 + 0) / 2)
    found.backward()
    assert interest.grad is None
    assert thoughts.grad is not None
    assert thoughts.grad.any()


def test_eq_23_by_hand() -> None:
    logits = [torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])]
    found = generating.recommend(logits, torch.tensor([[1, 0]]))
    assert found.tolist() == pytest.approx([math.log(2), -math.log(softmax([1, 0, 0], 0))])


def taught(**changes: Any) -> tuple[Thinking, dict[str, Tensor]]:
    model = make("s2gr")
    assert isinstance(model, Thinking)
    clusters = [torch.from_numpy(cluster) for cluster in make_sids().clusters]
    thinking = ThinkingConfig.model_validate({"reg_weight": 0.3, **changes})
    return model, objective_generating.s2gr(model, make_batch(), thinking, clusters)


def test_eq_24_adds_up() -> None:
    """L = sum_l CE + sum_l L_align + L_InfoNCE + lambda (1 - cos(t1, v_g)), from the parts that are logged."""
    _, parts = taught()
    levels = sum(parts[f"{name}_{level}"] for name in ("recommend", "align") for level in (1, 2, 3))
    expected = levels + parts["info_nce"].detach() + 0.3 * (1 - parts["interest_cosine"].detach())
    torch.testing.assert_close(parts["total"].detach(), torch.as_tensor(expected))


def test_thought_accuracy_is_the_share_of_thoughts_nearest_to_the_true_cluster() -> None:
    model, parts = taught()
    prediction = model(make_batch())
    assert isinstance(prediction, ThoughtfulPrediction)
    for level, cluster in enumerate(make_sids().clusters):
        named = model.cluster_probs(level, prediction.thoughts[:, level]).argmax(-1)
        truth = torch.from_numpy(cluster)[prediction.codes[:, level]]
        assert float(parts[f"thought_accuracy_{level + 1}"]) == pytest.approx(float((named == truth).float().mean()))


def test_targets_of_the_same_user_or_item_are_no_negatives() -> None:
    model = make("s2gr")
    prediction = model(make_batch())
    barred = objective_generating._barred(prediction)
    assert not barred.diagonal().any()
    same_user = prediction.rows[:, None] == prediction.rows[None]
    same_id = (prediction.codes[:, None] == prediction.codes[None]).all(-1)
    off_diagonal = ~torch.eye(len(barred), dtype=torch.bool)
    assert torch.equal(barred, (same_user | same_id) & off_diagonal)


def test_without_thinking_losses_only_the_codes_are_taught() -> None:
    model = make("s2gr")
    parts = objective_generating.tiger(model, make_batch())
    assert set(parts) == {"recommend_1", "recommend_2", "recommend_3", "total"}
    torch.testing.assert_close(parts["total"], torch.stack([parts[f"recommend_{i}"] for i in (1, 2, 3)]).sum())

"""Equations 8-12 of S2GR, worked by hand."""

import math

import pytest
import torch

from sidestep.losses import tokenizing


def test_reconstruction_error_is_summed_over_dimensions_and_averaged_over_vectors() -> None:
    inputs, outputs = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 1.0]])
    assert tokenizing.reconstruct(outputs, inputs).item() == pytest.approx((4 + 10) / 2)


def test_quantisation_error_is_summed_over_levels_and_each_side_has_its_own_gradient() -> None:
    residuals = [torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 2.0]], requires_grad=True)]
    codewords = [torch.tensor([[0.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)]
    loss = tokenizing.quantise(residuals, codewords, commitment=0.25)
    assert loss.item() == pytest.approx(1.25 * (1 + 1))
    loss.backward()
    assert residuals[0].grad is not None
    assert codewords[0].grad is not None
    assert residuals[0].grad.tolist() == [[0.5, 0.0]]  # 0.25 * 2 (r - e)
    assert codewords[0].grad.tolist() == [[-2.0, 0.0]]  # 2 (e - r)


def test_codeword_distances_by_hand() -> None:
    assert tokenizing.codeword_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 25], [25, 0]]


def test_uniformity_counts_both_orders_of_near_pairs_and_no_far_ones() -> None:
    codewords = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 10.0]])
    loss = tokenizing.uniform(codewords, delta=torch.tensor(1.0), mu=torch.tensor(0.5))
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-0.5)))


def test_uniformity_drives_near_codewords_apart_and_leaves_far_ones_alone() -> None:
    codewords = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 10.0]], requires_grad=True)
    tokenizing.uniform(codewords, delta=torch.tensor(1.0), mu=torch.tensor(0.5)).backward()
    assert codewords.grad is not None
    assert codewords.grad[0, 0] > 0 > codewords.grad[1, 0]
    assert codewords.grad[2].tolist() == [0, 0]


def test_the_scale_of_uniformity_follows_the_codebook_so_that_the_loss_does_not() -> None:
    codewords = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    delta, mu = tokenizing.uniformity_scale(codewords)
    distances = tokenizing.codeword_distances(codewords)[*torch.triu_indices(9, 9, offset=1)]
    assert (distances <= delta).sum() == 9  # a quarter of 36 pairs
    assert mu.item() == pytest.approx(1 / distances.median().item())
    wide_delta, wide_mu = tokenizing.uniformity_scale(100 * codewords)
    torch.testing.assert_close(
        tokenizing.uniform(100 * codewords, wide_delta, wide_mu), tokenizing.uniform(codewords, delta, mu)
    )


@pytest.mark.parametrize("size", [1, 2, 4])
def test_uniformity_is_finite_for_one_codeword_and_for_equal_ones(size: int) -> None:
    codewords = torch.ones(size, 3, requires_grad=True)
    loss = tokenizing.uniform(codewords, *tokenizing.uniformity_scale(codewords))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1 + size * (size - 1)))
    assert codewords.grad is not None
    assert codewords.grad.isfinite().all()


def test_diversity_is_1_for_even_use_and_the_number_of_codes_where_one_is_used() -> None:
    assert tokenizing.diversity(torch.full((5,), 0.2)).item() == pytest.approx(1)
    assert tokenizing.diversity(torch.tensor([0.0, 1.0, 0.0])).item() == pytest.approx(3)
    assert tokenizing.diversity(torch.tensor([0.75, 0.25])).item() == pytest.approx(2 * (9 + 1) / 16)


def test_soft_usage_by_hand_whatever_the_scale() -> None:
    # Nearest distances 1 and 3, so s = 2: rows softmax(-1/2, -5/2) and softmax(-4/2, -3/2).
    distances = torch.tensor([[1.0, 5.0], [4.0, 3.0]])
    first, second = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(0.5))
    assert tokenizing.soft_usage(distances)[0].item() == pytest.approx((first + second) / 2)
    torch.testing.assert_close(tokenizing.soft_usage(distances * 1000), tokenizing.soft_usage(distances))
    assert tokenizing.soft_usage(torch.zeros(3, 4)).tolist() == pytest.approx([0.25] * 4)


def test_diversity_draws_a_neglected_codeword_towards_the_residuals() -> None:
    residuals = torch.tensor([[0.0], [1.0]])
    codewords = torch.tensor([[0.5], [3.0]], requires_grad=True)
    tokenizing.diversity(tokenizing.soft_usage((residuals - codewords.T).square())).backward()
    assert codewords.grad is not None
    assert codewords.grad[1].item() > 0

"""L_sid of UniSID by hand."""

import math

import torch

from sidestep.losses.contrastive import graded_contrast

NOT_ITSELF = ~torch.eye(4, dtype=torch.bool)


def same(classes: list[int]) -> torch.Tensor:
    numbers = torch.tensor(classes)
    return (numbers[:, None] == numbers) & NOT_ITSELF


def test_graded_contrast_by_hand() -> None:
    """Unit vectors east, east, north, north: a row's cosines are 1 with its twin and 0 with the two others."""
    vectors = torch.tensor([[2.0, 0], [1, 0], [0, 3], [0, 1]])
    twins = -math.log(math.exp(2) / (math.exp(2) + 2))
    torch.testing.assert_close(graded_contrast(vectors, same([0, 0, 1, 1]), NOT_ITSELF, 0.5), torch.tensor(twins))
    crossed = -math.log(1 / (math.exp(2) + 2))
    torch.testing.assert_close(graded_contrast(vectors, same([0, 1, 0, 1]), NOT_ITSELF, 0.5), torch.tensor(crossed))
    three = (2 * (twins + crossed) / 2 + crossed) / 3  # rows 0, 1 and 2 are of one class, and row 3 alone is skipped
    torch.testing.assert_close(graded_contrast(vectors, same([0, 0, 0, 1]), NOT_ITSELF, 0.5), torch.tensor(three))


def test_classes_of_one_row_teach_nothing_and_give_a_gradient_of_zero() -> None:
    vectors = torch.randn(4, 3, requires_grad=True)
    loss = graded_contrast(vectors, same([0, 1, 2, 3]), NOT_ITSELF, 0.1)
    loss.backward()
    assert loss == 0
    assert vectors.grad is not None
    assert not vectors.grad.any()


def test_one_class_of_equal_cosines_costs_the_logarithm_of_the_others() -> None:
    loss = graded_contrast(torch.ones(4, 3), same([0, 0, 0, 0]), NOT_ITSELF, 0.07)
    torch.testing.assert_close(loss, torch.tensor(math.log(3)))


def test_what_is_not_counted_changes_nothing() -> None:
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    counted = NOT_ITSELF.clone()
    counted[:, 3] = counted[3] = False
    before = graded_contrast(vectors, same([0, 0, 0, 1]), counted, 0.1)
    vectors[3] = 9
    assert torch.equal(before, graded_contrast(vectors, same([0, 0, 0, 1]), counted, 0.1))


def test_doubled_vectors_change_no_loss() -> None:
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    one, two = (graded_contrast(vectors * scale, same([0, 0, 1, 1]), NOT_ITSELF, 0.1) for scale in (1, 2))
    torch.testing.assert_close(one, two)

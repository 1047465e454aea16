import pytest
import torch
from torch.nn.functional import cosine_similarity

from sidestep.sids.estimators import Estimator, rotation, straight_through


def rows(number: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(
    estimator: Estimator, inputs: torch.Tensor, quantised: torch.Tensor, upstream: torch.Tensor
) -> torch.Tensor:
    inputs = inputs.clone().requires_grad_()
    (estimator(inputs, quantised) * upstream).sum().backward()
    assert inputs.grad is not None
    return inputs.grad


@pytest.mark.parametrize("estimator", [straight_through, rotation])
def test_the_value_is_the_quantised_one_and_the_gradient_reaches_the_input_alone(estimator: Estimator) -> None:
    inputs, quantised = rows(20, 4).float().requires_grad_(), rows(20, 4, seed=1).float().requires_grad_()
    out = estimator(inputs, quantised)
    torch.testing.assert_close(out, quantised, rtol=0, atol=1e-6)
    out.sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()
    assert quantised.grad is None


def test_straight_through_passes_the_gradient_as_it_is() -> None:
    upstream = rows(6, 3, seed=2)
    assert torch.equal(gradient(straight_through, rows(6, 3), rows(6, 3, seed=1), upstream), upstream)


def test_the_rotation_keeps_the_angle_between_gradient_and_codeword() -> None:
    inputs, quantised, upstream = rows(50, 6), rows(50, 6, seed=1), rows(50, 6, seed=2)
    found = gradient(rotation, inputs, quantised, upstream)
    torch.testing.assert_close(cosine_similarity(found, inputs), cosine_similarity(upstream, quantised))


def test_the_rotation_stretches_the_gradient_as_it_stretched_the_input() -> None:
    inputs, quantised, upstream = rows(50, 6), rows(50, 6, seed=1), rows(50, 6, seed=2)
    found = gradient(rotation, inputs, quantised, upstream)
    torch.testing.assert_close(found.norm(dim=1) / upstream.norm(dim=1), quantised.norm(dim=1) / inputs.norm(dim=1))


def test_the_rotation_is_that_of_the_written_out_matrix() -> None:
    inputs, quantised, upstream = rows(1, 5), rows(1, 5, seed=1), rows(1, 5, seed=2)
    start, end = inputs[0] / inputs.norm(), quantised[0] / quantised.norm()
    middle = (start + end) / (start + end).norm()
    matrix = torch.eye(5).double() - 2 * middle.outer(middle) + 2 * end.outer(start)
    matrix = matrix * quantised.norm() / inputs.norm()
    torch.testing.assert_close(matrix @ inputs[0], quantised[0])
    torch.testing.assert_close(gradient(rotation, inputs, quantised, upstream)[0], matrix.T @ upstream[0])


def test_a_quarter_turn_by_hand() -> None:
    """From (2, 0) to (0, 2): what points along the codeword at the end points along the input at the start."""
    turned = gradient(rotation, torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(turned, torch.tensor([[3.0, -1.0]]))


def test_a_codeword_in_the_inputs_direction_leaves_the_gradients_direction() -> None:
    inputs, upstream = rows(5, 3), rows(5, 3, seed=2)
    torch.testing.assert_close(gradient(rotation, inputs, 2 * inputs, upstream), 2 * upstream)


@pytest.mark.parametrize(
    ("inputs", "quantised"),
    [([[0.0, 0.0]], [[1.0, 2.0]]), ([[1.0, 2.0]], [[0.0, 0.0]]), ([[0.0, 0.0]], [[0.0, 0.0]])],
)
def test_zero_vectors_cannot_be_turned_and_pass_the_gradient_as_it_is(
    inputs: list[list[float]], quantised: list[list[float]]
) -> None:
    upstream = torch.tensor([[3.0, -1.0]])
    assert torch.equal(gradient(rotation, torch.tensor(inputs), torch.tensor(quantised), upstream), upstream)


def test_opposite_vectors_give_a_finite_gradient_and_the_right_value() -> None:
    inputs = rows(4, 3)
    torch.testing.assert_close(rotation(inputs, -inputs), -inputs)
    assert gradient(rotation, inputs, -inputs, rows(4, 3, seed=1)).isfinite().all()

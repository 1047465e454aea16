import pytest
import torch

from sidestep.sids.codebook import USAGE_DECAY, Codebook, LoadBalance, straight_through
from sidestep.sids.residual import ResidualQuantiser


def points(number: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


def book(codewords: list[list[float]], balancer: LoadBalance | None = None) -> Codebook:
    made = Codebook(len(codewords), len(codewords[0]), balancer)
    made.codewords.data.copy_(torch.tensor(codewords))
    return made


def fitted(number: int, levels: int, size: int, width: int = 6) -> tuple[ResidualQuantiser, torch.Tensor]:
    quantiser, values = ResidualQuantiser([Codebook(size, width) for _ in range(levels)]), points(number, width)
    quantiser.initialize(values, torch.Generator().manual_seed(0))
    return quantiser, values


def test_the_quantiser_passes_gradients_as_the_identity() -> None:
    quantiser, values = fitted(50, levels=3, size=8)
    inputs = values.clone().requires_grad_()
    upstream = points(50, 6, seed=1)
    quantised = quantiser(inputs)
    (quantised.total * upstream).sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, upstream)
    torch.testing.assert_close(quantised.total, torch.stack(quantised.codewords).sum(0))


def test_straight_through_has_the_value_of_the_one_and_the_gradient_of_the_other() -> None:
    inputs = torch.tensor([[1.0, 2.0]], requires_grad=True)
    codeword = torch.tensor([[0.0, 5.0]], requires_grad=True)
    out = straight_through(inputs, codeword)
    out.sum().backward()
    assert out.tolist() == [[0.0, 5.0]]
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [[1.0, 1.0]]
    assert codeword.grad is None


def test_equations_6_and_7_by_hand() -> None:
    quantiser = ResidualQuantiser([book([[0.0, 0.0], [4.0, 0.0]]), book([[1.0, 0.0], [0.0, 2.0]])])
    quantised = quantiser(torch.tensor([[3.0, 2.0], [1.0, 0.0]]))
    assert quantised.codes.tolist() == [[1, 1], [0, 0]]
    assert quantised.residuals[1].tolist() == [[-1.0, 2.0], [1.0, 0.0]]
    assert quantised.total.tolist() == [[4.0, 2.0], [1.0, 0.0]]


def test_a_level_moves_its_own_codeword_and_the_input_only() -> None:
    quantiser, values = fitted(20, levels=2, size=4)
    inputs = values.clone().requires_grad_()
    second = quantiser(inputs).residuals[1]
    second.square().sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().sum() > 0
    assert quantiser.levels[0].codewords.grad is None


def test_one_more_level_never_reconstructs_worse() -> None:
    quantiser, values = fitted(200, levels=4, size=8)
    codes = quantiser.assign(values)
    errors, rest = [values.square().sum().item()], values
    for level, column in zip(quantiser.levels, codes.T, strict=True):
        rest = rest - level.codewords[column]
        errors.append(rest.square().sum().item())
    assert errors == sorted(errors, reverse=True)


def test_load_factors_by_hand() -> None:
    """Eq. 13 with u = (1, 3), mean 2, and with the clip."""
    usage = torch.tensor([1.0, 3.0])
    assert LoadBalance(0.9).factors(usage).tolist() == pytest.approx([0.5, -0.5])
    assert LoadBalance(0.2).factors(usage).tolist() == pytest.approx([0.2, -0.2])
    assert LoadBalance(0.2).factors(torch.zeros(3)).tolist() == [0, 0, 0]


def test_balanced_distances_by_hand() -> None:
    """Eq. 14: the seldom used code looks nearer, the often used one farther."""
    balanced = LoadBalance(0.2)(torch.tensor([[10.0, 10.0]]), torch.tensor([1.0, 3.0]))
    assert balanced.tolist() == [pytest.approx([8.0, 12.0])]


@pytest.mark.parametrize("dmax", [1.0, -0.1])
def test_a_balance_that_could_make_an_unused_code_take_everything_is_refused(dmax: float) -> None:
    with pytest.raises(AssertionError):
        LoadBalance(dmax)


def test_balance_tips_a_near_tie_in_training_and_nowhere_else() -> None:
    level = book([[0.0], [1.0]], LoadBalance(0.5))
    level.usage.copy_(torch.tensor([9.0, 1.0]))
    nearly_middle = torch.tensor([[0.45]])
    assert level(nearly_middle)[0].tolist() == [1]
    assert level.eval()(nearly_middle)[0].tolist() == [0]
    assert level.assign(nearly_middle).tolist() == [0]


def test_usage_is_a_running_mean_of_training_counts() -> None:
    level = book([[0.0], [1.0]])
    level(torch.tensor([[0.1], [0.2], [0.9]]))
    rest = 1 - USAGE_DECAY
    assert level.usage.tolist() == pytest.approx([USAGE_DECAY + 2 * rest, USAGE_DECAY + rest])


def test_assignment_is_pure() -> None:
    quantiser, values = fitted(60, levels=2, size=8)
    before = {name: value.clone() for name, value in quantiser.state_dict().items()}
    first, second = quantiser.assign(values), quantiser.assign(values)
    assert torch.equal(first, second)
    assert torch.equal(quantiser.assign(values[7:8])[0], first[7])
    assert all(torch.equal(value, before[name]) for name, value in quantiser.state_dict().items())


def test_dead_codes_come_back_on_residuals_and_living_ones_stay() -> None:
    level, values = book([[0.0, 0.0], [99.0, 99.0], [-99.0, 99.0]]), points(30, 2)
    assert level.revive(values, torch.Generator().manual_seed(0)) == 2
    assert level.codewords[0].tolist() == [0, 0]
    for code in (1, 2):
        assert (values == level.codewords[code]).all(1).any()
    assert level.assign(values).unique().tolist() == [0, 1, 2]


def test_nothing_is_revived_where_every_residual_is_met_exactly() -> None:
    level = book([[1.0], [7.0]])
    assert level.revive(torch.tensor([[1.0], [1.0]]), torch.Generator()) == 0
    assert level.codewords.flatten().tolist() == [1, 7]


def test_a_refit_moves_codewords_to_the_mean_of_what_the_balance_gives_them() -> None:
    # Plain distances give code 0 three of four points. At dmax 0.5 its distances count 1.5-fold and those of code 1
    # half, so the point at 1.1, which is 1.21 and 3.61 away, changes sides; the codewords move to the means.
    level = book([[0.0], [3.0]], LoadBalance(0.5))
    level.refit(torch.tensor([[-1.0], [0.0], [1.3], [3.0]]))
    assert level.codewords.flatten().tolist() == pytest.approx([-0.5, 2.15])


def test_fewer_distinct_residuals_than_codes_leave_no_error() -> None:
    quantiser = ResidualQuantiser([Codebook(4, 2), Codebook(4, 2)])
    values = torch.tensor([[0.0, 1.0], [2.0, 0.0]]).repeat(3, 1)
    quantiser.initialize(values, torch.Generator().manual_seed(0))
    assert torch.equal(quantiser.eval()(values).total, values)
    assert quantiser.upkeep(values, torch.Generator().manual_seed(0)) == [0, 0]
    assert quantiser.assign(values).unique(dim=0).shape == (2, 2)

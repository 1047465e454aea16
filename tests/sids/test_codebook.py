from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from sidestep.sids.codebook import (
    USAGE_DECAY,
    Codebook,
    Leave,
    LoadBalance,
    MovingAverage,
    Reset,
    balanced_start,
    kmeans_start,
    random_start,
)
from sidestep.sids.kmeans import balanced_kmeans, kmeans
from sidestep.sids.residual import ResidualQuantiser
from two_processes import TOKENIZERS, Joined, learn_tokenizer, reset_in_one_of_two, tokenizers_of_two


def points(number: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


def book(codewords: list[list[float]], balancer: LoadBalance | None = None, **tricks: Any) -> Codebook:
    made = Codebook(len(codewords), len(codewords[0]), balancer, **tricks)
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


def test_moving_averages_by_hand() -> None:
    """Van den Oord et al., appendix A.1, with g = 0.5 and N = 1 at first, so m = e: code 0 takes 2 and 4."""
    level = book([[1.0], [9.0]], learning=MovingAverage(0.5))
    codes, codewords = level(torch.tensor([[2.0], [4.0]]))
    assert codes.tolist() == [0, 0]
    assert codewords.tolist() == [[1], [1]]  # looked up before they move
    assert level.usage.tolist() == [0.5 * 1 + 0.5 * 2, 0.5 * 1]
    assert level.codewords.flatten().tolist() == pytest.approx([(0.5 * 1 + 0.5 * 6) / 1.5, 9.0])


def test_moving_averages_are_the_quotient_of_two_running_sums() -> None:
    level, rule = Codebook(6, 3, learning=MovingAverage(0.9)), 0.9
    level.initialize(points(60, 3), torch.Generator().manual_seed(0))
    counts, sums = torch.ones(6).double(), level.codewords.double().clone()
    for batch in range(20):
        values = points(16, 3, seed=batch)
        codes, _ = level(values)
        counts = rule * counts + (1 - rule) * codes.bincount(minlength=6)
        sums = rule * sums + (1 - rule) * torch.zeros(6, 3).double().index_add_(0, codes, values.double())
        torch.testing.assert_close(level.codewords.double(), sums / counts[:, None], rtol=1e-4, atol=1e-5)


def test_moving_averages_take_no_gradient_and_move_in_training_only() -> None:
    level = book([[0.0], [5.0]], learning=MovingAverage(0.9))
    assert not list(level.parameters())
    assert not level(torch.tensor([[1.0]], requires_grad=True))[1].requires_grad
    before = level.codewords.clone()
    level.eval()(torch.tensor([[1.0]]))
    assert torch.equal(level.codewords, before)


def test_a_code_idle_for_ever_stays_finite_and_where_it_is() -> None:
    level = book([[0.0], [5.0]], learning=MovingAverage(0.5))
    for _ in range(2000):
        level(torch.tensor([[0.5]]))
    assert level.usage[1] == 0
    assert level.codewords[1].item() == 5
    level(torch.tensor([[7.0]]))
    assert level.codewords[1].item() == pytest.approx(7)


@pytest.mark.parametrize(
    "tricks",
    [
        {"learning": MovingAverage(0.9)},
        {"dead_codes": Reset(2)},
        {"learning": MovingAverage(0.9), "dead_codes": Reset(2)},
    ],
    ids=["moving average", "reset", "both"],
)
def test_training_that_stops_and_goes_on_is_the_same_bit_for_bit(tricks: dict[str, Any]) -> None:
    def train(level: nn.Module, first: int, last: int) -> None:
        for batch in range(first, last):
            level(points(12, 3, seed=batch))

    whole = Codebook(8, 3, **tricks)
    whole.initialize(points(60, 3), torch.Generator().manual_seed(0))
    begun, resumed = deepcopy(whole), Codebook(8, 3, **tricks)
    train(whole, 0, 9)
    train(begun, 0, 4)
    resumed.load_state_dict(begun.state_dict())
    train(resumed, 4, 9)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_an_idle_code_is_reset_to_the_worst_served_input_of_the_batch() -> None:
    level = book([[0.0], [99.0], [-99.0]], dead_codes=Reset(2))
    level(torch.tensor([[1.0], [2.0]]))
    assert level.codewords.flatten().tolist() == [0, 99, -99]
    level(torch.tensor([[3.0], [-4.0], [1.0]]))
    assert level.codewords.flatten().tolist() == [0, -4, 3]  # the worst for the first, the next for the second
    assert level.idle.tolist() == [0, 0, 0]


def test_a_used_code_is_never_reset_nor_any_by_inputs_met_exactly() -> None:
    level = book([[0.0], [1.0], [50.0]], dead_codes=Reset(1))
    level(torch.tensor([[0.0], [1.0]]))
    assert level.codewords.flatten().tolist() == [0, 1, 50]


def test_processes_that_train_together_keep_the_same_codewords(tmp_path: Path) -> None:
    multiprocessing.spawn(reset_in_one_of_two, args=(str(tmp_path),), nprocs=2)
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ["[0.0, 4.0]"] * 2  # of both batches


@pytest.mark.slow
def test_two_processes_learn_the_codes_of_one_with_the_same_batches(tmp_path: Path) -> None:
    """Counts, moving averages, resets and the sums of k-means are over both."""
    np.save(tmp_path / "vectors.npy", points(64, 6).numpy())
    multiprocessing.spawn(tokenizers_of_two, args=(str(tmp_path),), nprocs=2)
    for name, config in TOKENIZERS.items():
        codes, usage = learn_tokenizer(str(tmp_path), config, Joined)
        for rank in (0, 1):
            saved = np.load(tmp_path / f"{name}-{rank}.npz")
            assert np.array_equal(saved["codes"], codes), name
            np.testing.assert_allclose(saved["usage"], usage, rtol=1e-4)
        assert len(np.unique(codes, axis=0)) > 10


@pytest.mark.parametrize("policy", [Leave(), Reset(5)])
def test_only_the_default_moves_dead_codes_between_epochs(policy: Leave) -> None:
    level = book([[0.0], [99.0]], dead_codes=policy)
    assert level.revive(points(30, 1), torch.Generator().manual_seed(0)) == 1
    assert level.codewords.flatten().tolist() == [0, 99]


def test_starts_are_what_their_names_say() -> None:
    values = points(80, 3) + 5

    def by(seed: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    assert torch.equal(kmeans_start(values, 7, by()), kmeans(values, 7, by()).centroids)
    assert torch.equal(balanced_start(values, 7, by()), balanced_kmeans(values, 7, by()).centroids)
    drawn = random_start(values, 50, by())
    assert drawn.shape == (50, 3)
    assert drawn.abs().max() <= 1 / 50
    assert not torch.equal(drawn, random_start(values, 50, by(1)))


def test_tricks_that_are_not_asked_for_leave_no_trace_in_what_is_saved() -> None:
    assert set(Codebook(2, 2).state_dict()) == {"codewords", "usage", "delta", "mu"}

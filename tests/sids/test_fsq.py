import pytest
import torch

from sidestep.sids import fsq
from sidestep.sids.codebook import Codebook
from sidestep.sids.fsq import FSQ, Directions, HiddenFSQ, autoencoder, itq
from sidestep.sids.residual import ResidualQuantiser

CORNERS = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).repeat(50, 1)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def points(number: int, width: int, seed: int = 0) -> torch.Tensor:
    """Every dimension has less variance than the one before."""
    drawn = torch.randn(number, width, generator=torch.Generator().manual_seed(seed))
    return drawn * torch.linspace(3, 0.5, width)


def fitted(bits: int, values: torch.Tensor, find: Directions = itq) -> FSQ:
    level = FSQ(bits, values.shape[1], find)
    level.initialize(values, seeded())
    return level


def bits_of(level: FSQ, values: torch.Tensor) -> torch.Tensor:
    """`[N, bits]`, the most significant first."""
    return level.assign(values)[:, None] >> torch.arange(level.bits - 1, -1, -1) & 1


def axes(residuals: torch.Tensor, bits: int, generator: torch.Generator) -> torch.Tensor:
    return torch.eye(residuals.shape[1])[:, :bits]


def test_codes_and_codewords_by_hand() -> None:
    """Two directions, y first for its variance: medians between -1 and 1, and between -9 and 9."""
    values = torch.tensor([[-1.0, -9.0], [1.0, -9.0], [-1.0, 9.0], [1.0, 9.0]])
    level = fitted(2, values, axes)
    assert level.assign(values).tolist() == [0, 1, 2, 3]
    assert level.thresholds.tolist() == [0, 0]
    torch.testing.assert_close(level.codewords, values)


def test_a_code_that_no_residual_has_stands_for_the_sum_of_its_bits() -> None:
    values = torch.tensor([[0.0, 0.0], [0.0, 4.0], [2.0, 0.0]]).repeat(3, 1)
    level = fitted(2, values, axes)
    assert len(level.assign(values).unique()) == 3
    torch.testing.assert_close(level.codewords[3], torch.tensor([2.0, 4.0]))


@pytest.mark.parametrize("find", [itq, autoencoder])
def test_every_bit_halves_the_residuals(find: Directions) -> None:
    for number in (400, 401):
        values = points(number, 6)
        assert set(bits_of(fitted(4, values, find), values).sum(0).tolist()) <= {number // 2}


def test_directions_of_itq_are_orthonormal_and_within_the_first_principal_axes() -> None:
    values = points(500, 6)
    found = itq(values, 3, seeded())
    torch.testing.assert_close(found.T @ found, torch.eye(3), rtol=0, atol=1e-5)
    centred = (values - values.mean(0)).double()
    first = torch.linalg.svd(centred, full_matrices=False).Vh[:3].T.float()
    torch.testing.assert_close(first @ (first.T @ found), found, rtol=0, atol=1e-4)


def test_iterative_quantisation_only_ever_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Gong and Lazebnik minimise, ||sign(V R) - V R||^2, in terms of R: the sum of |V R| grows."""
    values = points(500, 6) - points(500, 6).mean(0)
    sums = []
    for iterations in (0, 1, 5, 50):
        monkeypatch.setattr(fsq, "ITQ_ITERATIONS", iterations)
        sums.append((values @ itq(values, 4, seeded())).abs().sum().item())
    assert sums == sorted(sums)
    assert sums[-1] > sums[0]


def test_iterative_quantisation_finds_the_corners_of_a_turned_cube() -> None:
    turn = torch.linalg.qr(torch.randn(6, 6, generator=seeded())).Q[:3]
    values = CORNERS @ turn + 0.1 * torch.randn(400, 6, generator=seeded())
    level = fitted(3, values)
    assert torch.equal(torch.cat([CORNERS, level.assign(values)[:, None]], 1).unique(dim=0)[:, :3], CORNERS[:8])


def test_the_most_significant_bit_is_of_the_direction_of_most_variance() -> None:
    values = points(300, 5)
    level = fitted(4, values)
    variances = (values @ level.directions).var(0)
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)


def test_codewords_of_orthonormal_directions_are_no_worse_than_the_mean_of_each_side() -> None:
    values = points(400, 6)
    level = fitted(3, values)
    projected, signs = values @ level.directions, bits_of(level, values)
    restored = values.mean(0).expand_as(values).clone()
    for bit in range(3):
        for side in (0, 1):
            rows = signs[:, bit] == side
            shift = projected[rows, bit].mean() - projected[:, bit].mean()
            restored[rows] += shift * level.directions[:, bit]
    by_sides = (values - restored).square().sum()
    assert (values - level.codewords[level.assign(values)]).square().sum() <= by_sides * (1 + 1e-5)


def test_more_bits_restore_better() -> None:
    values = points(400, 6)
    errors = [
        (values - level.codewords[level.assign(values)]).square().sum().item()
        for level in (fitted(bits, values) for bits in range(7))
    ]
    assert errors == sorted(errors, reverse=True)


def test_learning_restores_what_orthogonal_directions_cannot() -> None:
    """The corners of a slanted box."""
    edges = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
    values = CORNERS @ edges + 0.1 * torch.randn(400, 3, generator=seeded())
    errors = [
        (values - level.codewords[level.assign(values)]).square().mean().item()
        for level in (fitted(3, values, autoencoder), fitted(3, values, itq))
    ]
    assert errors[0] == pytest.approx(0.01, rel=0.2)  # the noise
    assert errors[1] > 2 * errors[0]


def test_hyperplanes_of_a_hidden_layer_are_bent() -> None:
    """|x| > 1 by hand: relu(x) + relu(-x)."""
    level = HiddenFSQ(1, 1)
    level.first[0, :2] = torch.tensor([1.0, -1.0])
    level.directions[:2] = 1
    level.thresholds[:] = 1
    assert level.assign(torch.tensor([[-3.0], [-0.5], [0.0], [0.9], [2.0]])).tolist() == [1, 0, 0, 0, 1]


def test_a_hidden_layer_learns_the_corners_of_a_slanted_box_too() -> None:
    edges = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
    values = CORNERS @ edges + 5 + 0.1 * torch.randn(400, 3, generator=seeded())
    level = HiddenFSQ(3, 3)
    level.initialize(values, seeded())
    assert (values - level.codewords[level.assign(values)]).square().mean().item() == pytest.approx(0.01, rel=0.3)
    assert (bits_of(level, values).sum(0) <= 200).all()


@pytest.mark.parametrize("count", [1, 9])
def test_a_hidden_layer_of_equal_vectors_is_finite(count: int) -> None:
    values = points(1, 6).repeat(count, 1)
    level = HiddenFSQ(4, 6)
    level.initialize(values, seeded())
    assert all(bool(buffer.isfinite().all()) for buffer in level.buffers())
    assert len(level.assign(values).unique()) == 1


def test_residuals_beside_the_median_do_not_hang_on_rounding() -> None:
    values = points(101, 3).repeat_interleave(3, dim=0)
    level = fitted(3, values)
    distances = (values @ level.directions - level.thresholds).abs().min(0).values
    assert (distances > 1e-6).all()


def test_bits_after_two_tables_tell_more_items_apart_than_a_third_table() -> None:
    """What QARM V2 has the level for (its Table 9)."""
    values = points(2000, 12) + 4 * points(20, 12, seed=1).repeat(100, 1)
    distinct = []
    for last in (Codebook(16, 12), FSQ(4, 12)):
        quantiser = ResidualQuantiser([Codebook(16, 12), Codebook(16, 12), last])
        quantiser.initialize(values, seeded())
        distinct.append(len(quantiser.assign(values).unique(dim=0)))
    assert distinct[1] > distinct[0]


def test_more_bits_than_dimensions_are_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        FSQ(4, 3)

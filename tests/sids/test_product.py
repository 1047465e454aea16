import pytest
import torch

from sidestep.sids import product
from sidestep.sids.kmeans import kmeans
from sidestep.sids.product import Block, opq_rotation, product_levels
from sidestep.sids.residual import ResidualQuantiser


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(number: int, width: int, seed: int = 0) -> torch.Tensor:
    """Correlated dimensions of falling variance."""
    drawn = torch.randn(number, width, generator=seeded(seed)) * torch.linspace(3, 0.2, width)
    return drawn @ torch.linalg.qr(torch.randn(width, width, generator=seeded(seed + 1))).Q


def left(values: torch.Tensor, sizes: list[int]) -> float:
    """Squared error of a product quantiser fitted to the values."""
    quantiser = ResidualQuantiser(product_levels(values.shape[1], sizes))
    quantiser.initialize(values, seeded())
    codes = quantiser.assign(values)
    restored = torch.stack([level.codewords[codes[:, number]] for number, level in enumerate(quantiser.levels)]).sum(0)
    return (values - restored).square().sum().item()


@pytest.mark.parametrize(("width", "number"), [(6, 3), (7, 3), (5, 5), (4, 1), (11, 4)])
def test_blocks_are_all_dimensions_once_in_order_and_nearly_equal(width: int, number: int) -> None:
    blocks = [level.dimensions for level in product_levels(width, [2] * number)]
    assert [place for block in blocks for place in range(width)[block]] == list(range(width))
    widths = [block.stop - block.start for block in blocks]
    assert max(widths) - min(widths) <= 1


def test_more_blocks_than_dimensions_are_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        product_levels(2, [4, 4, 4])


def test_a_block_by_hand() -> None:
    level = Block(2, 3, slice(1, 2))
    level.initialize(torch.tensor([[5.0, 1.0, 7.0], [8.0, 4.0, 0.0], [9.0, 4.0, 0.0]]), seeded())
    assert sorted(level.codewords.tolist()) == [[0, 1, 0], [0, 4, 0]]
    codes = level.assign(torch.tensor([[9.0, 1.2, 9.0], [-9.0, 3.0, 9.0]]))
    assert level.codewords[codes].tolist() == [[0, 1, 0], [0, 4, 0]]


def test_the_residual_loop_over_blocks_is_kmeans_in_every_block() -> None:
    values, generator = points(200, 6), seeded()
    quantiser = ResidualQuantiser(product_levels(6, [5, 8]))
    quantiser.initialize(values, seeded())
    codes = quantiser.assign(values)
    for number, block in enumerate((slice(0, 3), slice(3, 6))):
        plain = kmeans(values[:, block].contiguous(), [5, 8][number], generator)
        assert torch.equal(codes[:, number], plain.assignment)
        assert torch.equal(quantiser.levels[number].codewords[:, block], plain.centroids)


def test_the_nearest_code_of_a_block_is_the_nearest_on_the_whole() -> None:
    values = points(100, 6)
    level = product_levels(6, [8, 8])[1]
    level.initialize(values, seeded())
    whole = torch.cdist(values.double(), level.codewords.double()).argmin(1)
    assert torch.equal(level.assign(values), whole)


def test_a_rotation_is_one_whatever_the_shape() -> None:
    for width, sizes in ((6, [4, 4]), (7, [4, 9, 2]), (1, [3])):
        rotation = opq_rotation(points(50, width), sizes, seeded())
        torch.testing.assert_close(rotation.T @ rotation, torch.eye(width), rtol=0, atol=1e-5)


def test_turned_vectors_are_restored_better() -> None:
    values = points(500, 8)
    assert left(values @ opq_rotation(values, [8] * 4, seeded()), [8] * 4) < 0.9 * left(values, [8] * 4)


def test_turning_by_turns_finds_blocks_that_principal_axes_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dimensions of eight clusters each, four times over, turned together at random."""
    parts = [
        torch.randn(8, 2, generator=seeded(b))[torch.randint(8, (600,), generator=seeded(9 + b))] for b in range(4)
    ]
    values = torch.cat(parts, dim=1) @ torch.linalg.qr(torch.randn(8, 8, generator=seeded(1))).Q
    errors = []
    for iterations in (0, 50):
        monkeypatch.setattr(product, "OPQ_ITERATIONS", iterations)
        errors.append(left(values @ opq_rotation(values, [8] * 4, seeded()), [8] * 4))
    assert errors[1] < 0.9 * errors[0]


def test_axes_are_dealt_out_by_the_product_of_variances() -> None:
    """Variances 16, 8, 4, 2, 1, 0.5 in three blocks: 16 | 8 | 4, then 4 with 2, 8 with 1, 16 with 0.5."""
    values = torch.cat([torch.eye(6), -torch.eye(6)]) * torch.tensor([16.0, 8, 4, 2, 1, 0.5]).mul(6).sqrt()
    dealt = product._balanced_axes(values, [slice(0, 2), slice(2, 4), slice(4, 6)]).abs()
    assert dealt.argmax(0).tolist() == [0, 5, 1, 4, 2, 3]


def test_a_rotation_is_learnt_from_a_sample_of_many_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    values = points(500, 6)
    monkeypatch.setattr(product, "OPQ_SAMPLE", 300)
    sample = values[torch.randperm(500, generator=seeded())[:300]]
    generator = seeded()
    torch.randperm(500, generator=generator)
    assert torch.equal(opq_rotation(values, [4, 4], seeded()), opq_rotation(sample, [4, 4], generator))


def test_identical_and_few_vectors_have_a_rotation() -> None:
    for values in (torch.ones(5, 4), points(1, 4), points(3, 4), torch.zeros(2, 4)):
        rotation = opq_rotation(values, [4, 4], seeded())
        torch.testing.assert_close(rotation.T @ rotation, torch.eye(4), rtol=0, atol=1e-5)

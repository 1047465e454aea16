"""Laws that every level of a quantiser keeps. A new kind of level is a line in `LEVELS`."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sidestep.sids import fsq
from sidestep.sids.codebook import (
    Codebook,
    Leave,
    LoadBalance,
    MovingAverage,
    Reset,
    balanced_start,
    random_start,
)
from sidestep.sids.fsq import FSQ, HiddenFSQ
from sidestep.sids.product import Block, product_levels
from sidestep.sids.residual import Level, ResidualQuantiser
from sidestep.sids.unified import SpokenLevel

WIDTH = 5

FITTED: dict[str, Callable[[], nn.Module]] = {
    "codebook": lambda: Codebook(8, WIDTH),
    "balanced": lambda: Codebook(8, WIDTH, LoadBalance(0.5), start=balanced_start),
    "moving average": lambda: Codebook(8, WIDTH, learning=MovingAverage(0.9), dead_codes=Reset(3)),
    "one codeword": lambda: Codebook(1, WIDTH),
    "bits": lambda: FSQ(3, WIDTH),
    "learnt bits": lambda: FSQ(3, WIDTH, fsq.autoencoder),
    "hidden layer": lambda: HiddenFSQ(3, WIDTH),
    "as many bits as dimensions": lambda: FSQ(WIDTH, WIDTH),
    "no bits": lambda: FSQ(0, WIDTH),
    "block": lambda: Block(8, WIDTH, slice(1, 3)),
}
LEVELS = FITTED | {
    "random": lambda: Codebook(8, WIDTH, start=random_start, dead_codes=Leave()),
    "spoken": lambda: SpokenLevel(8, WIDTH - 2, 0, 1, turned=False, smoothing=0.1),
}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsq, "LEARNING_STEPS", 20)


@pytest.fixture(params=LEVELS.values(), ids=list(LEVELS))
def level(request: pytest.FixtureRequest) -> Level:
    made = request.param()
    assert isinstance(made, Level)
    return made


@pytest.fixture(params=FITTED.values(), ids=list(FITTED))
def fitted(request: pytest.FixtureRequest) -> Level:
    made = request.param()
    assert isinstance(made, Level)
    return made


def points(number: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, WIDTH, generator=torch.Generator().manual_seed(seed)) * torch.arange(1.0, WIDTH + 1)


def fit(level: Level, values: torch.Tensor, seed: int = 0) -> Level:
    level.initialize(values, torch.Generator().manual_seed(seed))
    return level


def error(level: Level, values: torch.Tensor) -> float:
    with torch.no_grad():
        return (values - level.codewords[level.assign(values)]).double().square().sum().item()


def test_the_same_seed_gives_the_same_level_whatever_the_global_state(level: Level) -> None:
    other = deepcopy(level)
    torch.manual_seed(1)
    first = fit(level, points(60))
    torch.manual_seed(2)
    assert torch.equal(first.codewords, fit(other, points(60)).codewords)
    assert torch.equal(first.assign(points(60)), other.assign(points(60)))


def test_fitting_leaves_the_global_random_state_alone(level: Level) -> None:
    before = torch.get_rng_state()
    fit(level, points(60))
    assert torch.equal(torch.get_rng_state(), before)


def test_fitting_again_forgets_what_was_before(level: Level) -> None:
    once = fit(deepcopy(level), points(60))
    twice = fit(fit(level, points(30, seed=9) * 7), points(60))
    assert torch.equal(once.codewords, twice.codewords)


def test_codes_are_in_range_and_hang_on_the_residual_alone(level: Level) -> None:
    values = points(60)
    fit(level, values)
    before = deepcopy(level)
    codes = level.assign(values)
    assert codes.dtype == torch.int64
    assert ((codes >= 0) & (codes < len(level))).all()
    assert torch.equal(torch.cat([level.assign(row[None]) for row in values]), codes)
    assert torch.equal(level.assign(values.flip(0)).flip(0), codes)
    assert level.assign(values[:0]).shape == (0,)
    assert isinstance(level, nn.Module)
    assert isinstance(before, nn.Module)
    for name, value in level.state_dict().items():
        assert torch.equal(value, before.state_dict()[name])


def test_a_saved_level_gives_the_same_codes(level: Level) -> None:
    values = points(60)
    other = fit(deepcopy(level), points(20, seed=4))
    fit(level, values)
    assert isinstance(level, nn.Module)
    assert isinstance(other, nn.Module)
    other.load_state_dict(level.state_dict())
    assert torch.equal(level.assign(values), other.assign(values))
    assert torch.equal(level.codewords, other.codewords)


@pytest.mark.parametrize("name", FITTED)
@settings(max_examples=15, deadline=None)
@given(number=st.integers(1, 40), seed=st.integers(0, 1000), shift=st.sampled_from([0.0, 3.0]))
def test_a_further_level_never_restores_worse(name: str, number: int, seed: int, shift: float) -> None:
    rest = points(number, seed) + shift
    for _ in range(3):
        level = fit(FITTED[name](), rest)  # type: ignore[arg-type]
        before, after = rest.double().square().sum().item(), error(level, rest)
        assert after <= before * (1 + 1e-5) + 1e-9
        rest = (rest - level.codewords[level.assign(rest)]).detach()


@pytest.mark.parametrize("number", [1, 2, 50])
def test_identical_residuals_share_one_code_that_restores_them(fitted: Level, number: int) -> None:
    values = points(1).expand(number, -1).contiguous()
    fit(fitted, values)
    assert fitted.codewords.isfinite().all()
    assert len(fitted.assign(values).unique()) == 1
    own = fitted.dimensions if isinstance(fitted, Block) else slice(None)
    torch.testing.assert_close(fitted.codewords[fitted.assign(values)][:, own], values[:, own], rtol=1e-4, atol=1e-5)


def test_residuals_of_zero_are_no_trouble(level: Level) -> None:
    fit(level, torch.zeros(6, WIDTH))
    assert level.codewords.isfinite().all()
    assert error(level, torch.zeros(6, WIDTH)) < 1


@pytest.mark.parametrize("number", [2, 3, 7])
def test_fewer_residuals_than_codes_leave_every_codeword_finite(level: Level, number: int) -> None:
    values = points(number)
    fit(level, values)
    assert level.codewords.isfinite().all()
    assert level.codewords.shape == (len(level), WIDTH)
    assert ((level.assign(values) >= 0) & (level.assign(values) < len(level))).all()


def test_levels_of_any_kind_and_size_stack() -> None:
    levels = [Codebook(6, WIDTH), *product_levels(WIDTH, [4, 3]), FSQ(2, WIDTH), Codebook(5, WIDTH)]
    quantiser, values = ResidualQuantiser(levels), points(100)
    quantiser.initialize(values, torch.Generator().manual_seed(0))
    codes = quantiser.assign(values)
    assert codes.shape == (100, 5)
    assert (codes.max(0).values < torch.tensor([6, 4, 3, 4, 5])).all()

"""The baselines' losses: by hand, and two roads to one answer."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sidestep.losses import contrastive, scoring


def sample(num_items: int = 11, rows: int = 7, steps: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Steps' states `[steps, rows, 4]`, embeddings and targets."""
    torch.manual_seed(0)
    states = torch.randn(steps, rows, 4, requires_grad=True)
    return states, torch.randn(num_items, 4, requires_grad=True), torch.randint(num_items, (rows,))


def gradients(loss: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(3 * loss, leaves)


@pytest.fixture(params=[2**22, 1], ids=["one block", "blocks of two"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "PROBABILITIES_AT_ONCE", request.param)
    monkeypatch.setattr(scoring, "LEAST_ROWS", 2)


@pytest.mark.usefixtures("_blocks")
def test_full_cross_entropy_and_its_gradients_are_pytorchs() -> None:
    states, embeddings, targets = sample()
    ours = scoring.full_cross_entropy(states[0], embeddings, targets)
    theirs = F.cross_entropy(states[0] @ embeddings.T, targets)
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(gradients(ours, states, embeddings), gradients(theirs, states, embeddings), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("_blocks")
def test_divergence_and_its_gradients_are_those_of_every_pair_written_out() -> None:
    steps, embeddings, _ = sample()
    log_probs = (steps @ embeddings.T).log_softmax(-1)
    pairs = [(0, 1), (0, 2), (1, 2)]
    theirs = torch.stack(
        [F.kl_div(log_probs[j], log_probs[i], log_target=True, reduction="batchmean") for i, j in pairs]
    )
    ours = scoring.divergence(steps, embeddings)
    torch.testing.assert_close(ours, theirs.sum())
    for one, other in zip(gradients(ours, steps, embeddings), gradients(theirs.sum(), steps, embeddings), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_one_step_diverges_from_nothing() -> None:
    steps, embeddings, _ = sample(steps=1)
    assert scoring.divergence(steps, embeddings) == 0


def test_sampled_cross_entropy_is_the_full_one_when_all_items_are_drawn() -> None:
    states, embeddings, targets = sample()
    sampled = scoring.sampled_cross_entropy(states[0], embeddings, targets, torch.arange(len(embeddings)))
    torch.testing.assert_close(sampled, scoring.full_cross_entropy(states[0], embeddings, targets))


def test_each_drawn_item_stands_for_its_share_of_the_catalogue() -> None:
    """Of 4 items with score 0, two are drawn and stand for all 4 beside a target with score ln 4."""
    embeddings = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    found = scoring.sampled_cross_entropy(
        torch.tensor([[math.log(4)]]), embeddings, torch.tensor([0]), torch.tensor([1, 2])
    )
    assert float(found) == pytest.approx(-math.log(4 / (4 + 2 + 2)))


def test_binary_cross_entropy_by_hand() -> None:
    """A target with score ln 3 (sigmoid 3/4) and negatives with scores 0 and -ln 3."""
    embeddings = torch.tensor([[1.0], [0.0], [-1.0]])
    states, targets = torch.tensor([[math.log(3)]]), torch.tensor([0])
    found = scoring.binary_cross_entropy(states, embeddings, targets, torch.tensor([[1, 2]]))
    assert float(found) == pytest.approx(-math.log(3 / 4) - math.log(1 / 2) - math.log(3 / 4))


def test_telling_apart_by_hand() -> None:
    """Two targets, one step, tau 1/2: products over tau are (2, 0) and (0, 4), each its own first."""
    noisy, clean = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    found = contrastive.noise_contrast(noisy, clean, torch.zeros(2, 2, dtype=torch.bool), tau=0.5)
    assert float(found) == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-4))) / 2)


def test_barred_columns_are_nobodys_negatives() -> None:
    states = torch.randn(2, 3, 4)
    assert contrastive.noise_contrast(states, states, ~torch.eye(3, dtype=torch.bool), tau=0.1) == 0

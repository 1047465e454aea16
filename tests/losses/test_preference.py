"""Laws of alignment: GRPO by hand, invariances of its advantages, DPO, distillation, and the pull to the reference."""

import math

import pytest
import torch
from torch import Tensor

from sidestep.losses.preference import advantages, distil, dpo, grpo, kl

REAL = torch.tensor([[True, True, True, False], [True, True, False, False]])


def paths(seed: int = 0) -> Tensor:
    """Log-probabilities of two rows of up to four paths of three codes; `-inf` where there is none."""
    values = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(seed)) - 1
    return values.masked_fill(~REAL[:, :, None], -torch.inf)


def rewards() -> Tensor:
    return torch.tensor([[1.0, 3.0, 2.0, -torch.inf], [0.5, -0.5, -torch.inf, -torch.inf]])


def learning(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


def test_advantages_by_hand() -> None:
    sd = math.sqrt(2 / 3)
    found = advantages(rewards(), REAL)
    torch.testing.assert_close(found[0], torch.tensor([-1 / sd, 1 / sd, 0.0, 0.0]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], torch.tensor([1.0, -1.0, 0.0, 0.0]), rtol=1e-5, atol=1e-5)


def test_a_reward_that_is_scaled_and_moved_is_the_same_and_equal_rewards_teach_nothing() -> None:
    torch.testing.assert_close(advantages(5 * rewards() - 7, REAL), advantages(rewards(), REAL), rtol=1e-4, atol=1e-4)
    policy = learning(paths())
    grpo(policy, paths(1), advantages(torch.full((2, 4), 3.7), REAL), REAL, 0.2, 1.3).backward()
    assert policy.grad is not None
    assert policy.grad.eq(0).all()


@pytest.mark.parametrize("paths_of_a_row", [3, 11, 16])
def test_equal_rewards_of_any_size_are_worth_exactly_nothing(paths_of_a_row: int) -> None:
    level = torch.linspace(-20, 20, 401)[:, None].expand(-1, paths_of_a_row)
    assert not advantages(level, torch.ones(level.shape, dtype=torch.bool)).any()


def test_at_the_reference_the_gradient_is_reinforces_with_a_baseline() -> None:
    """-A grad log pi, over the number of paths and of codes."""
    policy, advantage = learning(paths()), advantages(rewards(), REAL)
    grpo(policy, paths(), advantage, REAL, 0.2, 1.3).backward()
    expected = (-advantage / REAL.sum() / 3)[:, :, None].expand(-1, -1, 3).where(REAL[:, :, None], 0)
    torch.testing.assert_close(policy.grad, expected)


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "slope"),
    [
        (1.1, 2.0, 2.2, 2.2),  # inside the clip: rho A, and its gradient in log pi is the same
        (1.5, 2.0, 2.4, 0.0),  # a path that is likely enough pays no more
        (0.5, 2.0, 1.0, 1.0),  # one that became unlikely is called back
        (0.5, -2.0, -1.6, 0.0),  # unlikely enough
        (1.25, -2.0, -2.5, -2.5),  # pushed down as hard as it is likely ...
        (9.0, -2.0, -2.6, -2.6),  # ... up to the cap
    ],
)
def test_clip_and_cap_by_hand(ratio: float, advantage: float, gain: float, slope: float) -> None:
    reference = torch.tensor([[[-2.0]]])
    policy = learning(reference + math.log(ratio))
    real = torch.ones(1, 1, dtype=torch.bool)
    loss = grpo(policy, reference, torch.tensor([[advantage]]), real, 0.2, 1.3)
    loss.backward()
    torch.testing.assert_close(loss.item(), -gain, rtol=1e-5, atol=1e-5)
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad.item(), -slope, rtol=1e-5, atol=1e-5)


def test_dpo_by_hand_takes_the_best_and_the_worst_path_and_no_row_without_a_choice() -> None:
    policy, reference = paths(), paths(1)
    best, worst = (policy - reference)[0, 1].sum(), (policy - reference)[0, 0].sum()
    expected = -math.log(1 / (1 + math.exp(-0.1 * float(best - worst))))
    level = torch.tensor([[1.0, 3.0, 2.0, 9.0], [4.0, 4.0, 9.0, 9.0]])
    found = dpo(policy, reference, level, REAL, 0.1)
    torch.testing.assert_close(found.item(), expected, rtol=1e-5, atol=1e-5)
    learnt = learning(policy)
    dpo(learnt, reference, level, REAL, 0.1).backward()
    assert learnt.grad is not None
    assert learnt.grad[0, 1].lt(0).all()
    assert learnt.grad[0, 0].gt(0).all()
    assert learnt.grad[0, 2].eq(0).all()
    assert learnt.grad[1].eq(0).all()


def test_distillation_is_over_when_the_paths_are_as_likely_as_the_reward_says() -> None:
    wanted = (rewards() / 2).masked_fill(~REAL, -torch.inf).log_softmax(1)
    policy = learning((wanted / 3)[:, :, None].expand(-1, -1, 3))
    loss = distil(policy, rewards(), REAL, tau=2.0)
    loss.backward()
    entropy = -(wanted.exp() * wanted).where(REAL, 0).sum(1).mean()
    torch.testing.assert_close(loss, entropy)
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, torch.zeros_like(policy.grad), rtol=0, atol=1e-6)


def test_the_divergence_is_0_at_the_reference_and_only_there() -> None:
    assert kl(paths(), paths(), REAL).item() == 0
    policy = learning(paths())
    kl(policy, paths(), REAL).backward()
    assert policy.grad is not None
    assert policy.grad.eq(0).all()
    assert kl(paths(), paths(1), REAL) > 0


def test_in_a_world_of_two_paths_grpo_finds_the_better_one_and_a_heavy_divergence_lets_nothing_move() -> None:
    reference = torch.tensor([0.3, 0.7]).log()
    advantage, real = advantages(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)), torch.ones(1, 2) > 0
    ends = []
    for weight in (0.0, 1.0, 1e4):
        logits = learning(reference)
        optimizer = torch.optim.SGD([logits], lr=1.0 / (1 + weight))
        for _ in range(120):
            policy = logits.log_softmax(0)[None, :, None]
            loss = grpo(policy, reference[None, :, None], advantage, real, 0.2, 1.3)
            loss = loss + weight * kl(policy, reference[None, :, None], real)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends.append(logits.detach().softmax(0)[0].item())
    assert ends[0] > 0.36 - 1e-3  # the clip of .2 pays no further than 1.2 times .3
    assert 0.3 < ends[1] < ends[0]
    assert abs(ends[2] - 0.3) < 1e-3

"""Balanced codes: the plan's column sums, and what stays as it was."""

import pytest
import torch

from sidestep.sids.sinkhorn import balanced, biases, plan


def crowded(number: int, codes: int, seed: int = 0) -> torch.Tensor:
    """Logits of which a few codes are the largest for nearly all items."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, codes, generator=generator) + 3 * torch.randn(codes, generator=generator)


@pytest.mark.parametrize(("number", "codes"), [(400, 16), (64, 64), (50, 7)])
def test_every_code_gets_its_share_of_the_plan_and_every_item_one(number: int, codes: int) -> None:
    logits = crowded(number, codes)
    shares = plan(logits, biases(logits, 0.1, 100), 0.1)
    torch.testing.assert_close(shares.sum(1), torch.ones(number, dtype=torch.float64))
    even = torch.full((codes,), number / codes, dtype=torch.float64)
    torch.testing.assert_close(shares.sum(0), even, rtol=1e-3, atol=0)


def test_all_codes_are_used_where_plain_logits_use_a_few() -> None:
    logits = crowded(400, 16)
    assert len(logits.argmax(1).unique()) < 12
    counts = balanced(logits, 0.05, 50).bincount(minlength=16)
    assert counts.min() >= 15
    assert counts.max() <= 40


def test_as_many_codes_as_distinct_items_are_dealt_one_to_each() -> None:
    logits = crowded(9, 9)
    assert balanced(logits, 0.05, 50).bincount(minlength=9).tolist() == [1] * 9


def test_even_codes_stay_as_they_are() -> None:
    logits = 5 * torch.eye(8).repeat(4, 1)
    assert torch.equal(balanced(logits, 0.05, 50), logits.argmax(1))


def test_a_bias_moves_with_its_code_and_doubled_logits_change_no_code() -> None:
    logits = crowded(120, 12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(biases(logits[:, order], 0.05, 20), biases(logits, 0.05, 20)[order])
    assert torch.equal(balanced(2 * logits, 0.05, 20), balanced(logits, 0.05, 20))


def test_equal_logits_and_a_single_item_have_no_bias() -> None:
    for logits in (torch.ones(6, 3), torch.ones(1, 1)):
        assert not biases(logits, 0.05, 5).any()

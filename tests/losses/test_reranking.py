"""Equations of re-rankers, by hand."""

import math

import pytest
import torch

from sidestep.losses.reranking import listwise


def test_the_listwise_loss_is_the_mean_surprise_at_what_was_taken() -> None:
    scores = torch.tensor([[math.log(3.0), 0.0], [0.0, -torch.inf]])
    expected = -(math.log(1 / 4) + math.log(1.0)) / 2
    assert float(listwise(scores, torch.tensor([1, 0]))) == pytest.approx(expected)


def test_its_gradient_is_the_probability_minus_what_was_taken() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    listwise(scores, torch.tensor([2])).backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, scores.detach().softmax(1) - torch.tensor([[0.0, 0.0, 1.0]]))

"""bf16 training computes what fp32 does, to bf16's precision, and keeps the weights and the losses in fp32."""

from functools import partial

import pytest
import torch

from sidestep.generators.thinking import ThinkingConfig
from sidestep.objectives import generating
from small_world import make, make_batch, make_sids


@pytest.mark.parametrize(("encoder", "history"), [("causal", "items"), ("causal", "codes")])
def test_losses_under_bf16_are_near_those_in_fp32(encoder: str, history: str) -> None:
    model = make("s2gr", encoder=encoder, history=history)
    clusters = [torch.from_numpy(cluster) for cluster in make_sids().clusters]
    objective = partial(generating.s2gr, thinking=ThinkingConfig(), clusters=clusters)
    exact = objective(model, make_batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = objective(model, make_batch())
    for name, value in exact.items():
        if not name.startswith("thought_accuracy"):
            assert rounded[name].dtype == torch.float32
            assert rounded[name].item() == pytest.approx(value.item(), abs=0.15), name
    rounded["total"].backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())

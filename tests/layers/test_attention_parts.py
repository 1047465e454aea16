"""Laws of gates, of normed queries and keys, and of histories without encoder blocks."""

import math

import pytest
import torch
from torch import Tensor, nn

from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.layers.attention import Attention, AttentionParts, CrossAttention, OutputGate, SelfAttention
from sidestep.layers.context import LazyContext
from sidestep.layers.state import additive, first_positions
from small_world import make, make_batch

WIDTH, HEADS, HEAD_WIDTH = 12, 3, 4
PARTS = [AttentionParts("head"), AttentionParts("element"), AttentionParts("head", True), AttentionParts("none", True)]
FORMS = [{"gate": "head"}, {"gate": "element"}, {"gate": "head", "qk_norm": True}, {"encoder": "lazy"}]


def awake(module: nn.Module) -> nn.Module:
    """With gates and gains that differ from those of the start."""
    for part in module.modules():
        if isinstance(part, OutputGate):
            nn.init.normal_(part.projection.weight)
        elif isinstance(part, nn.RMSNorm):
            nn.init.uniform_(part.weight, 0.5, 2.0)
    return module


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Queries, a history, and what each query sees of it."""
    torch.manual_seed(0)
    mask = additive(first_positions(torch.tensor([[1, 2, 3, 4, 5], [7, 7, 7, 6, 1]]), 7))
    return torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH), mask


@torch.no_grad()
@pytest.mark.parametrize("gate", ["head", "element"])
def test_a_gate_of_a_half_halves_the_output_projection(gate: str) -> None:
    x, memory, mask = inputs()
    gated = Attention(WIDTH, HEADS, HEAD_WIDTH, 0.0, AttentionParts(gate))  # type: ignore[arg-type]
    plain = Attention(WIDTH, HEADS, HEAD_WIDTH, 0.0)
    plain.load_state_dict({name: value for name, value in gated.state_dict().items() if "gate" not in name})
    plain.out.weight /= 2
    found, expected = (each(x, *each.keys_values(memory), mask[:, None]) for each in (gated, plain))
    torch.testing.assert_close(found, expected)


def test_a_gate_for_each_head_commutes_with_folding_and_what_does_not_is_not_folded() -> None:
    x, memory, mask = inputs()
    for parts in PARTS:
        cross = awake(CrossAttention(WIDTH, HEADS, HEAD_WIDTH, 0.0, parts))
        assert isinstance(cross, CrossAttention)
        many, few = cross.remember(memory[:, :4], None), cross.remember(memory[:, :4], 1)
        assert (many.folded, few.folded) == (parts == AttentionParts("head"), False)
        answers = [cross.look(x, remembered, mask[:, :, :4]) for remembered in (many, few)]
        torch.testing.assert_close(*answers)
        gradients = [torch.autograd.grad(answer.square().sum(), list(cross.parameters())) for answer in answers]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


@torch.no_grad()
def test_with_normed_queries_and_keys_products_are_bounded_and_scales_change_nothing() -> None:
    x, memory, mask = inputs()
    attention = awake(Attention(WIDTH, HEADS, HEAD_WIDTH, 0.0, AttentionParts(qk_norm=True)))
    assert isinstance(attention, Attention)
    assert attention.norm is not None
    before = attention(x, *attention.keys_values(memory), mask[:, None])
    attention.query.weight *= 100
    attention.key.weight *= 50
    torch.testing.assert_close(
        attention(x, *attention.keys_values(memory), mask[:, None]), before, rtol=1e-4, atol=1e-5
    )
    products = attention._query(1e3 * x).transpose(1, 2) @ attention._keys(1e3 * memory).permute(0, 2, 3, 1)
    bound = math.sqrt(HEAD_WIDTH) * (attention.norm.query.weight * attention.norm.key.weight).abs().max()
    assert products.abs().max() <= bound * (1 + 1e-5)
    assert products.abs().max() > bound / 10


@torch.no_grad()
@pytest.mark.parametrize("parts", PARTS)
def test_a_beams_step_is_the_last_row_of_a_pass(parts: AttentionParts) -> None:
    x, _, _ = inputs()
    attention = awake(SelfAttention(WIDTH, HEADS, HEAD_WIDTH, 0.0, parts))
    assert isinstance(attention, SelfAttention)
    bias = torch.randn(1, HEADS, 5, 5)
    causal = bias + additive(torch.ones(5, 5).tril().bool())
    whole = attention(x, *attention.keys_values(x), causal)
    path: list[tuple[Tensor, Tensor]] = []
    for place in range(5):
        out, own = attention.step(x[:, place : place + 1], path, bias[0, :, place, : place + 1].T)
        path.append(own)
        torch.testing.assert_close(out[:, 0], whole[:, place])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["tiger", "s2gr", "tiger-mtp"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_search_says_what_forced_paths_say_and_nothing_sees_what_is_later(kind: str, form: dict[str, object]) -> None:
    model = awake(make(kind, **form))
    assert isinstance(model, EncoderDecoder)
    if form.get("encoder") == "lazy":
        nn.init.normal_(model.encoder.bias.weight)
    batch, items = make_batch(), torch.tensor([[3], [7], [11], [20]])
    forced = model.path_log_probs(batch, items)[:, 0]
    codes, state = model.vocabulary.codes(model.tokens[items[:, 0]].long()), model.start(batch)
    for level in range(3):
        log_probs, state = model.step(state, codes[:, level - 1 : level] if level else None)
        torch.testing.assert_close(log_probs[:, 0].gather(1, codes[:, level : level + 1])[:, 0], forced[:, level])
    before = model(batch).logits[0]
    batch.history[0, 3] = (batch.history[0, 3] + 1) % 40
    changed = (model(batch).logits[0] - before).abs().amax(1) > 1e-6
    assert changed[:6].tolist() == [False] * 3 + [True] * 3


@torch.no_grad()
def test_without_a_bias_the_order_of_older_items_is_not_told() -> None:
    model = make("tiger", encoder="lazy")
    assert isinstance(model.encoder, LazyContext)
    batch, swapped, items = make_batch(), make_batch(), torch.tensor([[3], [7], [11], [20]])
    swapped.history[0, :5] = batch.history[0, :5].flip(0)
    for told in (True, False):
        if not told:
            nn.init.zeros_(model.encoder.bias.weight)
        same = torch.allclose(model.path_log_probs(batch, items), model.path_log_probs(swapped, items), atol=1e-6)
        assert same != told


def test_the_bias_counts_from_the_last_item_that_a_query_sees() -> None:
    context = LazyContext(8, 2, 0.0)
    nn.init.normal_(context.bias.weight)
    seen = first_positions(torch.tensor([[2, 4]]), 4)
    found, weight = context.by_recency(seen)[0], context.bias.weight
    for query, last in ((0, 1), (1, 3)):
        for place in range(last + 1):
            torch.testing.assert_close(found[query, :, place], weight[last - place])

"""Laws of the layers: the cheap way and the plain way give one answer."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidestep.layers import products
from sidestep.layers.attention import Attention, CrossAttention, RowProduct
from sidestep.layers.blocks import Decoder
from sidestep.layers.dropout import Dropout
from sidestep.layers.products import fast_products
from sidestep.layers.state import BeamCache, Cache, additive, first_positions

WIDTH, HEADS, HEAD_WIDTH = 12, 3, 4
BATCH, QUERIES, MEMORY = 2, 5, 7


def seen() -> Tensor:
    """Two histories of which the queries see different stretches."""
    return first_positions(torch.tensor([[1, 2, 3, 4, 5], [7, 7, 7, 6, 1]]), MEMORY)


def test_attention_is_the_fused_one() -> None:
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS, HEAD_WIDTH, dropout=0.0)
    x, memory, mask = torch.randn(BATCH, QUERIES, WIDTH), torch.randn(BATCH, MEMORY, WIDTH), additive(seen())
    keys, values = attention.keys_values(memory)
    query = attention.query(x).view(BATCH, QUERIES, HEADS, HEAD_WIDTH).transpose(1, 2)
    fused = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask[:, None], scale=1.0)
    plain = attention.out(fused.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, keys, values, mask[:, None]), plain)


def test_one_query_has_the_gradients_of_a_plain_product() -> None:
    torch.manual_seed(0)
    rows, matrix = (
        torch.randn(BATCH, HEADS, 1, 4, requires_grad=True),
        torch.randn(BATCH, HEADS, 4, 5, requires_grad=True),
    )
    weights = torch.randn(BATCH, HEADS, 1, 5)
    ours = torch.autograd.grad((RowProduct.apply(rows, matrix) * weights).sum(), (rows, matrix))
    plain = torch.autograd.grad((rows @ matrix * weights).sum(), (rows, matrix))
    for gradient, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(gradient, expected)


def test_projections_folded_into_the_history_change_no_answer_and_no_gradient() -> None:
    torch.manual_seed(0)
    cross = CrossAttention(WIDTH, HEADS, HEAD_WIDTH, dropout=0.0)
    x, encoded, mask = torch.randn(BATCH, QUERIES, WIDTH), torch.randn(BATCH, MEMORY, WIDTH), additive(seen())
    answers, gradients = [], []
    for queries in (None, 1):
        remembered = cross.remember(encoded[:, :4], queries)
        assert remembered.folded == (queries is None)
        answer = cross.look(x, remembered, mask[:, :, :4])
        cross.zero_grad()
        answer.square().sum().backward()
        answers.append(answer)
        gradients.append([parameter.grad.clone() for parameter in cross.parameters() if parameter.grad is not None])
    torch.testing.assert_close(*answers)
    assert len(gradients[0]) == 4
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("memory", "queries"), [(5, None), (6, None), (3, 12), (4, 12), (1, 1)])
def test_the_cheaper_of_both_ways_is_taken(memory: int, queries: int | None) -> None:
    """Counted in multiply-adds; D = 12, d = 4 and H = 3 here."""
    asked = queries or 10**9
    over = 2 * HEADS * memory * WIDTH * asked + 2 * HEADS * HEAD_WIDTH * WIDTH * memory
    kept = 2 * HEADS * HEAD_WIDTH * (WIDTH + memory) * asked
    remembered = CrossAttention(WIDTH, HEADS, HEAD_WIDTH, 0.0).remember(torch.randn(1, memory, WIDTH), queries)
    assert remembered.folded == (over < kept)


def test_steps_of_beams_equal_one_pass_over_their_paths() -> None:
    """Three tokens; the second and third beams go on from chosen parents, the first token is shared by all."""
    torch.manual_seed(0)
    decoder = Decoder(WIDTH, HEADS, HEAD_WIDTH, 16, num_layers=2, dropout=0.0).eval()
    nn.init.normal_(decoder.bias.weight)
    encoded, everything = torch.randn(BATCH, MEMORY, WIDTH), torch.ones(BATCH, 4, MEMORY, dtype=torch.bool)
    memory, of_targets = decoder.remember(encoded, everything[:, :1]), decoder.remember(encoded, everything)
    first, second, third = (torch.randn(BATCH, beams, WIDTH) for beams in (1, 3, 4))
    parents, grandparents = torch.tensor([[2, 0, 0, 1], [1, 1, 2, 0]]), torch.zeros(BATCH, 3, dtype=torch.int64)
    _, cache = decoder.step(first, memory, BeamCache())
    _, cache = decoder.step(second, memory, cache.select(grandparents))
    stepped, _ = decoder.step(third, memory, cache.select(parents))
    heard = second.gather(1, parents[:, :, None].expand(-1, -1, WIDTH))
    paths = torch.stack([first.expand(-1, 4, -1), heard, third], dim=2)
    in_one_pass, _ = decoder(paths, of_targets, Cache())
    torch.testing.assert_close(stepped, in_one_pass[:, :, 2])


def test_gradients_gathered_over_passes_are_the_sum_of_those_of_every_pass() -> None:
    """Three passes, the later ones fed with outputs of the earlier ones; the last state leaves one of them unread."""
    torch.manual_seed(0)
    decoder = Decoder(WIDTH, HEADS, HEAD_WIDTH, 16, num_layers=2, dropout=0.0)
    tokens, weights = torch.randn(BATCH, QUERIES, 4, WIDTH), torch.randn(BATCH, QUERIES, 2, WIDTH)
    outcomes = []
    for gathers in (False, True):
        encoded = torch.linspace(-1, 1, BATCH * 4 * WIDTH).view(BATCH, 4, WIDTH).sin().requires_grad_()
        memory = decoder.remember(encoded, seen()[:, :, :4], queries=1)
        memory = memory.gathered() if gathers else memory
        assert (memory.layers[0].pending is not None) == gathers
        first, cache = decoder(tokens[:, :, :1], memory, Cache())
        second, cache = decoder(torch.cat([first, tokens[:, :, 1:2]], 2), memory, cache)
        third, _ = decoder(second[:, :, 1:] + tokens[:, :, 2:3], memory, cache)
        loss = (torch.cat([second[:, :, :1], third], 2) * weights).sum()
        gradients = torch.autograd.grad(loss, [encoded, *decoder.parameters()], retain_graph=gathers)
        outcomes.append((loss.detach(), *gradients))
        if gathers:  # a second time through the same graph
            again = torch.autograd.grad(loss, [encoded])
            torch.testing.assert_close(again[0], gradients[0])
    torch.testing.assert_close(outcomes[1], outcomes[0], atol=1e-5, rtol=1e-4)
    assert all(value.abs().max() > 1e-3 for value in outcomes[0])


def test_nothing_is_gathered_of_folded_histories_and_where_there_are_no_gradients() -> None:
    decoder = Decoder(WIDTH, HEADS, HEAD_WIDTH, 16, num_layers=1, dropout=0.0)
    encoded = torch.randn(BATCH, 4, WIDTH)
    folded = decoder.remember(encoded, seen()[:, :, :4])
    with torch.no_grad():
        kept = decoder.remember(encoded, seen()[:, :, :4], queries=1)
    assert (folded.layers[0].folded, kept.layers[0].folded) == (True, False)
    assert folded.gathered().layers[0].pending is kept.gathered().layers[0].pending is None


def test_choosing_twice_is_choosing_from_the_chosen() -> None:
    torch.manual_seed(0)
    tokens = [(torch.randn(BATCH, 1, HEADS, 4),) * 2, (torch.randn(BATCH, 3, HEADS, 4),) * 2]
    one, two = torch.tensor([[2, 2, 1], [0, 1, 2]]), torch.tensor([[1, 0], [2, 2]])
    twice = BeamCache([tokens]).select(one).select(two).path(0)
    once = BeamCache([tokens]).select(one.gather(1, two)).path(0)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(twice, once, strict=True))
    assert twice[0][0] is tokens[0][0]  # what all beams share is not copied


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(0.1), torch.ones(1000, 999)
    dropped = dropout(x)
    share = float((dropped == 0).float().mean())
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / x.numel()) ** 0.5 + 2**-16
    assert set(dropped.unique().tolist()) == {0.0, dropped.max().item()}
    assert dropped.max().item() == pytest.approx(1 / 0.9, abs=1e-4)
    assert dropped.double().mean().item() == pytest.approx(1, abs=2e-3)


def test_dropout_hangs_on_the_seed_alone_and_not_on_neighbours() -> None:
    x = torch.ones(64, 64)
    torch.manual_seed(1)
    first = Dropout(0.5)(x)
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.5)(x), first)
    columns = (first > 0).float()
    together = (columns.T @ columns / 64).fill_diagonal_(0.25)  # four elements share a draw: they must not agree
    assert abs(together.mean().item() - 0.25) < 0.01
    assert together.max().item() < 0.5


def test_dropout_passes_gradients_where_it_passes_values() -> None:
    x = torch.ones(8, 33, requires_grad=True)
    dropped = Dropout(0.3)(x)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())


def test_nothing_is_dropped_outside_of_training() -> None:
    x = torch.randn(3, 3)
    assert Dropout(0.9).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_fast_products_have_the_error_of_float32_and_leave_no_trace() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(64, 1024), torch.randn(1024, 64)
    exact = a.double() @ b.double()
    setting = products._switch().fp32_precision
    with fast_products(), fast_products():
        error = (a @ b - exact).abs().max() / exact.abs().max()
    assert error < products.FLOAT32_ERROR
    assert products._switch().fp32_precision == setting
    with pytest.raises(RuntimeError), fast_products():
        raise RuntimeError
    assert products._switch().fp32_precision == setting

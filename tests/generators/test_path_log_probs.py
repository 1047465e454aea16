"""The score of a given item: every generator forces its path to the numbers that a search of all paths gives."""

import pytest
import torch

from fused_world import make_fused
from sidestep.data.sequences import NO_ITEM
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.search.beam import beam_search
from sidestep.sids.trie import Permitted, Trie
from small_world import THINKING, make, make_batch, make_sids

NUM_ITEMS = 40
KINDS = ["tiger", "silent", "fused", *THINKING]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def generator(kind: str, **changes: object) -> EncoderDecoder:
    return make_fused(**changes) if kind == "fused" else make(kind, **changes)


@torch.no_grad()
@pytest.mark.parametrize("history", ["items", "codes"])
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_forced_paths_have_the_log_probabilities_of_an_exhaustive_search(kind: str, encoder: str, history: str) -> None:
    model, batch, sids = generator(kind, encoder=encoder, history=history), make_batch(), make_sids()
    trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
    beams = beam_search(model, batch, Permitted(trie), num_beams=NUM_ITEMS)
    items = trie.items_under(beams.nodes)[:, :, 0]  # the first item of each path; the paths differ
    assert (items >= 0).sum() == len(batch) * trie.num_nodes(3)
    forced = model.path_log_probs(batch, items)
    found = items >= 0
    torch.testing.assert_close(forced[found], beams.log_probs[found], atol=1e-5, rtol=0)
    torch.testing.assert_close(forced.sum(2)[found], beams.scores[found], atol=1e-5, rtol=0)


@torch.no_grad()
def test_places_without_an_item_are_minus_infinity_and_change_no_other(kind: str) -> None:
    model, batch = generator(kind), make_batch()
    items = torch.tensor([[3, NO_ITEM, 7], [NO_ITEM] * 3, [1, 2, NO_ITEM], [NO_ITEM, NO_ITEM, 9]])
    forced = model.path_log_probs(batch, items)
    assert torch.equal(forced.isinf().all(2), items < 0)
    assert torch.equal(forced.isinf().any(2), items < 0)
    assert torch.equal(model.forced(batch, items).rows, torch.tensor([0, 0, 2, 2, 3]))
    alone = model.path_log_probs(batch.take(torch.tensor([3])), torch.tensor([[9]]))
    torch.testing.assert_close(forced[3, 2], alone[0, 0])


@torch.no_grad()
def test_permuted_items_have_permuted_log_probabilities(kind: str) -> None:
    model, batch = generator(kind), make_batch()
    items = torch.arange(12).expand(4, -1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    forced = model.path_log_probs(batch, items)
    torch.testing.assert_close(model.path_log_probs(batch, items[:, order]), forced[:, order], atol=1e-6, rtol=0)


def test_gradients_reach_the_generator_and_are_finite_beside_padding(kind: str) -> None:
    model, batch = generator(kind), make_batch()
    items = torch.tensor([[3, NO_ITEM], [5, 6], [1, 2], [NO_ITEM, 9]])
    model.path_log_probs(batch, items)[items >= 0].sum().backward()
    gradients = [each.grad for each in (model.code_embedding.weight, model.begin)]
    assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients)


@torch.no_grad()
def test_probabilities_of_all_codes_of_a_level_add_up_to_one() -> None:
    """Over the full codebook: a level's codes that no item has keep their share."""
    model, batch = make("s2gr"), make_batch()
    logits = model.forced(batch, torch.arange(4)[:, None]).logits
    first = model.path_log_probs(batch, torch.arange(NUM_ITEMS).expand(4, -1))[:, :, 0]
    codes = torch.from_numpy(make_sids().codes[:, 0])
    for row in range(4):
        by_hand = logits[0][row].exp() / logits[0][row].exp().sum()
        torch.testing.assert_close(first[row].exp(), by_hand[codes])

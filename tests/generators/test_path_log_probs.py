"""The score of a given item: every generator forces its path to the numbers that a search of all paths gives."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from fused_world import make_fused
from sidestep.data.sequences import NO_ITEM
from sidestep.generators.encoder_decoder import EncoderDecoder
from sidestep.search.beam import beam_search
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Permitted, Trie
from small_world import THINKING, make, make_batch, make_sids

NUM_ITEMS = 40
KINDS = ["tiger", "tiger-mtp", "s2gr-mtp", "silent", "fused", *THINKING]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def generator(kind: str, **changes: object) -> EncoderDecoder:
    return make_fused(**changes) if kind == "fused" else make(kind, **changes)


@torch.no_grad()
@pytest.mark.parametrize("softmax", ["codebook", "trie"])
@pytest.mark.parametrize("history", ["items", "codes"])
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_forced_paths_have_the_log_probabilities_of_an_exhaustive_search(
    kind: str, encoder: str, history: str, softmax: str
) -> None:
    model = generator(kind, encoder=encoder, history=history, softmax=softmax)
    batch, sids = make_batch(), make_sids()
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


@torch.no_grad()
def test_in_the_trie_the_probabilities_of_all_ids_add_up_to_one(kind: str) -> None:
    """Whatever is thought, no probability is spent on an ID that no item has; on the full codebook most of it is."""
    first_of_each = sorted({tuple(path): item for item, path in enumerate(make_sids().codes.tolist())}.values())
    items = torch.tensor([first_of_each]).expand(4, -1)
    for softmax, whole in (("trie", True), ("codebook", False)):
        sums = generator(kind, softmax=softmax).path_log_probs(make_batch(), items).sum(2).exp().sum(1)
        assert torch.allclose(sums, torch.ones(4), atol=1e-5) == whole
        assert (sums <= 1 + 1e-5).all()


@torch.no_grad()
def test_a_code_without_alternative_is_certain_in_the_trie(kind: str) -> None:
    sids = make_sids()
    trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
    items = torch.arange(NUM_ITEMS)
    alone = torch.stack([trie.span(level, trie.node_of_item(level, items))[1] == 1 for level in range(3)], 1)
    log_probs = generator(kind, softmax="trie").path_log_probs(make_batch(), items.expand(4, -1))
    assert alone.any()
    assert torch.equal(log_probs == 0, alone.expand_as(log_probs))


@torch.no_grad()
def test_a_further_item_shares_the_probability_of_its_siblings_and_moves_no_other(kind: str) -> None:
    """The weights stay; the model of a later version is built for its IDs, and its search for its trie."""
    sids, path = make_sids(), next(iter(free_siblings(make_sids())))
    later = replace(sids, codes=np.concatenate([sids.codes, [path]]))
    before, after = (generator(kind, softmax="trie", sids=some) for some in (sids, later))
    after.load_state_dict(before.state_dict())
    items, batch = torch.arange(NUM_ITEMS).expand(4, -1), make_batch()
    old, new = (model.path_log_probs(batch, items) for model in (before, after))
    siblings = torch.from_numpy((sids.codes[:, :2] == path[:2]).all(1))
    assert (new[:, siblings, 2] < old[:, siblings, 2]).all()
    assert torch.equal(new[:, ~siblings], old[:, ~siblings])
    assert torch.equal(new[..., :2], old[..., :2])
    trie = Trie.build(torch.from_numpy(later.codes), later.codebook_sizes)
    beams = beam_search(after, batch, Permitted(trie), num_beams=NUM_ITEMS + 1)
    at = (trie.items_under(beams.nodes) == NUM_ITEMS).any(2)
    forced = after.path_log_probs(batch, torch.full((4, 1), NUM_ITEMS))
    torch.testing.assert_close(beams.scores[at], forced.sum(2)[:, 0], atol=1e-5, rtol=0)


def free_siblings(sids: SemanticIds) -> Iterator[list[int]]:
    """Paths that no item has, beside an item's last code."""
    taken = sids.codes.tolist()
    for first, second, _ in taken:
        yield from (
            [first, second, last] for last in range(sids.codebook_sizes[2]) if [first, second, last] not in taken
        )

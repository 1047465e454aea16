"""Siblings are the trie's children above every item's own code, and nothing else."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.siblings import Siblings
from sidestep.sids.trie import NOWHERE, Allowed, Permitted, Trie
from small_world import SIZES, make_sids


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_siblings_are_the_codes_that_some_item_has_behind_the_same_prefix(number: int, seed: int) -> None:
    sids = make_sids(number, seed=seed)
    siblings, paths = Siblings(sids), sids.codes.tolist()
    items = torch.arange(number)
    for level, size in enumerate(SIZES):
        codes, exists = siblings.of(level, items)
        logits = torch.arange(size).expand(number, -1).float()
        chosen, places = siblings.logits(level, items, logits)
        for item, path in enumerate(paths):
            behind = sorted({other[level] for other in paths if other[:level] == path[:level]})
            assert codes[item, exists[item]].tolist() == behind
            assert chosen[item, exists[item]].tolist() == behind
            assert chosen[item, ~exists[item]].isneginf().all()
            assert chosen[item, places[item]] == path[level]


def test_siblings_and_the_searchs_children_are_the_same_choice() -> None:
    sids = make_sids()
    trie, siblings = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes), Siblings(sids)
    items = torch.arange(len(sids))
    for level in range(3):
        children = Permitted(trie).children(level, trie.node_of_item(level, items)[None])
        codes, exists = siblings.of(level, items)
        width = children.codes.shape[2]
        assert torch.equal(exists[:, :width], children.exists[0])
        assert torch.equal(codes[exists], children.codes[0][children.exists[0]])


def test_a_filter_closes_children_and_leaves_them_in_existence() -> None:
    sids = make_sids()
    trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
    nodes = torch.tensor([[0, NOWHERE]])
    free = Permitted(trie).children(0, nodes)
    nothing = Allowed.of(trie, torch.zeros(40, dtype=torch.bool))
    barred = Permitted(trie, nothing, torch.tensor([[1]])).children(0, nodes)
    assert torch.equal(barred.exists, free.exists)
    assert free.exists[0, 0].all()
    assert not free.exists[0, 1].any()
    assert not barred.open.any()


def test_nothing_of_it_is_saved_and_further_items_bring_further_choices() -> None:
    sids = make_sids()
    further = SemanticIds(
        np.concatenate([sids.codes, sids.codes[:1]]), sids.codebook_sizes, sids.codebooks, sids.clusters
    )
    further.codes[-1, 2] = next(
        code for code in range(SIZES[2]) if [*sids.codes[0, :2], code] not in sids.codes.tolist()
    )
    before, after = (Siblings(some).of(2, torch.tensor([0]))[1].sum() for some in (sids, further))
    assert after == before + 1
    assert not Siblings(sids).state_dict()

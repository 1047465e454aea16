"""A filter means the same, however it is given."""

import torch

from sidestep.recommenders.recommender import ItemFilter
from sidestep.sids.trie import Allowed, Trie


def test_a_filter_laid_over_a_trie_bars_the_items_of_its_mask() -> None:
    trie = Trie.build(torch.tensor([[2], [0], [1], [0]]), (3,))
    items, excluded = torch.tensor([True, False, True, True]), torch.tensor([[0, -1], [-1, -1]])
    laid = ItemFilter(excluded, Allowed.of(trie, items))
    assert laid.mask(2, 4).tolist() == [[False, False, True, True], [True, False, True, True]]
    assert torch.equal(laid.mask(2, 4), ItemFilter(excluded, items).mask(2, 4))
    second = laid.take(torch.tensor([1])).to(torch.device("cpu"))
    assert second.mask(1, 4).tolist() == [[True, False, True, True]]

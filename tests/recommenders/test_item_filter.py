"""A filter means the same, however it is given."""

import pytest
import torch
from torch import Tensor

from sidestep.recommenders.recommender import ItemFilter
from sidestep.sids.trie import Allowed, Trie


def test_a_filter_laid_over_a_trie_bars_the_items_of_its_mask() -> None:
    trie = Trie.build(torch.tensor([[2], [0], [1], [0]]), (3,))
    items, excluded = torch.tensor([True, False, True, True]), torch.tensor([[0, -1], [-1, -1]])
    barred = ItemFilter(excluded, items)
    leaves = torch.arange(3).expand(2, -1)  # items 1 and 3, then 2, then 0
    assert barred.mask(2, 4).tolist() == [[False, False, True, True], [True, False, True, True]]
    assert barred.on(trie).items_under(leaves).tolist() == [[[-1, 3], [2, -1], [-1, -1]], [[-1, 3], [2, -1], [0, -1]]]
    second = barred.take(torch.tensor([1]))
    assert second.mask(1, 4).tolist() == [[True, False, True, True]]
    assert second.on(trie).items_under(leaves[:1]).tolist() == [[[-1, 3], [2, -1], [0, -1]]]


def test_a_filter_without_conditions_leaves_the_whole_trie() -> None:
    trie = Trie.build(torch.tensor([[2], [0]]), (3,))
    assert ItemFilter().on(trie).items_under(torch.tensor([[0, 1]])).tolist() == [[[1], [0]]]
    assert ItemFilter().take(torch.tensor([0, 0])).mask(2, 2).all()


def test_the_allowed_items_are_laid_once_for_all_rows_and_exclusions(monkeypatch: pytest.MonkeyPatch) -> None:
    trie, other = (Trie.build(torch.tensor([[2], [0], [1], [0]]), (3,)) for _ in range(2))
    laid: list[Trie] = []
    of = Allowed.of

    def counted(trie: Trie, items: Tensor) -> Allowed:
        laid.append(trie)
        return of(trie, items)

    monkeypatch.setattr(Allowed, "of", counted)
    barred = ItemFilter(torch.tensor([[0], [3]]), torch.tensor([True, False, True, True]))
    for some in (barred, barred.take(torch.tensor([1])), barred.excluding(None), barred):
        some.on(trie)
    assert laid == [trie]
    barred.on(other)  # another catalogue's tree is no mistake
    assert len(laid) == 2
    assert laid[1] is other

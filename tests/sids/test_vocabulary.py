import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.sids.vocabulary import Vocabulary

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@given(SIZES, st.integers(0, 2**32), st.integers(0, 5))
def test_codes_undo_tokens(sizes: list[int], seed: int, rows: int) -> None:
    vocabulary, generator = Vocabulary(sizes), torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(size, (rows,), generator=generator) for size in sizes], dim=-1)
    assert torch.equal(vocabulary.codes(vocabulary.tokens(codes)), codes)


@given(SIZES)
def test_every_code_of_every_level_has_its_own_token_and_none_is_left_over(sizes: list[int]) -> None:
    vocabulary = Vocabulary(sizes)
    tokens = []
    for level, size in enumerate(sizes):
        codes = torch.zeros(size, len(sizes), dtype=torch.int64)
        codes[:, level] = torch.arange(size)
        tokens += vocabulary.tokens(codes)[:, level].tolist()
        assert list(range(len(vocabulary)))[vocabulary.level(level)] == tokens[-size:]
    assert tokens == list(range(len(vocabulary)))


def test_a_prefix_has_the_tokens_that_it_has_in_the_whole_id() -> None:
    vocabulary = Vocabulary([4, 3, 2])
    codes = torch.tensor([[[3, 2, 1], [0, 1, 0]]])
    assert vocabulary.tokens(codes).tolist() == [[[3, 6, 8], [0, 5, 7]]]
    assert torch.equal(vocabulary.tokens(codes[..., :2]), vocabulary.tokens(codes)[..., :2])


def test_codes_deeper_than_the_vocabulary_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        Vocabulary([2]).tokens(torch.zeros(1, 2, dtype=torch.int64))

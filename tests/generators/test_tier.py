"""Laws of the SID-tier token: its histogram by hand, and what it does not depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from long_world import VECTORS, make_glass, make_long_batch
from sidestep.data.sequences import NO_ITEM
from sidestep.generators.tier import TiedTier, WholeTier
from small_world import make_sids


def by_hand() -> WholeTier:
    """Four items on a cross, two codes: means along (1, 1) and (-1, -1), cosines .71 and -.71, two bins."""
    vectors = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])
    return WholeTier(np.array([0, 0, 1, 1]), 2, vectors, num_bins=2, width=3, dropout=0.0)


def test_the_histogram_is_that_worked_by_hand() -> None:
    shares = by_hand().shares(torch.tensor([[0, 1, 2, 0], [3, NO_ITEM, NO_ITEM, NO_ITEM], [NO_ITEM] * 4]))
    assert shares[0].tolist() == [[0.25, 0.75], [0.75, 0.25]]  # bins of low and of high cosines, code by code
    assert shares[1].tolist() == [[1, 0], [0, 1]]
    assert not shares[2].any()


@pytest.mark.parametrize("vectors", [VECTORS, None])
def test_two_histories_one_after_the_other_have_their_weighted_mean(vectors: torch.Tensor | None) -> None:
    tier = WholeTier(make_sids().codes[:, 0], 5, vectors, 4, 8, 0.0)
    first, second = torch.arange(3)[None], torch.arange(20, 32)[None]
    both = tier.shares(torch.cat([first, second], 1))
    torch.testing.assert_close(both, (3 * tier.shares(first) + 12 * tier.shares(second)) / 15)
    torch.testing.assert_close(both.sum((1, 2)), torch.tensor([1.0 if vectors is None else 5.0]))


def test_tied_bins_shrink_by_one_factor_and_the_last_holds_as_much_as_one_code_does() -> None:
    codes = np.random.default_rng(0).integers(0, 8, 640)
    bins = TiedTier(codes, 8, torch.randn(640, 7, generator=torch.Generator().manual_seed(1)), 4, 8).bins
    shares = np.bincount(bins.flatten().numpy()) / bins.numel()
    assert shares.tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 8, 1 / 8], abs=1e-3)
    apart = 10 * torch.eye(8).repeat(80, 1) + torch.randn(640, 8, generator=torch.Generator().manual_seed(2))
    bins = TiedTier(np.arange(640) % 8, 8, apart, 4, 8).bins
    assert torch.equal(bins == 3, torch.eye(8, dtype=torch.bool).repeat(80, 1))


@torch.no_grad()
def test_a_tied_token_says_the_same_of_the_same_count_of_any_code() -> None:
    codes = np.array([0, 0, 1, 1, 2, 2])
    tier = TiedTier(codes, 3, None, 4, 8)
    first, second = tier(torch.tensor([[0, 1, 0]])), tier(torch.tensor([[2, 3, 3]]))
    there, absent = (tier.score(tier.hidden(torch.tensor([count, 3.0]).log1p()).relu()) for count in (3.0, 0.0))
    of_codes = tier.out.weight.T
    torch.testing.assert_close(first - second, (there - absent) * (of_codes[0] - of_codes[1])[None])


def test_bins_are_alike_in_size_and_vectors_of_another_scale_or_place_change_none() -> None:
    codes = np.random.default_rng(0).integers(0, 6, 500)
    vectors = torch.randn(500, 7, generator=torch.Generator().manual_seed(1))
    bins = WholeTier(codes, 6, vectors, 4, 8, 0.0).bins
    assert np.bincount(bins.flatten().numpy()).tolist() == pytest.approx([750] * 4, abs=2)
    moved = WholeTier(codes, 6, 3 * vectors + 5, 4, 8, 0.0).bins
    assert (moved == bins).float().mean() > 0.99


@pytest.mark.parametrize("num_bins", [2, 3, 4, 7])
def test_counts_that_share_a_number_are_those_of_each_bin_compared(
    num_bins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = make_sids().codes[:, 0]
    long = torch.randint(40, (3, 1_000), generator=torch.Generator().manual_seed(0))
    long[1, 500:], long[2] = NO_ITEM, NO_ITEM
    long[0] = 7  # every count at its highest
    summed = WholeTier(codes, 5, VECTORS, num_bins, 8, 0.0)
    monkeypatch.setattr("sidestep.generators.tier.TABLE_BYTES", 0)
    compared = WholeTier(codes, 5, VECTORS, num_bins, 8, 0.0)
    assert len(summed.pairs)
    assert not len(compared.pairs)
    assert torch.equal(summed.shares(long), compared.shares(long))


def test_the_control_counts_first_codes() -> None:
    codes = make_sids().codes[:, 0]
    shares = WholeTier(codes, 5, None, 4, 8, 0.0).shares(torch.tensor([[0, 1, 2, 3], [5, NO_ITEM, NO_ITEM, NO_ITEM]]))
    assert shares[0, :, 0].tolist() == (np.bincount(codes[:4], minlength=5) / 4).tolist()
    assert shares[1].sum() == 1


def test_an_item_that_joins_later_has_the_commonest_bins_of_its_code() -> None:
    codes = make_sids().codes[:, 0]
    tier = WholeTier(np.append(codes, [2, 0]), 5, VECTORS, 4, 8, 0.0)
    assert torch.equal(tier.bins[:40], WholeTier(codes, 5, VECTORS, 4, 8, 0.0).bins)
    of_code = tier.bins[:40][torch.from_numpy(codes == 2)]
    for column in range(5):
        counts = np.bincount(of_code[:, column].numpy(), minlength=4)
        assert counts[int(tier.bins[40, column])] == counts.max()


def test_at_the_start_the_token_is_zero_and_a_code_without_items_has_cosines_of_zero() -> None:
    tier = WholeTier(np.array([0, 0, 2, 2]), 3, torch.randn(4, 6), 2, 8, 0.0)
    assert not tier(torch.tensor([[0, 3]])).any()
    assert len(set(tier.bins[:, 1].tolist())) == 1


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
@pytest.mark.parametrize(("tier", "reader"), [("vectors", "whole"), ("counts", "whole"), ("vectors", "tied")])
def test_every_target_sees_the_token_and_no_order_of_the_long_history(encoder: str, tier: str, reader: str) -> None:
    batch = make_long_batch()
    model = make_glass(long={"search": False, "tier": tier, "reader": reader}, encoder=encoder)
    assert batch.long is not None
    if encoder == "bidirectional":
        batch = batch.asking(torch.arange(8).view(4, 2))
    turned, other = batch.long.clone(), batch.long.clone()
    turned[2] = batch.long[2].flip(0)
    other[2, :5] = torch.arange(5)
    plain, same, moved = (model(replace(batch, long=long)).logits[0] for long in (batch.long, turned, other))
    rows = model(batch).rows
    torch.testing.assert_close(plain, same)
    assert torch.equal(plain[rows != 2], moved[rows != 2])
    assert not torch.isclose(plain[rows == 2], moved[rows == 2]).all(1).any()

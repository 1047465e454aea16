"""A turn keeps cosines, and finds axes that are there."""

import torch
import torch.nn.functional as F

from sidestep.sids.sinkhorn import balanced
from sidestep.sids.turning import turn


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_turn_keeps_cosines_and_brings_items_nearer_to_the_axes_of_their_codes() -> None:
    logits = torch.randn(200, 8, generator=seeded(0)) * torch.arange(1.0, 9)
    turned = logits @ turn(logits, seeded(1)).T
    directions = [F.normalize(z) for z in (logits, turned)]
    torch.testing.assert_close(*(z @ z.T for z in directions), atol=1e-5, rtol=1e-4)
    before, after = (z.gather(1, balanced(z, 0.1, 20)[:, None]).mean() for z in directions)
    assert after > before


def test_no_code_is_left_without_a_part_where_logits_have_fewer_dimensions_than_codes() -> None:
    head = torch.randn(16, 4, generator=seeded(5))
    logits = torch.randn(300, 4, generator=seeded(6)) @ head.T
    rows = (turn(logits, seeded(7)) @ head).norm(dim=1)
    assert rows.min() > 0.01 * rows.max()


def test_directions_that_lie_askew_get_an_axis_each() -> None:
    group = torch.arange(120) % 6
    skew = torch.linalg.qr(torch.randn(6, 6, generator=seeded(2))).Q
    logits = (torch.eye(6)[group] + 0.05 * torch.randn(120, 6, generator=seeded(3))) @ skew.T
    assert len(logits.argmax(1).unique()) < 6
    codes = (logits @ turn(logits, seeded(4)).T).argmax(1)
    for one in codes.unique():
        assert len(group[codes == one].unique()) == 1
    assert len(codes.unique()) == 6


def test_one_code_and_equal_rows_are_turned_into_something_finite() -> None:
    for logits in (torch.ones(5, 1), torch.ones(5, 4), torch.zeros(5, 4)):
        assert turn(logits, seeded(0)).isfinite().all()

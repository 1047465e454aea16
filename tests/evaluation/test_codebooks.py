import math

import numpy as np
import pytest

from sidestep.evaluation.codebooks import codebook_report, report_codes, summary
from sidestep.sids.semantic_ids import SemanticIds

CODES = np.array([[0, 0], [0, 0], [0, 1], [1, 0]])


def test_icr_and_cur_by_hand() -> None:
    """Three distinct IDs, four items, 2 x 3 possible IDs."""
    report = report_codes(CODES, (2, 3))
    assert (report.icr, report.cur) == (3 / 4, 3 / 6)
    assert (report.sharing, report.largest) == (2, 2)
    assert report.edges == (2 * 2 + 1 + 1) / 4  # two items find two, two find themselves
    assert report.exclusive == 2 / 3


def test_the_papers_table_follows_from_its_definitions() -> None:
    """Beauty: 12,016 distinct IDs of 12,101 items are 99.30 % and 0.0716 % (S2GR, table 3)."""
    numbers = np.arange(12_101).clip(max=12_015)
    codes = np.stack([numbers // 256**2, numbers // 256 % 256, numbers % 256], axis=1)
    report = report_codes(codes, (256, 256, 256))
    assert report.icr == pytest.approx(0.9930, abs=5e-5)
    assert report.cur == pytest.approx(0.000716, abs=5e-7)


def test_usage_by_hand() -> None:
    first, second = report_codes(CODES, (2, 3)).levels
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert (first.size, first.used, first.perplexity) == (2, 2, pytest.approx(math.exp(entropy)))
    assert (second.size, second.used) == (3, 2)


def test_balanced_usage_has_the_perplexity_of_the_codebook() -> None:
    (level,) = report_codes(np.arange(12)[:, None] % 6, (6,)).levels
    assert level.perplexity == pytest.approx(6)


def test_the_summary_says_what_the_report_holds() -> None:
    books = [np.zeros((size, 1), dtype=np.float32) for size in (2, 3)]
    sids = SemanticIds(CODES, (2, 3), books, [np.zeros(size, dtype=np.int64) for size in (2, 3)])
    assert codebook_report(sids) == report_codes(CODES, (2, 3))
    assert "ICR 75.00%: 3 distinct IDs for 4 items; CUR 50.0000%" in summary(sids)
    assert "2/2" in summary(sids)
    assert "2/3" in summary(sids)

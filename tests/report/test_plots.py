"""Plots hold what they were given: a mark for every number, a name for every line."""

import re

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from sidestep.report import plots
from sidestep.report.plots import Line
from sidestep.report.svg import COLOURS


def test_plane_of_points_in_a_plane_keeps_every_distance() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((8, 8)))[0][:, :2]
    points = (rng.standard_normal((30, 2)) @ axes.T + 5).astype(np.float32)
    found = plots.plane(points, rng.integers(0, 9, 30))
    np.testing.assert_allclose(pdist(found), pdist(points), rtol=1e-4)


def test_plane_weighs_codewords_by_their_items() -> None:
    points = np.array([[0, 0, 3], [0, 0, -3], [1, 0, 0], [-1, 0, 0]], dtype=np.float32)
    assert np.abs(plots.plane(points, np.array([1, 1, 0, 0]))[:2, 0]) == pytest.approx([3, 3])
    assert np.abs(plots.plane(points, np.array([0, 0, 1, 1]))[2:, 0]) == pytest.approx([1, 1])


@pytest.mark.parametrize("shape", [(1, 4), (3, 1), (2, 2)])
def test_plane_has_two_columns_however_little_there_is(shape: tuple[int, int]) -> None:
    points = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = plots.plane(points, np.zeros(len(points), dtype=np.int64))
    assert found.shape == (shape[0], 2)
    assert np.isfinite(found).all()


def test_cluster_map_has_a_dot_or_ring_for_every_codeword_and_a_number_for_every_cluster() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([3, 0, 1, 0, 9, 2, 0, 1, 1, 1])
    clusters = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3, 8])
    drawn = plots.cluster_map("map", rng.standard_normal((10, 4)).astype(np.float32), clusters, counts)
    assert drawn.count('class="dot"') == 7
    assert drawn.count('class="ring"') == 3
    assert sorted(map(int, re.findall(r'class="cluster">(\d+)<', drawn))) == [1, 2, 3, 4, 9]


def test_cluster_map_of_a_huge_codebook_stays_small() -> None:
    rng = np.random.default_rng(0)
    words = rng.standard_normal((8192, 8)).astype(np.float32)
    drawn = plots.cluster_map("map", words, np.arange(8192) % 32, rng.poisson(3, 8192))
    assert drawn.count("<circle") == plots.MAX_DOTS
    assert len(drawn) < 200_000


def test_usage_draws_one_step_for_every_code_down_from_the_most_used() -> None:
    drawn = plots.usage("usage", np.array([1, 0, 5, 2]), COLOURS[0])
    match = re.search(r'<path d="M([^"]*)"', drawn)
    assert match is not None
    heights = [float(point.split()[1]) for point in match[1].split("L")]
    assert len(heights) == 2 * 4 + 2
    assert heights == [heights[-1], *sorted(heights[1:-1]), heights[-1]]  # pixels count downwards
    assert "equal use 2.0" in drawn


def test_curves_name_every_line_and_what_they_are_compared_with() -> None:
    lines = [Line("level 1", [1.0, 2.0, 3.0], [0.1, 0.2, 0.3]), Line("level 2", [1.0, 2.0, 3.0], [0.1, 0.2, 0.3])]
    drawn = plots.curves("accuracy", lines, against=[("chance 1/32", 1 / 32)], from_zero=True)
    assert re.findall(r'class="name">([^<]*)<', drawn) == ["chance 1/32", "level 1", "level 2"]
    assert drawn.count('class="line"') == 2


def test_curves_leave_out_what_is_not_a_number_and_draw_nothing_without_numbers() -> None:
    nan = float("nan")
    drawn = plots.curves("loss", [Line("a", [1.0, 2.0, 3.0, 4.0], [1.0, nan, 3.0, float("inf")])])
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert plots.curves("loss", [Line("a", [1.0], [nan])]) == ""


def test_a_single_epoch_is_a_dot() -> None:
    drawn = plots.curves("loss", [Line("", [1.0], [2.0])], best=(1.0, 2.0))
    assert drawn.count("<circle") - drawn.count("<title>") == 2
    assert ">2.0000<" in drawn


def test_bars_are_as_high_as_their_values_and_missing_ones_are_left_out() -> None:
    drawn = plots.bars("shares", ["0", "1", "2-3"], [0.5, None, 0.25], COLOURS[0], "items", highest=1.0)
    heights = [float(height) for height in re.findall(r' height="([0-9.]+)"', drawn)]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert re.findall(r'class="note">([^<]*)<', drawn) == ["0.50", "0.25"]
    assert all(f">{name}<" in drawn for name in ("0", "1", "2-3", "items"))
    assert "nan" not in plots.bars("nothing", ["a"], [None], COLOURS[0])

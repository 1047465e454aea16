"""From rank tables and logs to rows and panels."""

import itertools
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.evaluation.ranking import RankTable
from sidestep.pipeline.evaluate import Evaluation
from sidestep.pipeline.report import Beside
from sidestep.report import figures, plots
from sidestep.report.terminal import metrics_table
from small_world import make_sids

METHODS = ("popularity", "item-knn", "s2gr")


def make_evaluation(
    best: float | None, long_users: int = 4, at: tuple[int, ...] = (5, 10), repeats: bool = False
) -> Evaluation:
    rows: list[dict[str, Any]] = []
    for number, method in enumerate(METHODS):
        for seen in ("masked", "kept"):
            for users, size in (("all", 9), (">=10", long_users)):
                value = 0.1 * (number + 1) + 0.01 * (seen == "kept") if size else None
                metrics = [f"{name}@{k}" for name in ("HR", "NDCG", "MRR", "sid_HR") for k in at]
                means = dict.fromkeys((*metrics, "invalid"), value)
                rows.append({"method": method, "seen": seen, "users": users, "num_users": size, **means})
    return Evaluation(pl.DataFrame(rows, infer_schema_length=None), "protocol", best, "u1", at, repeats)


def test_wilson_interval_is_the_textbook_one() -> None:
    assert figures.wilson(0.5, 4) == pytest.approx((0.15, 0.85), abs=5e-3)
    assert figures.wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_share_and_stays_within_0_and_1(case: tuple[int, int]) -> None:
    hits, size = case
    low, high = figures.wilson(hits / size, size)
    assert -1e-9 <= low <= hits / size + 1e-9
    assert hits / size - 1e-9 <= high <= 1 + 1e-9


@given(st.lists(st.integers(1, 80), min_size=1, max_size=300))
def test_length_groups_hold_every_user_once_and_none_is_tiny(lengths: list[int]) -> None:
    spans = figures.length_spans(np.array(lengths))
    inside = [sum(low <= length <= high for low, high in spans) for length in lengths]
    assert inside == [1] * len(lengths)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(spans))
    sizes = [sum(low <= length <= high for length in lengths) for low, high in spans]
    assert len(spans) == 1 or min(sizes) >= figures.FEWEST


def test_hit_rate_by_length_averages_to_the_hit_rate() -> None:
    rng = np.random.default_rng(0)
    size = 400
    columns = {"length": rng.integers(3, 70, size), "rank": rng.integers(0, 15, size)}
    table = pl.DataFrame({"user": np.arange(size), **columns})
    ranks = {name: RankTable(table.with_columns(rank=(pl.col("rank") + i) % 15), 20, "kept") for i, name in
             enumerate(METHODS)}  # fmt: skip
    plot = figures.by_length(ranks)
    assert plot is not None
    assert all(f">{name}<" in plot.picture for name in METHODS)
    spans = figures.length_spans(table["length"].to_numpy())
    parts = [table.filter(pl.col("length").is_between(low, high)) for low, high in spans]
    assert all(f">{len(part):,}<" in plot.picture for part in parts)


def test_groups_mark_the_best_of_each_block_and_put_the_model_first() -> None:
    found = figures.groups(make_evaluation(0.7))
    assert [(group.users, group.seen) for group in found] == list(figures.GROUPS)
    assert [row["method"] for row in found[0].rows] == ["s2gr", "item-knn", "popularity"]
    assert found[0].best["NDCG@10"] == pytest.approx(0.3)
    assert [group.ceiling for group in found] == [None, 0.7, None, None]


def test_groups_without_users_are_left_out() -> None:
    assert [group.users for group in figures.groups(make_evaluation(None, long_users=0))] == ["all", "all"]


def test_headline_stands_on_the_protocol_that_the_best_possible_holds_for() -> None:
    planted, real = figures.headline(make_evaluation(0.7)), figures.headline(make_evaluation(None))
    assert (planted.seen, real.seen) == ("kept", "masked")
    assert [bar.method for bar in planted.bars] == ["best possible", "s2gr", "item-knn", "popularity"]
    assert planted.bars[1].share == pytest.approx(0.31 / 0.7)
    assert [bar.share for bar in real.bars] == pytest.approx([1, 2 / 3, 1 / 3])


def test_all_methods_have_a_bar_and_the_run_beside_comes_second() -> None:
    rows = [{"seen": "masked", "users": "all", "metric": "HR@10", "first": 0.6}]
    real = figures.headline(make_evaluation(None), Beside("other", "tiger", rows, [], []))
    assert [bar.method for bar in real.bars] == ["s2gr", "tiger (other)", "item-knn", "popularity"]
    assert [bar.share for bar in real.bars] == pytest.approx([0.5, 1, 1 / 3, 1 / 6])


def test_no_name_of_a_line_is_cut_off_and_points_tell_their_values() -> None:
    """The room at the right holds the longest name, at seven pixels a letter."""
    assert plots.room_for(["s2gr", "item-knn-recent"]) >= 7 + 7 * len("item-knn-recent")
    drawn = plots.curves("a curve", [plots.Line("item-knn-recent", [1, 2], [0.25, 0.5])])
    (place,) = re.findall(r'<text x="([\d.]+)" [^>]*>item-knn-recent<', drawn)
    assert float(place) + 7 * len("item-knn-recent") <= plots.WIDTH
    assert "<title>item-knn-recent: 0.25</title>" in drawn
    assert "<title>item-knn-recent: 0.5</title>" in drawn


def test_headline_keeps_seen_items_where_users_repeat_them() -> None:
    assert figures.headline(make_evaluation(None, repeats=True)).seen == "kept"


@pytest.mark.parametrize(("at", "main"), [((1, 5, 10, 20, 50), "HR@10"), ((1, 5), "HR@5")])
def test_figures_stand_at_every_k_that_was_asked_for(at: tuple[int, ...], main: str) -> None:
    evaluation = make_evaluation(None, at=at)
    assert figures.columns(evaluation) == [f"{name}@{k}" for name in ("HR", "NDCG", "MRR") for k in at]
    assert set(figures.groups(evaluation)[0].best) == set(figures.columns(evaluation))
    assert figures.headline(evaluation).metric == main
    shown = metrics_table(evaluation)
    assert "…" not in shown
    for k in at:
        assert f"HR@{k} " in shown
        assert f"NDCG@{k} " in shown


def make_log(thinks: bool) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(4):
        row: dict[str, Any] = {"step": epoch, "epoch": epoch, "seconds": 1.0}
        row |= {f"recommend_{level}": 3.0 / (epoch + level) for level in (1, 2, 3)}
        row["total"] = sum(row[f"recommend_{level}"] for level in (1, 2, 3))
        if thinks:
            row |= {f"align_{level}": 1.0 for level in (1, 2, 3)}
            row |= {f"thought_accuracy_{level}": 0.2 * epoch for level in (1, 2, 3)}
            row |= {"info_nce": 2.0, "interest_cosine": 0.3, "total": row["total"] + 5}
        if epoch % 2:
            row["score"] = [0.0, 0.25, 0.0, 0.125][epoch]
        rows.append(row)
    return rows


def test_training_of_a_thinking_generator_shows_thoughts_beside_chance() -> None:
    found = {plot.title: plot for plot in figures.training_plots(make_log(thinks=True), (32, 32, 16))}
    assert list(found) == [
        "Validation NDCG@10",
        "Loss",
        "Loss of the codes",
        "Alignment of the thoughts",
        "Thoughts that name the right cluster",
        "Holistic interest",
    ]
    thoughts = found["Thoughts that name the right cluster"].picture
    assert ">chance 1/32<" in thoughts
    assert ">chance 1/16<" in thoughts
    assert all(f">{name}<" in found["Loss"].picture for name in ("total", "codes", "alignment", "InfoNCE"))


def test_the_kept_epoch_is_that_of_the_best_score() -> None:
    score = figures.training_plots(make_log(thinks=False), ())[0]
    assert "epoch 2" in score.note
    assert ">0.2500<" in score.picture


def test_training_without_thoughts_shows_none() -> None:
    titles = [plot.title for plot in figures.training_plots(make_log(thinks=False), ())]
    assert titles == ["Validation NDCG@10", "Loss", "Loss of the codes"]
    assert figures.training_plots([], ()) == []


def test_usage_says_how_many_codes_are_dead() -> None:
    sids = make_sids()
    report, found = figures.usage_plots(sids)
    assert report.items == len(sids)
    for level, plot in enumerate(found):
        used = len(np.unique(sids.codes[:, level]))
        size = sids.codebook_sizes[level]
        assert plot.note.startswith(f"{used} of {size} codes used, {size - used} dead;")


def test_legend_counts_every_code_and_every_item_once() -> None:
    sids = make_sids()
    for level, found in enumerate(figures.level_maps(sids, [])):
        assert sum(row.codes for row in found.rows) == sids.codebook_sizes[level]
        assert sum(row.items for row in found.rows) == len(sids)
        assert [row.items for row in found.rows] == sorted((row.items for row in found.rows), reverse=True)

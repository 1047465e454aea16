"""A run whose semantic IDs follow content, from windows to answers, on the planted streams."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from command import STREAMS, contents, refuse, succeed
from sidestep import load
from sidestep.bundle import SLICES, read
from sidestep.data.windows import Windows
from sidestep.errors import DataError
from sidestep.pipeline import slicing
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.evaluate import evaluate
from sidestep.pipeline.replaying import replay
from sidestep.pipeline.run import Run
from sidestep.sids.timeline import Timeline


def timeline_of(folder: Path) -> Timeline:
    found = RunContents(Run.open(folder), later=True).timeline
    assert found is not None
    return found


def test_every_row_of_an_evaluation_answers_with_what_is_on_air(streams: Path) -> None:
    inside = RunContents(Run.open(streams))
    over, cases = timeline_of(streams), inside.split.test
    air = over.on_air[over.at(cases.asked)]
    assert air[np.arange(len(cases)), cases.targets].all()
    for name in ("tiger", "popularity", "item-knn"):
        served = pl.read_parquet(streams / "evaluation" / f"{name}-kept" / "ranks.parquet")["served"].to_numpy()
        assert (served == np.minimum(air.sum(axis=1), 20)).all()
    assert "what is on air at the time of each target" in succeed("evaluate", streams).out


def test_an_answer_is_of_the_slice_of_its_time_and_of_now_without_one(streams: Path) -> None:
    model, over = load(streams), timeline_of(streams)
    history = model.histories_of(["u01"])[0]
    for number in (2, 4, None):
        at = None if number is None else int(over.starts[number])
        found = model.recommend(history, k=24, at=at, exclude_seen=False, explain=True)
        now = len(over) - 1 if number is None else number
        items = model.catalog.items(found.item_ids)
        assert sorted(items) == np.flatnonzero(over.on_air[now]).tolist()
        path = found.recommendations[0].path
        assert path is not None
        assert [step.code for step in path] == over.codes[now, items[0]].tolist()
    told = succeed("recommend", streams, "--user", "u01", "--at", "2023-01-03", "--k", "3", "--json").out
    assert '"by": "model"' in told


def test_slices_are_made_one_after_the_other_as_at_once(streams: Path) -> None:
    inside = RunContents(Run.open(streams))
    slicer, windows = inside.slices.slicer, inside.slices.windows
    so_far, content = slicer.begun()
    for start in windows.starts:
        whole, _ = slicer.with_windows(*slicer.begun(), windows.before(int(start)))
        rows = windows.rows(len(whole) - 2)
        alone = Windows(
            np.array([start]), np.array([0, rows.stop - rows.start]), windows.items[rows], windows.values[rows]
        )
        so_far, content = slicer.with_windows(so_far, content, alone)
        assert so_far.continues(whole)
        assert whole.continues(so_far)
    assert so_far.continues(timeline_of(streams))


def test_equal_windows_make_equal_slices(streams: Path) -> None:
    slicer = RunContents(Run.open(streams)).slices.slicer
    values = np.random.default_rng(0).standard_normal((24, slicer.blend.window_width)).astype(np.float32)
    windows = Windows(
        np.array([10, 20, 30]), np.array([0, 24, 48, 72]), np.tile(np.arange(24), 3), np.tile(values, (3, 1))
    )
    made, _ = slicer.with_windows(*slicer.begun(), windows)
    assert (made.codes[2:] == made.codes[1]).all()
    with pytest.raises(DataError, match="The windows have 3 dimensions, and the blend was trained on 16"):
        slicer.with_windows(*slicer.begun(), Windows(np.array([10]), np.array([0, 1]), np.array([0]), values[:1, :3]))


def test_the_tokenizer_learns_from_no_window_after_training(streams: Path) -> None:
    """Other content in slices that begin later leaves blend, codebooks and IDs as they are."""
    inside = RunContents(Run.open(streams))
    train, windows = inside.split.train, inside.slices.windows
    last = int(train.times.max()) if train.times is not None else 0
    known = slicing.until_trained(windows, train)
    assert (known.starts <= last).all()
    moving, blended = slicing.moving_vectors(inside.slices.slicer.blend, known)
    assert moving.values.tobytes() == inside.taught.values.tobytes()
    assert blended.values.tobytes() == inside.vectors.values.tobytes()
    assert len(moving) == len(known.items) + 24


def test_a_slicer_is_the_run_s_tokenizer(streams: Path) -> None:
    inside = RunContents(Run.open(streams))
    vectors = torch.from_numpy(inside.taught.values)
    assert torch.equal(inside.slices.slicer.tokenizer.assign(vectors), inside.tokenizer.assign(vectors))


def test_a_finished_run_is_kept_and_a_changed_one_refused(streams: Path, tmp_path: Path) -> None:
    again = succeed("run", "s2gr-planted", *STREAMS, "--out", streams)
    assert "windows" not in again.err
    copy = tmp_path / "copy"
    shutil.copytree(streams, copy)
    said = refuse("run", "s2gr-planted", *STREAMS, "slices.width=9", "--out", copy)
    assert "slices.width: 8 -> 9" in said


def test_windows_of_another_time_or_a_log_without_a_clock_are_refused(streams: Path) -> None:
    inside = RunContents(Run.open(streams))
    train = inside.split.train
    assert train.times is not None
    late = Windows(np.array([int(train.times.max()) + 1]), np.array([0, 1]), np.array([0]), np.ones((1, 2), np.float32))
    with pytest.raises(DataError, match="after the last training interaction"):
        slicing.until_trained(late, train)


def airing(folder: Path, *item_ids: str, start: str | None = "2023-02-01", width: int = 16) -> Path:
    """A file of windows of what is on air in one slice."""
    values = np.random.default_rng(len(item_ids)).standard_normal((len(item_ids), width)).tolist()
    table = pl.DataFrame({"item_id": item_ids, "vector": values})
    table = table if start is None else table.with_columns(start=pl.lit(start))
    table.write_parquet(folder / "now.parquet")
    return folder / "now.parquet"


def test_a_run_takes_a_further_slice_and_answers_in_it(streams: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(streams, tmp_path / "run"))
    before, evaluated = timeline_of(folder), succeed("evaluate", folder).out
    asked = ("recommend", folder, "--user", "u01", "--keep-seen", "--json", "--at", "2023-01-04")
    then = succeed(*asked).out
    done = succeed("sids", "slice", folder, "--windows", airing(tmp_path, "S03", "S11"))
    assert "a new slice from 2023-02-01T00:00:00: 2 of 24 items on air" in done.out
    after = timeline_of(folder)
    assert after.continues(before)
    assert after.on_air[-1].nonzero()[0].tolist() == [2, 10]
    found = load(folder).recommend(["S01", "S02"], exclude_seen=False)
    assert sorted(found.item_ids) == ["S03", "S11"]
    assert succeed(*asked).out == then
    assert succeed("evaluate", folder).out == evaluated
    later = airing(tmp_path, "S05", start=None)
    assert '"on_air": 1' in succeed("sids", "slice", folder, "--windows", later, "--start", "2023-03-01", "--json").out
    assert load(folder).recommend(["S01"]).item_ids == ["S05"]


def test_a_bundle_takes_the_same_slices_as_its_run(streams: Path, tmp_path: Path) -> None:
    folder, shop = Path(shutil.copytree(streams, tmp_path / "run")), tmp_path / "bundle"
    succeed("export", folder, "--to", shop)
    history = ["S01", "S02", "S07"]
    for start, on_air in (("2023-02-01", ("S03", "S11", "S20")), ("2023-02-02", ("S01", "S11"))):
        windows = airing(tmp_path, *on_air, start=start)
        texts = [succeed("sids", "slice", each, "--windows", windows).out.splitlines()[0] for each in (folder, shop)]
        assert texts[0] == texts[1]
        for at in (None, "2023-01-05"):
            run, bundle = (
                load(each).recommend(history, at=at, exclude_seen=False, explain=True) for each in (folder, shop)
            )
            assert run.item_ids == bundle.item_ids
            assert [each.path for each in run.recommendations] == [each.path for each in bundle.recommendations]
        assert sorted(run.item_ids) != sorted(on_air)


def test_a_bundle_keeps_the_last_slices(streams: Path, tmp_path: Path) -> None:
    folder, shop = Path(shutil.copytree(streams, tmp_path / "run")), tmp_path / "bundle"
    succeed("run", "s2gr-planted", *STREAMS, "slices.kept=3", "--out", folder)
    succeed("export", folder, "--to", shop)
    held = read(shop).tensors(SLICES)
    assert len(held["starts"]) == 3
    succeed("sids", "slice", shop, "--windows", airing(tmp_path, "S02"))
    assert read(shop).tensors(SLICES)["starts"][1] == held["starts"][2]


@pytest.mark.parametrize(
    ("ids", "start", "width", "message"),
    [
        (("S03",), "2023-01-02", 16, "does not follow the last one, which begins at 2023-01-06"),
        (("S03", "X"), "2023-02-01", 16, "1 unknown items, the first is 'X'"),
        (("S03",), "2023-02-01", 5, "The windows have 5 dimensions, and the blend was trained on 16"),
        (("S03",), None, 16, "name its start with --start"),
    ],
)
def test_a_slice_that_does_not_fit_is_refused_and_nothing_is_written(
    streams: Path, tmp_path: Path, ids: tuple[str, ...], start: str | None, width: int, message: str
) -> None:
    before = contents(streams)
    assert message in refuse("sids", "slice", streams, "--windows", airing(tmp_path, *ids, start=start, width=width))
    assert contents(streams) == before


def test_a_run_without_slices_takes_none(finished: Path, tmp_path: Path) -> None:
    said = refuse("sids", "slice", finished, "--windows", airing(tmp_path, "P01"))
    assert "has one semantic ID an item, and no slices" in said
    assert "No run in" in refuse("sids", "slice", tmp_path / "nowhere", "--windows", airing(tmp_path, "P01"))


def test_a_replay_is_the_evaluation_of_every_case_at_its_time(streams: Path) -> None:
    """One slice is leave-one-out in `tests/evaluation/test_replay.py`; here are six, and the same recommenders."""
    run = Run.open(streams)
    said: list[str] = []
    found, judged = replay(run, (), said.append), evaluate(run)
    kept = judged.table.filter((pl.col("seen") == "kept") & (pl.col("users") == "all"))
    for row in found.table.filter(pl.col("users") == "all").to_dicts():
        if row["method"] not in ("popularity-so-far", "popularity-day"):
            theirs = kept.filter(pl.col("method") == row["method"]).to_dicts()[0]
            assert row["HR@10"] == pytest.approx(theirs["HR@10"]), row["method"]
    assert found.best_possible == judged.best_possible
    assert sum(row["cases"] for row in found.by_time) == len(RunContents(run).split.test)
    assert "training interactions are later than the first replayed one" in said[0]
    text = succeed("evaluate", streams, "--replay").out
    assert "replayed by the clock" in text
    assert "HR@10 by time:" in text
    assert "popularity-day" in text


def test_what_needs_one_id_an_item_is_refused_in_one_line(streams: Path, tmp_path: Path) -> None:
    assert "has other semantic IDs in every slice of time" in refuse("analyse", streams)
    items = tmp_path / "items.parquet"
    pl.DataFrame({"item_id": ["S99"], "title": ["new"]}).write_parquet(items)
    assert "train a run of all of them" in refuse("sids", "append", streams, "--items", items)
    windows = airing(tmp_path, "S03")
    said = refuse("sids", "requantise", streams, "--vectors", windows, "--out", tmp_path / "out")
    assert "has slices of time already; add one with `sidestep sids slice" in said
    assert "a graph has one tree" in refuse("export", streams, "--to", tmp_path / "bundle", "--graph")
    start = ("method=tiger", f"train.start={streams}", "graph.enabled=false", "tokenizer.kind=rq-kmeans")
    still = [each for each in STREAMS if not each.startswith("slices.")]
    said = refuse("run", "s2gr-planted", *still, *start, "--out", tmp_path / "run")
    assert "has slices.kind = 'windows', and this run 'none'" in said

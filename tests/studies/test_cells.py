"""What is one cell and what is another, and that a cell's file gives back what the ranks said."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from command import WORLD, contents, succeed
from sidestep import durable, recipes
from sidestep.errors import ArtifactError, ConfigError, DataError
from sidestep.evaluation.ranking import RankTable
from sidestep.methods.table import METHODS
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.studies.averages import averaged, compared, interval, users_of
from sidestep.studies.cells import DEPTHS, GRID, Cell, CellResult, load_existing
from sidestep.studies.identity import identity
from sidestep.studies.recording import record
from sidestep.training.log import read_log

LISTS = (*WORLD, "evaluate.k=100")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny finished run whose lists are as long as a cell's."""
    from command import succeed

    folder = tmp_path_factory.mktemp("cells") / "judged"
    succeed("run", "s2gr-planted", *LISTS, "method=tiger", "--out", folder)
    return folder


@pytest.fixture(scope="module")
def result(judged: Path) -> CellResult:
    return record(judged, recipe="s2gr-planted")


def test_a_cell_gives_back_what_the_ranks_said(judged: Path, result: CellResult, tmp_path: Path) -> None:
    back = CellResult.load(result.save(tmp_path))
    for seen, users in GRID:
        ranks = RankTable.load(judged / f"evaluation/tiger-{seen}").at_least(10 if users == ">=10" else 0)
        assert back.mean(seen, users, "num_users") == len(ranks)
        for metric in (f"{name}@{depth}" for name in ("HR", "NDCG", "MRR") for depth in DEPTHS):
            assert np.array_equal(back.values(seen, users, metric), ranks.values(metric))
            assert back.mean(seen, users, metric) == pytest.approx(ranks.values(metric).mean())
    cases = RunContents(Run.open(judged)).split.test
    assert np.array_equal(back.lengths, cases.lengths)
    assert np.array_equal(back.users, cases.users)


def test_a_cell_of_several_cases_a_user_counts_users_and_keeps_every_case(tmp_path: Path) -> None:
    succeed("prepare", "s2gr-planted", *LISTS, "split.hold_out=2", "--out", tmp_path / "run")
    made = record(tmp_path / "run", method="popularity")
    back = CellResult.load(made.save(tmp_path))
    cases = RunContents(Run.open(tmp_path / "run")).split.test
    assert back.split == "leave-2-out"
    assert np.array_equal(back.users, cases.users)
    assert np.array_equal(back.lengths, cases.lengths)
    assert (np.diff(back.users) == 0).sum() == cases.num_users
    assert back.mean("kept", "all", "num_users") == cases.num_users == len(cases) // 2
    assert back.mean("kept", "all", "HR@10") == pytest.approx(back.values("kept", "all", "HR@10").mean())
    assert users_of([back], "all") is not None
    assert compared([back], [back], "kept", "all").num_users == cases.num_users  # type: ignore[union-attr]
    values = averaged([back], "kept", "all")
    by_user = values.reshape(-1, 2).mean(axis=1)
    assert interval(values, users_of([back], "all")) == pytest.approx(interval(by_user))
    assert made.settings["split.hold_out"] == 2


def test_a_file_that_is_read_and_written_again_is_the_same(result: CellResult, tmp_path: Path) -> None:
    path = result.save(tmp_path / "first")
    again = CellResult.load(path).save(tmp_path / "second")
    assert again.read_bytes() == path.read_bytes()
    assert again.name == path.name


def test_what_a_killed_writer_left_beside_a_cell_goes_when_it_is_stored_again(
    result: CellResult, tmp_path: Path
) -> None:
    """A kill after the times were renamed, which are not written again."""
    path = result.save(tmp_path)
    before = contents(tmp_path)
    (path.parent / f".{path.stem}.times.json.lock").touch()
    result.save(tmp_path)
    assert contents(tmp_path) == before
    assert durable.left_behind(tmp_path) == []


def test_a_run_trained_by_hand_is_the_cell_that_a_study_looks_for(result: CellResult, tmp_path: Path) -> None:
    cell = Cell("tiger", 0, WORLD, "s2gr-planted")
    assert load_existing(tmp_path, [cell]) == {}
    assert result.save(tmp_path) == cell.path(tmp_path)
    assert load_existing(tmp_path, [cell])[cell].settings == result.settings


def test_a_cell_says_how_it_was_trained(judged: Path, result: CellResult) -> None:
    training = result.training
    assert training is not None
    rows = read_log(judged / "train")
    assert (training.asked, training.done) == (2, len(rows))
    assert training.scores == tuple(row["score"] for row in rows)
    assert training.scores[training.best - 1] == max(training.scores)
    assert training.seconds == pytest.approx(sum(row["seconds"] for row in rows), abs=0.1)
    log = RunContents(Run.open(judged)).split.train
    assert training.targets == (np.maximum(log.lengths - 1, 0)).sum()
    assert result.beams == 100  # raised to the length of the lists


def test_recommendations_to_all_users_are_judged_together(result: CellResult) -> None:
    for seen in ("masked", "kept"):
        coverage = result.mean(seen, "all", "coverage")
        assert coverage is not None
        assert 0 < coverage <= 1
        assert result.mean(seen, ">=10", "coverage") is None


def test_where_the_data_lie_and_who_looks_on_make_no_other_cell() -> None:
    there = ("data.path=/there/beauty", 'train.log_with=["tensorboard"]', "evaluate.batch_size=7", "evaluate.at=[1]")
    plain = identity(recipes.read("s2gr-beauty", ["data.path=/here/beauty"]))
    assert identity(recipes.read("s2gr-beauty", there)) == plain
    assert identity(recipes.read("s2gr-beauty", [*there, "data.ties=shuffled"])) != plain


def test_what_a_method_does_not_use_makes_no_other_cell_of_it() -> None:
    sets = ("tokenizer.num_clusters=4", "generator.width=64", "evaluate.num_beams=7")
    baseline, generator = (
        [Cell(method, 0, each, "s2gr-beauty").path(Path()) for each in ((), sets)] for method in ("sasrec-ce", "s2gr")
    )
    assert baseline[0] == baseline[1]
    assert generator[0] != generator[1]
    popularity = [Cell("popularity", 0, each, "s2gr-beauty").path(Path()) for each in ((), ("train.epochs=3",))]
    assert popularity[0] == popularity[1]


def test_a_fused_cell_is_known_by_its_parts_and_not_by_where_they_lie(judged: Path, tmp_path: Path) -> None:
    shutil.copytree(judged, tmp_path / "moved")
    other = tmp_path / "other"
    other.mkdir()
    values = json.loads((judged / "recipe.json").read_text())
    del values["digest"]
    (other / "recipe.json").write_text(json.dumps({**values, "seed": 1}))
    here, there, third = (
        Cell("s2gr-fused", 0, (f"fusion.generator={part}", f"fusion.scorer={part}"), "s2gr-planted").path(Path())
        for part in (judged, tmp_path / "moved", other)
    )
    assert here == there
    assert here != third


def test_seeds_settings_and_methods_are_cells_of_their_own() -> None:
    cells = [Cell(method, seed, sets, "s2gr-beauty") for method in METHODS for seed in (0, 1)
             for sets in ((), ("data.ties=shuffled",))]  # fmt: skip
    assert len({cell.path(Path()) for cell in cells}) == len(cells)


def test_a_baseline_is_trained_as_its_method_says_and_a_generator_as_the_recipe() -> None:
    bare, tuned = (Cell("sasrec-ce", 0, sets, "s2gr-beauty").read() for sets in ((), ("train.epochs=3",)))
    parts = METHODS["sasrec-ce"].parts["train"]
    assert {key: getattr(bare.train, key) for key in parts} == dict(parts)
    assert (tuned.train.epochs, tuned.train.lr) == (3, parts["lr"])
    assert Cell("tiger", 0, (), "s2gr-beauty").read().train == recipes.read("s2gr-beauty").train


def test_later_settings_win() -> None:
    cell = Cell("s2gr", 3, ("train.epochs=3", "train.epochs=5", "evaluate.k=20"), "s2gr-planted")
    assert (cell.read().train.epochs, cell.read().seed, cell.read().evaluate.k) == (5, 3, 100)


def test_a_method_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="No method 'sasrec'; did you mean 'sasrec-"):
        Cell("sasrec", 0, (), "s2gr-beauty").read()


def test_a_metric_deeper_than_the_lists_is_refused(result: CellResult) -> None:
    with pytest.raises(ConfigError, match="NDCG@101 needs longer lists"):
        result.values("masked", "all", "NDCG@101")


def test_files_that_are_no_cells_are_refused(result: CellResult, tmp_path: Path) -> None:
    path = result.save(tmp_path)
    with pytest.raises(ArtifactError, match="No cell in"):
        CellResult.load(path.with_name("other.json"))
    cases = next(path.parent.glob("cases-*.json"))
    held = json.loads(cases.read_text())
    cases.write_text(json.dumps({**held, "user_steps": held["lengths"]}))
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        CellResult.load(path)
    path.write_text("[]")
    with pytest.raises(ArtifactError, match="expected a JSON object"):
        CellResult.load(path)
    path.write_text("{}")
    with pytest.raises(ArtifactError, match="not a cell of format 1"):
        CellResult.load(path)


def test_a_cell_that_lost_a_part_is_refused(result: CellResult, tmp_path: Path) -> None:
    path = result.save(tmp_path)
    held = json.loads(path.read_text())
    packed = {"type": "|u1", "zlib": "bm8gemxpYg=="}
    for damage in ({"cases": None}, {"data": {}}, {"ranks": {"masked": packed, "kept": packed}}):
        path.write_text(json.dumps({**held, **damage}))
        with pytest.raises(ArtifactError):
            CellResult.load(path)
    path.write_text('{"format": 1}')
    with pytest.raises(ArtifactError, match="is damaged"):
        CellResult.load(path)


def test_cells_of_other_files_of_the_same_name_are_not_taken_for_these(tmp_path: Path) -> None:
    def log(seed: int) -> Path:
        rng = random.Random(seed)
        rows = [f"u{user},i{rng.randrange(12)},{step}" for user in range(40) for step in range(6)]
        folder = tmp_path / str(seed) / "shop"
        folder.mkdir(parents=True)
        (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
        (folder / "recipe.toml").write_text(
            'method = "sasrec-ce"\n[data]\ninteractions = "log.csv"\nuser = "user"\nitem = "item"\norder = "time"\n'
        )
        return folder

    one, other = log(1), log(2)
    sets = (f"data.path={one}", "train.epochs=1", "evaluate.k=100")
    succeed("run", one / "recipe.toml", *sets, "--out", tmp_path / "run")
    recipe = str(one / "recipe.toml")
    record(tmp_path / "run", method="popularity").save(tmp_path / "cells")
    assert len(load_existing(tmp_path / "cells", [Cell("popularity", 0, (f"data.path={one}",), recipe)])) == 1
    with pytest.raises(DataError, match="was computed from another version of"):
        load_existing(tmp_path / "cells", [Cell("popularity", 0, (f"data.path={other}",), recipe)])
    (other / "log.csv").unlink()
    assert len(load_existing(tmp_path / "cells", [Cell("popularity", 0, (f"data.path={other}",), recipe)])) == 1


def test_cells_are_small(result: CellResult, tmp_path: Path) -> None:
    assert result.save(tmp_path).stat().st_size < 30_000

"""Studies of tokenizers: every row runs, a cell is what its recipe alone would give, and a stopped study goes on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import WORLD, contents, refuse, succeed
from sidestep import recipes
from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, split
from sidestep.errors import TrainingError
from sidestep.evaluation.seeds import summaries
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.studies.executing import Begin, Crew, Process
from sidestep.studies.judging import COLD, Making, folder_of, id_slots, judge, of_vectors
from sidestep.studies.rows import TEXT_ALONE
from sidestep.studies.tokenizers import STUDIES
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.workshop.report import judge_run


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_of_every_study_is_a_recipe_that_differs_from_the_others(name: str) -> None:
    made = [recipes.read("s2gr-planted", row.settings()).model_dump_json() for row in STUDIES[name].rows]
    assert len(set(made)) == len(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table3", "gr2"])
def test_every_row_gives_ids(name: str, tmp_path: Path) -> None:
    rows = judge(name, "s2gr-planted", WORLD, [0], tmp_path, lambda _: None)
    assert [row["row"] for row in rows] == [row.name for row in STUDIES[name].rows]
    assert all(0 < row["mean"]["ICR"] <= 1 and row["deviation"]["ICR"] == 0 for row in rows)
    assert json.loads((tmp_path / "study.json").read_text())["rows"] == rows


ONLY = ["rq-kmeans", "pq"]


def files_of(out: Path) -> dict[str, bytes]:
    """The arrays and the figures below a study's folder."""
    kept = [path for path in sorted(out.rglob("*")) if path.name == "study.json" or path.suffix == ".safetensors"]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept}


def test_cells_of_ids_are_the_same_whoever_makes_them_and_are_made_once(tmp_path: Path) -> None:
    said, begun = list[str](), list[tuple[str, ...]]()

    def begin(words: Sequence[str], output: Path, held: Path, threads: int) -> Process:
        begun.append(tuple(words))
        assert threads == 1
        return Process(words, output, held, threads)

    here = judge("table3", "s2gr-planted", WORLD, [0], tmp_path / "here", said.append, only=ONLY)
    there = judge(
        "table3",
        "s2gr-planted",
        WORLD,
        [0],
        tmp_path / "there",
        said.append,
        only=ONLY,
        making=Making(crew=Crew(begin, 2)),
    )
    assert here == there
    assert [row["mean"] for row in here] == [summaries(row["cells"])["mean"] for row in here]
    assert len(files_of(tmp_path / "here")) > 4
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    assert [words[0] for words in begun] == ["tokenize"] * 2
    assert {"rq-kmeans, seed 0: begun", "pq, seed 0: done"} <= {*said}
    again = judge(
        "table3",
        "s2gr-planted",
        WORLD,
        [0],
        tmp_path / "there",
        said.append,
        only=ONLY,
        making=Making(crew=Crew(begin, 2)),
    )
    assert len(begun) == 2
    assert again == there


def test_a_cell_that_fails_leaves_the_others_and_is_tried_again(tmp_path: Path) -> None:
    def judged(begin: Begin) -> list[dict[str, Any]]:
        return judge(
            "table3",
            "s2gr-planted",
            WORLD,
            [0],
            tmp_path,
            lambda _: None,
            only=ONLY,
            making=Making(crew=Crew(begin, 1)),
        )

    def broken(words: Sequence[str], output: Path, held: Path, threads: int) -> Process:
        wrong = [*words, "tokenizer.kmeans_rounds=many"] if "tokenizer.kind=rq-kmeans" in words else words
        return Process(wrong, output, held, threads)

    with pytest.raises(TrainingError, match=r"1 of 2 cells failed, the first: rq-kmeans, seed 0: error: .*\.log\)"):
        judged(broken)
    assert (tmp_path / "pq-0" / "sids").exists()
    assert not (tmp_path / "rq-kmeans-0" / "sids").exists()
    assert [row["row"] for row in judged(Process)] == ONLY


def test_mistakes_are_told_before_any_process_begins(tmp_path: Path) -> None:
    words = ("sids", "study", "table3", "s2gr-beauty", "--cores", "2", "--out", tmp_path / "out")
    assert "No file '/no/beauty/interactions.csv.gz'" in refuse(*words, "data.path=/no/beauty")
    assert "did you mean 'num_levels'" in refuse(*words, "tokenizer.level=2")
    assert not list(tmp_path.glob("out/*.log"))


def test_vectors_are_judged_by_the_next_item_and_without_ids_where_none_are_asked_for(tmp_path: Path) -> None:
    world = (*WORLD, "tune.fewest=10", "tune.batch_size=16")
    only = ["raw, res-kmeans-fsq", "map + behaviour, res-kmeans-fsq"]
    raw, _ = judge("vectors", "s2gr-planted", world, [0], tmp_path / "vectors", lambda _: None, only=only)
    contents = RunContents(Run.open(tmp_path / "vectors" / "raw-res-kmeans-fsq-0"))
    own = of_vectors(contents.vectors, contents.split.test, contents.popularity)
    assert {name: raw["mean"][name] for name in own} == own
    assert {"ICR", "co-purchase", "V of category, 1", "near HR@50"} <= raw["mean"].keys()
    (alone,) = judge("pairs", "s2gr-planted", world, [0], tmp_path / "pairs", lambda _: None, only=["raw"])
    assert alone["mean"] == own
    assert not (tmp_path / "pairs" / "raw-0" / "sids").exists()


def test_cold_targets_are_those_that_training_has_hardly_seen() -> None:
    log = Interactions(["a", "b"], np.array([0, 4, 8]), np.array([0, 1, 2, 1, 1, 2, 0, 2]))
    vectors = ItemVectors(np.array([[1, 0], [1, 0.1], [0, 1]] + [[0.9, 0.5]] * 60, dtype=np.float32))
    cases = split(log, SplitConfig()).test  # 2 -> 1, and 0 -> 2 behind all the others
    seen = np.array([9, 9, COLD] + [9] * 60)
    assert of_vectors(vectors, cases, seen)["cold HR@50"] == 0
    assert "cold HR@50" not in of_vectors(vectors, cases, seen + 1)


def test_a_cell_of_ids_is_its_recipe_with_the_user_s_settings_and_then_the_row_s() -> None:
    user = ("tokenizer.dmax=0.7", "tokenizer.epochs=3")
    first, second = id_slots("balance", "s2gr-planted", user, [0, 4], ["delta_max 0.2"])
    assert (first.seed, second.seed) == (0, 4)
    expected = recipes.read("s2gr-planted", [*TEXT_ALONE, *user, "tokenizer.dmax=0.2", "seed=4"])
    assert second.cell.read() == expected
    assert folder_of(Path("out"), second) == Path("out/delta-max-0.2-4")


def test_rows_are_taken_once_and_in_the_order_in_which_they_are_named() -> None:
    coba = STUDIES["coba"]
    assert coba.chosen([]) == coba.rows
    chosen = coba.chosen(["without balance", "coba-rq-vae", "without balance"])
    assert [row.name for row in chosen] == ["without balance", "coba-rq-vae"]


def test_a_row_is_the_mean_over_the_runs_of_its_seeds(tmp_path: Path) -> None:
    rows = judge("balance", "s2gr-planted", WORLD, [0, 1, 2], tmp_path, lambda _: None, only=["delta_max 0.2"])
    folders = [tmp_path / f"delta-max-0.2-{seed}" for seed in (0, 1, 2)]
    values = [judge_run(Run.open(folder)).icr for folder in folders]
    assert rows[0]["mean"]["ICR"] == pytest.approx(np.mean(values))
    assert rows[0]["deviation"]["ICR"] == pytest.approx(np.std(values, ddof=1))
    assert [Run.open(folder).recipe.tokenizer.dmax for folder in folders] == [0.2] * 3


def test_finished_cells_are_read_and_not_made_again(tmp_path: Path) -> None:
    words = ("sids", "study", "coba", "s2gr-planted", *WORLD, "--row", "without balance", "--out", tmp_path)
    succeed(*words, "--seeds", "0")
    before = contents(tmp_path / "without-balance-0")
    again = succeed(*words, "--seeds", "0,1", "--json")
    assert contents(tmp_path / "without-balance-0") == before
    (row,) = json.loads(again.out)
    assert row["sets"] == ["tokenizer.dmax=0"]
    assert row["seeds"] == [0, 1]


def test_downstream_adds_what_a_generator_reaches(tmp_path: Path) -> None:
    words = ("sids", "study", "coba", "s2gr-planted", *WORLD, "--row", "coba-rq-vae", "--seeds", "0", "--downstream")
    shown = succeed(*words, "--out", tmp_path).out
    assert "NDCG@10" in shown
    header, rule, row = (tmp_path / "study.md").read_text().splitlines()
    assert header.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| coba-rq-vae | ")
    assert "Seed 0 alone" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tabel3",), "No study 'tabel3'; did you mean 'table3'?"),
        (("table3", "--row", "rq-vaes"), "has no row 'rq-vaes'; did you mean 'rq-vae'?"),
        (("table3", "--seeds", "0;1"), "Cannot read --seeds '0;1'"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_runs(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    name, *rest = words
    assert said in refuse("sids", "study", name, "s2gr-planted", *rest, "--out", tmp_path / "study")
    assert not (tmp_path / "study").exists()

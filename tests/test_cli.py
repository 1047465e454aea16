"""The command line: what every verb prints, and how it answers a mistake."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command import WORLD, executable, refuse, sidestep, snapshot, succeed
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.methods.table import METHODS
from sidestep.recipes import built_in
from sidestep.recipes import read as read_recipe


def test_the_version_is_the_installed_one() -> None:
    assert succeed("--version").out == f"sidestep {version('sidestep')}\n"


def test_methods_and_recipes_are_listed_for_people_and_for_programs() -> None:
    assert [row["method"] for row in json.loads(succeed("methods", "--json").out)] == list(METHODS)
    assert [row["recipe"] for row in json.loads(succeed("recipes", "--json").out)] == list(built_in())
    assert succeed("methods").out.count("\n") == len(METHODS)
    assert succeed("recipes").out.count("\n") == len(built_in())


def test_a_printed_recipe_is_a_recipe_and_keys_are_explained(tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_text(succeed("recipes", "glass-planted").out)
    assert read_recipe(str(copy)) == read_recipe("glass-planted")
    assert (
        "train.epochs                 whole number (at least 1); default: 100\n      max"
        in succeed("config", "train").out
    )
    (section,) = json.loads(succeed("config", "train.lr", "--json").out)
    assert [key["name"] for key in section["keys"]] == ["train.lr"]
    assert [each["name"] for each in json.loads(succeed("config", "data", "--json").out)] == ["data", "data.planted"]
    near = [f"'{section}.epochs'" for section in ("behaviour", "slices", "tokenizer", "train", "reranker", "align")]
    assert f"did you mean {' or '.join(near)}?" in refuse("config", "epochs")
    assert "[align]" in succeed("config", "align").out  # of no recipe, but a guide sends readers here
    assert "did you mean 's2gr-planted'?" in refuse("recipes", "s2gr-plantd")


@pytest.mark.parametrize("command", [[executable()], [sys.executable, "-m", "sidestep"]], ids=["script", "module"])
def test_the_command_answers_a_mistake_with_one_line_and_code_2(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*command, "recommend", "nowhere", "--user", "u"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: No run in 'nowhere': recipe.json is missing\n"


# --- evaluate ---


def test_evaluating_again_prints_the_same_table_and_writes_nothing(finished: Path) -> None:
    before = snapshot(finished)
    done = succeed("evaluate", finished)
    assert snapshot(finished) == before
    for word in (
        "popularity",
        "item-knn",
        "item-knn-recent",
        "s2gr",
        "masked",
        "kept",
        ">=10",
        "SID-level",
        "Best possible",
        "Protocol",
    ):
        assert word in done.out


def test_an_evaluation_as_json_has_a_row_for_every_method_users_and_seen(finished: Path) -> None:
    found = json.loads(succeed("evaluate", finished, "--json").out)
    rows = found["rows"]
    assert len(rows) == 5 * 2 * 2
    assert {(row["method"], row["seen"], row["users"]) for row in rows} == {
        (method, seen, users)
        for method in ("popularity", "item-knn", "item-knn-recent", "own-counts", "s2gr")
        for seen in ("masked", "kept")
        for users in ("all", ">=10")
    }
    for row in rows:
        assert row["invalid"] == 0
        assert 0 <= row["NDCG@10"] <= row["HR@10"] <= row["sid_HR@10"] <= 1
    assert 0 < found["best_possible_HR@10"] <= 1
    assert "leave-one-out" in found["protocol"]


def test_any_k_is_told_from_the_lists_that_are_ranked_already(finished: Path) -> None:
    before = snapshot(finished)
    rows = json.loads(succeed("evaluate", finished, "--at", "1,5,20", "--json").out)["rows"]
    assert snapshot(finished) == before
    default = json.loads(succeed("evaluate", finished, "--json").out)["rows"]
    for row, usual in zip(rows, default, strict=True):
        assert row["HR@5"] == usual["HR@5"]
        assert row["HR@1"] == row["NDCG@1"] == row["MRR@1"] <= row["MRR@20"] <= row["NDCG@20"] <= row["HR@20"]
        assert "HR@10" not in row
    text = succeed("evaluate", finished, "--at", "1,5,20").out
    for word in ("HR@1 ", "HR@20 ", "NDCG@20 ", "SID-level HR@20", "HR@20, all users"):
        assert word in text


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("1,50", "Cannot compute metrics at 1, 50 from lists of 20; expected numbers from 1 to 20"),
        ("0", "Cannot compute metrics at 0"),
        ("ten", "Cannot read --at 'ten'; expected whole numbers with commas, as in 1,5,10"),
    ],
)
def test_a_k_that_cannot_be_told_is_refused(finished: Path, at: str, message: str) -> None:
    assert message in refuse("evaluate", finished, "--at", at)


# --- recommend ---


@pytest.fixture(scope="module")
def item_ids(finished: Path) -> list[str]:
    return Catalog.load(finished / "catalog").item_ids


def asked(folder: Path, *words: object) -> list[dict[str, object]]:
    answers = json.loads(succeed("recommend", folder, *words, "--json").out)
    assert isinstance(answers, list)
    return answers


def test_a_history_may_be_spelled_with_commas_or_as_a_json_list(finished: Path, item_ids: list[str]) -> None:
    spelled = asked(finished, "--history", f"{item_ids[3]}, {item_ids[7]}")
    assert spelled == asked(finished, "--history", json.dumps([item_ids[3], item_ids[7]]))
    assert spelled[0]["history"] == [item_ids[3], item_ids[7]]
    recommended = spelled[0]["recommendations"]
    assert isinstance(recommended, list)
    ids = [entry["item_id"] for entry in recommended]
    assert len(set(ids)) == 10
    assert not set(ids) & {item_ids[3], item_ids[7]}
    scores = [entry["score"] for entry in recommended]
    assert scores == sorted(scores, reverse=True)


def test_a_user_is_asked_for_with_all_that_they_did(finished: Path, item_ids: list[str]) -> None:
    log = Interactions.load(finished / "interactions")
    history = [item_ids[item] for item in log.history(4)]
    by_user, by_history = asked(finished, "--user", log.user_ids[4]), asked(finished, "--history", ",".join(history))
    assert by_user[0]["recommendations"] == by_history[0]["recommendations"]
    assert by_user[0]["asked"] == log.user_ids[4]


def test_several_users_are_answered_in_the_order_they_are_named(finished: Path) -> None:
    assert [entry["asked"] for entry in asked(finished, "--user", "u03", "--user", "u01", "--k", 2)] == ["u03", "u01"]


def test_a_file_of_histories_is_answered_line_by_line(finished: Path, item_ids: list[str], tmp_path: Path) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_text(f'["{item_ids[0]}"]\r\n\n[]\n')
    first, second = asked(finished, "--histories", path, "--k", 3)
    assert (first["by"], second["by"]) == ("model", "popularity")
    assert first["history"] == [item_ids[0]]


def test_an_id_may_hold_whatever_is_no_line_feed(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_text('["P01", "a\u2028b\x85c"]\n', encoding="utf-8")
    (answer,) = asked(finished, "--histories", path, "--unknown", "skip")
    assert answer["unknown"] == ["a\u2028b\x85c"]


def answered(folder: Path, *words: object) -> list[str]:
    entries = asked(folder, *words)[0]["recommendations"]
    assert isinstance(entries, list)
    return [entry["item_id"] for entry in entries]


def test_allowed_and_denied_items_come_from_a_file_or_from_the_line(finished: Path, tmp_path: Path) -> None:
    allow, deny = tmp_path / "allow.txt", tmp_path / "deny.txt"
    allow.write_text("P07\nP08\n\nP11\nP40\n")
    deny.write_text("P08\r\n")
    by_file = answered(finished, "--history", "P11", "--allow", allow, "--deny", deny)
    assert sorted(by_file) == ["P07", "P40"]
    assert by_file == answered(finished, "--history", "P11", "--allow", "P07,P08,P11,P40", "--deny", '["P08"]')
    assert sorted(answered(finished, "--history", "P11", "--allow", "P11,P40", "--keep-seen")) == ["P11", "P40"]
    assert "Unknown item 'P1'" in refuse("recommend", finished, "--history", "P11", "--deny", "P1")
    assert "Cannot read --allow '[' as a JSON list" in refuse("recommend", finished, "--user", "u01", "--allow", "[")


def test_an_option_with_choices_names_them(finished: Path) -> None:
    done = sidestep("recommend", finished, "--history", "P01", "--unknown", "ignore")
    assert done.code == 2
    assert "'ignore' is not one of 'error', 'skip'" in done.err


def test_everybody_is_written_to_parquet_as_they_are_answered_one_by_one(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "recs.parquet"
    succeed("recommend", finished, "--all-users", "--k", 3, "--out", out)
    table = pl.read_parquet(out)
    assert table.columns == ["asked", "rank", "item_id", "score", "by"]
    assert len(table) == 60 * 3
    one = asked(finished, "--user", "u17", "--k", 3)[0]["recommendations"]
    assert isinstance(one, list)
    assert table.filter(pl.col("asked") == "u17")["item_id"].to_list() == [entry["item_id"] for entry in one]
    assert [path.name for path in out.parent.iterdir()] == ["recs.parquet"]


def test_explanations_name_clusters_codes_and_probabilities_level_by_level(finished: Path) -> None:
    text = succeed("recommend", finished, "--user", "u01", "--explain", "--k", 2).out
    share = r"\(\d+% of its probability in \d+ of \d+ clusters"
    assert len(re.findall(rf"level 1: (?:thinks of .+|undecided) {share}.*, nearest ", text)) == 2
    assert not re.search(r"level 3: (?:thinks of|undecided|thought)", text)
    entries = asked(finished, "--user", "u01", "--explain", "--k", 2)[0]["recommendations"]
    assert isinstance(entries, list)
    for entry in entries:
        assert [thought["level"] for thought in entry["thoughts"]] == [1, 2, 3]
        assert entry["score"] == pytest.approx(sum(thought["log_prob"] for thought in entry["thoughts"]), abs=1e-4)
        assert entry["thoughts"][2]["clusters"] == []  # two codes decide the third: no thought before it
        for thought in entry["thoughts"][:2]:
            probabilities = [probability for _, probability in thought["clusters"]]
            assert probabilities == sorted(probabilities, reverse=True)
            assert 0 < sum(probabilities) <= 1 + 1e-6
        names = [thought["name"] for thought in entry["thoughts"]]
        before, left = 48, [thought["num_items"] for thought in entry["thoughts"]]
        assert left == sorted(left, reverse=True)
        for name, kept in zip(names, left, strict=True):  # shown where it decides something and leaves several
            assert (f"leaves {kept:,} items: {name}" in text) == (1 < kept < before)
            before = kept
        assert (f"{entry['thoughts'][-1]['code']} at level 3" in text) == (left[-1] == left[-2])


def test_unknown_items_are_refused_with_the_nearest_id_or_skipped_and_named(finished: Path) -> None:
    assert "Unknown item 'P1'" in refuse("recommend", finished, "--history", "P1")
    assert "did you mean 'P01'?" in refuse("recommend", finished, "--history", "P001")
    text = succeed("recommend", finished, "--history", "P01,P1", "--unknown", "skip").out
    assert "skipped unknown items: P1" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Expected one of --history, --user, --histories and --all-users, got 0"),
        (("--history", "P01", "--all-users"), "got 2"),
        (("--user", "u001"), "Unknown user 'u001': the log of 60 users has no such id; did you mean 'u01'?"),
        (("--history", "P01", "--k", "0"), "k = 0, expected at least 1"),
        (("--history", '["P01"'), "as a JSON list"),
        (("--history", '[["P01"]]'), "expected a list of item ids"),
        (("--histories", "nowhere.jsonl"), "No such file or directory: 'nowhere.jsonl'"),
    ],
)
def test_a_question_that_cannot_be_answered_says_what_was_expected(
    finished: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refuse("recommend", finished, *words)


def test_a_bad_line_of_histories_is_named_by_its_number(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_text('["P01"]\nP02,P03\n')
    assert "line 2 is 'P02,P03'; expected one JSON list" in refuse("recommend", finished, "--histories", path)


# --- compare ---


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "other"
    succeed("run", "s2gr-planted", *WORLD, 'method="tiger"', "--out", folder)
    return folder


def test_comparing_gives_the_difference_with_its_interval(finished: Path, other: Path) -> None:
    rows = json.loads(succeed("compare", finished, other, "--json").out)
    assert {(row["seen"], row["users"]) for row in rows} == {
        (seen, users) for seen in ("masked", "kept") for users in ("all", ">=10")
    }
    for row in rows:
        assert row["difference"] == pytest.approx(row["second"] - row["first"])
        assert row["low"] <= row["difference"] <= row["high"]
        assert 0 < row["p"] <= 1
    text = succeed("compare", finished, other).out
    assert f"B = {other}" in text
    assert "Paired bootstrap" in text


def test_a_comparison_ends_with_all_methods_the_best_first(finished: Path, other: Path) -> None:
    def rows(folder: Path) -> list[dict[str, Any]]:
        table = json.loads(succeed("evaluate", folder, "--json").out)["rows"]
        return [row for row in table if row["users"] == "all" and row["seen"] == "kept"]

    best = json.loads(succeed("evaluate", finished, "--json").out)["best_possible_HR@10"]
    known = [(row["method"], row["HR@10"], row["NDCG@10"]) for row in rows(finished) if row["method"] != "s2gr"]
    for run, folder in (("A", finished), ("B", other)):
        own = rows(folder)[-1]
        known.append((f"{own['method']} ({run})", own["HR@10"], own["NDCG@10"]))
    known.sort(key=lambda row: row[1:], reverse=True)
    _, _, text = succeed("compare", finished, other).out.partition(
        "All methods, 60 cases of all users, seen items kept:"
    )
    lines = [
        line.split() for line in text.rpartition("\N{BOX DRAWINGS LIGHT HORIZONTAL}")[2].splitlines() if line.strip()
    ]
    assert lines[0] == ["best", "possible", f"{best:.4f}"]
    expected = [[*name.split(), f"{hr:.4f}", f"{ndcg:.4f}", f"{hr / best:.1%}"] for name, hr, ndcg in known]
    assert lines[1:] == expected


def test_a_generator_without_thoughts_explains_by_codes_alone(other: Path) -> None:
    text = succeed("recommend", other, "--user", "u01", "--explain", "--k", 1).out
    assert "level 1: code " in text
    assert not re.search(": (?:thinks of|undecided|thought) ", text)


def test_comparing_a_run_with_itself_or_with_an_unevaluated_one_is_refused(finished: Path, tmp_path: Path) -> None:
    assert "Expected two runs" in refuse("compare", finished, finished)
    unevaluated = tmp_path / "unevaluated"
    shutil.copytree(finished, unevaluated)
    shutil.rmtree(unevaluated / "evaluation")
    assert "has not been evaluated; run sidestep evaluate" in refuse("compare", finished, unevaluated)


def test_ranks_of_a_model_that_is_gone_are_not_compared(finished: Path, other: Path, tmp_path: Path) -> None:
    again = shutil.copytree(finished, tmp_path / "again")
    succeed("train", "s2gr-planted", *WORLD, "train.lr=0.002", "--out", again, "--force")
    for pair in ((again, other), (other, again)):
        assert f"ranks another model than {str(again)!r} now holds; run sidestep evaluate" in refuse("compare", *pair)
    succeed("evaluate", again, "--force")
    succeed("compare", again, other)


def test_runs_are_compared_at_the_k_of_their_recipes(finished: Path, other: Path, tmp_path: Path) -> None:
    deep = shutil.copytree(finished, tmp_path / "deep")
    succeed("run", "s2gr-planted", *WORLD, "evaluate.at=[1,20]", "--out", deep)
    metrics = {row["metric"] for row in json.loads(succeed("compare", deep, other, "--json").out)}
    assert metrics == {f"{name}@{k}" for name in ("HR", "NDCG", "MRR") for k in (1, 5, 10, 20)}


# --- recipes and overrides ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("s2gr-plantd",), "No recipe 's2gr-plantd': neither a built-in one nor a file; did you mean 's2gr-planted'?"),
        (
            ("s2gr-planted", "tokenizer.num_level=4"),
            "Unknown key 'num_level' in [tokenizer]; did you mean 'num_levels'",
        ),
        (("s2gr-planted", "toknizer.num_levels=4"), "Unknown key 'toknizer' in the recipe; did you mean 'tokenizer'?"),
        (("s2gr-planted", "train.epochs=0"), "Bad value 0 for train.epochs"),
        (("s2gr-planted", "train.epochs=many"), "Bad value 'many' for train.epochs"),
        (("s2gr-planted", "train.lr=nan"), "Bad value nan for train.lr"),
        (("s2gr-planted", "evaluate.at=[5,30]"), "Bad value for evaluate: at = 30 asks for more than the k = 20"),
        (("s2gr-planted", "method=s2grr"), "there is no such method; did you mean 's2gr'?"),
        (("s2gr-planted", "epochs"), "Cannot read the override 'epochs'; expected key=value"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_before_anything_is_written(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert message in refuse("run", *words, "--out", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('method = "s2gr\n')
    assert "as TOML" in refuse("run", tmp_path / "mine.toml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_goes_on_with_its_own_recipe_and_takes_no_overrides(finished: Path) -> None:
    before = snapshot(finished)
    assert "is a run folder and has its recipe" in refuse("run", finished, "train.epochs=5")
    assert "s2gr" in succeed("run", finished).out
    assert snapshot(finished) == before


def test_a_folder_with_other_things_in_it_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert "is no run folder and is not empty" in refuse("prepare", "s2gr-planted", *WORLD, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_where_the_run_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    refuse("prepare", "s2gr-planted", *WORLD, "--out", tmp_path / "run")
    assert (tmp_path / "run").read_text() == "a file"


def test_a_folder_is_not_written_as_a_file(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\na,b\n")
    for words in (
        ("recommend", finished, "--user", "u01"),
        ("report", finished),
        ("init", "--interactions", tmp_path / "log.csv", "--force"),
    ):
        assert "is a folder; expected the name of a file to write" in refuse(*words, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_unknown_verbs_and_options_end_with_code_2() -> None:
    assert sidestep("runn").code == sidestep("run").code == sidestep("methods", "--jsn").code == 2


def test_who_reads_only_the_first_line_is_no_error(finished: Path) -> None:
    reader = f"{executable()} recommend {finished} --all-users --k 40 --explain | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", reader], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_times_are_read_and_change_nothing_for_a_model_that_reads_none(finished: Path) -> None:
    plain = asked(finished, "--history", "P05,P11")
    timed = '[{"item_id": "P05", "time": "2026-01-01"}, {"item_id": "P11", "time": 1795896900000}]'
    assert asked(finished, "--history", timed, "--at", "2026-11-28T20:15") == plain
    assert asked(finished, "--user", "u01", "--at", "2026-11-28") == asked(finished, "--user", "u01")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--user", "u01", "--at", "noon"), "Cannot read at = 'noon' as a time; expected ISO 8601"),
        (("--history", '[{"item_id": "P05", "time": 9e9}]'), "Cannot read a time of --history = '9000000000.0'"),
        (
            ("--history", '[{"item_id": "P05", "time": "2026-01-02"}, {"item_id": "P11", "time": "2026-01-01"}]'),
            "The history's times fall: item 2 is of 2026-01-01T00:00:00, item 1 before it of 2026-01-02T00:00:00",
        ),
    ],
)
def test_a_time_that_cannot_be_read_is_one_sentence(finished: Path, words: tuple[str, ...], message: str) -> None:
    assert message in refuse("recommend", finished, *words)

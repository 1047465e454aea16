"""What the words of a command line mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidestep.cli.parsing import (
    read_depths,
    read_ids,
    read_ids_or_file,
    read_prefix,
    read_question,
    read_seeds,
    read_source,
    read_where,
)
from sidestep.errors import ConfigError, DataError
from sidestep.pipeline.recommend import Question
from sidestep.workshop.tables import Source


def test_numbers_stand_between_commas() -> None:
    assert read_prefix("12") == (12,)
    assert read_prefix("12,5, 0") == (12, 5, 0)
    assert read_seeds("2,0,2") == (2, 0)  # a seed named twice is one training
    assert read_depths("1,5") == (1, 5)
    assert read_depths(None) == ()


@pytest.mark.parametrize("wrong", ["", "1,", "1;2", "x", "1.5"])
def test_what_is_no_number_is_refused_under_the_name_of_its_option(wrong: str) -> None:
    for read, option in ((read_prefix, "--code"), (read_seeds, "--seeds"), (read_depths, "--at")):
        with pytest.raises(ConfigError, match=rf"Cannot read {option} .*; expected whole numbers with commas"):
            read(wrong)


def test_ids_stand_between_commas_or_in_a_json_list_or_in_a_file(tmp_path: Path) -> None:
    assert read_ids(" a, b,,c ", "--history") == ["a", "b", "c"]
    assert read_ids('["a,b", 7]', "--history") == ["a,b", "7"]
    assert read_ids_or_file(None, "--deny") is None
    assert read_ids_or_file("a,b", "--deny") == ["a", "b"]
    (tmp_path / "ids").write_text("a,b\n\nc\n", encoding="utf-8")
    assert read_ids_or_file(str(tmp_path / "ids"), "--deny") == ["a,b", "c"]
    with pytest.raises(ConfigError, match="Cannot read --deny"):
        read_ids_or_file("[1, ", "--deny")
    with pytest.raises(DataError, match=r"--deny is .*; expected a list of item ids"):
        read_ids_or_file("[[1], 2]", "--deny")


def test_a_question_is_exactly_one_of_four(tmp_path: Path) -> None:
    (tmp_path / "histories").write_text('["a", "b"]\n\n[]\n', encoding="utf-8")
    file = tmp_path / "histories"
    assert read_question("a,b", None, None, False) == Question(histories=[["a", "b"]])
    assert read_question(None, ["u"], None, False) == Question(users=["u"])
    assert read_question(None, None, file, False) == Question(histories=[["a", "b"], []])
    assert read_question(None, None, None, True) == Question()
    both: list[tuple[Any, ...]] = [(None, None, None, False), ("a", ["u"], None, False), (None, ["u"], file, True)]
    for words in both:
        with pytest.raises(ConfigError, match="Expected one of --history, --user, --histories and --all-users"):
            read_question(*words)


def test_a_source_has_a_version_or_a_table_unless_it_exists_as_it_is_spelled(finished: Path, tmp_path: Path) -> None:
    assert read_source(str(finished)) == Source(finished)
    assert read_source(f"{finished}@2") == Source(finished, version=2)
    assert Source(finished, version=2).name == f"{finished.name}@2"
    assert read_source("no-run@2") == Source(Path("no-run@2"))
    assert read_source("ids.npz:first") == Source(Path("ids.npz"), table="first")
    np.save(tmp_path / "a:b.npy", np.zeros((2, 2), int))
    assert read_source(f"{tmp_path}/a:b.npy") == Source(tmp_path / "a:b.npy")
    (tmp_path / "x@2").mkdir()
    assert read_source(f"{tmp_path}/x@2") == Source(tmp_path / "x@2")


def test_a_history_may_bring_times(tmp_path: Path) -> None:
    timed = '[{"item_id": "a", "time": "2026-11-28"}, "b", {"item_id": 7}]'
    (tmp_path / "histories").write_text(f'{timed}\n["c"]\n', encoding="utf-8")
    one, two = ["2026-11-28", None, None], [None]
    assert read_question(timed, None, None, False, "9") == Question([["a", "b", "7"]], times=[one], at="9")
    assert read_question(None, None, tmp_path / "histories", False) == Question(
        [["a", "b", "7"], ["c"]], times=[one, two]
    )
    for wrong in ('[{"item_id": "a", "when": 1}]', '[{"time": 1}]', '[{"item_id": ["a"]}]'):
        with pytest.raises(DataError, match=r"--history (holds|is) .*; expected"):
            read_question(wrong, None, None, False)


def test_conditions_are_ranges_or_lists_of_values() -> None:
    read = read_where(["price<=20", "price >= 5", "brand=a", "brand=b=c"])
    assert read == {"price": {"max": "20", "min": "5"}, "brand": ["a", "b=c"]}
    for texts, said in (
        (["price"], "expected COLUMN=VALUE"),
        (["a=1", "a<=2"], "a range and for single values of 'a'"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_where(texts)

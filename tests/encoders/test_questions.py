"""Questions about items: by the catalogue's columns, or a file's; and what is no such file."""

import json
from pathlib import Path

import polars as pl
import pytest

from sidestep.data.catalog import Catalog
from sidestep.encoders.questions import MOST, by_templates, of_file
from sidestep.errors import DataError

CATALOG = Catalog(
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "title": ["Soft  hat", None, "Scarf"],
            "categories": ["Clothes > Winter > Hats", "", "Clothes"],
            "brand": ["X", None, ""],
            "shoe_size": ["9", "", "x" * 100],
            "price": [1.5, 2.0, None],
        }
    )
)


def test_columns_are_asked_for_by_name_and_what_is_missing_or_long_is_not() -> None:
    found = by_templates(CATALOG)
    assert found[0] == (
        "Question: What kind of item is it? Answer: Hats "
        "Question: What is that a kind of, 1 up? Answer: Winter "
        "Question: What is that a kind of, 2 up? Answer: Clothes "
        "Question: Of which brand is it? Answer: X "
        "Question: What is its shoe size? Answer: 9 "
        "Question: What is it called? Answer: Soft hat"
    )
    assert found[1] == "Question: What is it called? Answer: b"  # the id, where there is no title
    assert "shoe" not in found[2]


def test_no_item_has_more_than_ten() -> None:
    wide = pl.DataFrame({"item_id": ["a"], **{f"column_{number}": ["v"] for number in range(20)}})
    assert by_templates(Catalog(wide))[0].count("Question:") == MOST


def lines(folder: Path, *rows: object) -> Path:
    place = folder / "qa.jsonl"
    place.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return place


def asked(item: str, question: object = "Which?", answer: object = "That.") -> dict[str, object]:
    return {"item": item, "question": question, "answer": answer}


def test_a_file_has_its_own_questions_in_its_order(tmp_path: Path) -> None:
    place = lines(tmp_path, asked("c"), "", asked("a", "One?\ntwo", " 1 "), asked("a", "Three?", "3"))
    assert of_file(place, CATALOG) == [
        "Question: One? two Answer: 1 Question: Three? Answer: 3", "", "Question: Which? Answer: That.",
    ]  # fmt: skip


def test_mistakes_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tune\.qa_path = .* is no file"):
        of_file(tmp_path / "none", CATALOG)
    unknown = [asked(item) for item in ("x", "y", "x", "z", "w")]
    with pytest.raises(DataError, match=r"5 items that the catalogue does not have: x, y, z.* leave these lines out"):
        of_file(lines(tmp_path, asked("a"), *unknown), CATALOG)
    with pytest.raises(DataError, match="holds no questions"):
        of_file(lines(tmp_path), CATALOG)
    for row in ("{", "[1]", "null", asked("a", None), asked("a", "Which?", 3), asked("a", "", "no"), {"item": "a"}):
        with pytest.raises(DataError, match="line 2: expected one JSON object with texts under item, ques"):
            of_file(lines(tmp_path, asked("a"), row), CATALOG)

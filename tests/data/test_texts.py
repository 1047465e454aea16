import polars as pl
import pytest

from sidestep.data.texts import add_text, usual_fields
from sidestep.errors import DataError


def test_fields_are_joined_in_the_order_asked_for_and_empty_ones_leave_no_mark() -> None:
    items = pl.DataFrame({"title": ["Bond", "", None, " "], "brand": ["OPI", "OPI", None, ""]})
    assert add_text(items, ["brand", "title"])["text"].to_list() == ["OPI. Bond", "OPI", "", ""]


def test_html_entities_and_runs_of_blanks_are_gone() -> None:
    items = pl.DataFrame({"title": ["L&#39;Oreal\n &amp;  Co", "a &lt;b&gt;"], "tags": [["x &amp; y"], [None]]})
    done = add_text(items, ["title", "tags"])
    assert done["text"].to_list() == ["L'Oreal & Co. x & y", "a <b>"]
    assert done["title"].to_list() == ["L'Oreal\n &  Co", "a <b>"]
    assert done["tags"].to_list() == [["x & y"], [None]]


def test_category_paths_show_their_steps_and_other_lists_are_sentences() -> None:
    items = pl.DataFrame({"categories": [["Beauty", "Nails"]], "description": [["Shiny.", "Red."]]})
    assert add_text(items, None)["text"].to_list() == ["Beauty > Nails. Shiny. Red."]


def test_several_category_paths_stay_apart() -> None:
    items = pl.DataFrame({"categories": [[["Beauty", "Nails"], ["Gifts"]]]})
    assert add_text(items, ["categories"])["text"].to_list() == ["Beauty > Nails, Gifts"]


def test_no_fields_or_nothing_in_them_means_no_text_column() -> None:
    items = pl.DataFrame({"title": ["", None], "text": ["source", "source"]})
    assert "text" not in add_text(items, []).columns
    assert "text" not in add_text(items, ["title"]).columns


def test_a_field_named_text_stands_for_all_the_others() -> None:
    items = pl.DataFrame({"title": ["Bond"], "text": ["Bond. &quot;007&quot;"]})
    assert usual_fields(items) == ["text"]
    assert add_text(items, None)["text"].to_list() == ['Bond. "007"']


def test_codes_are_no_words() -> None:
    items = pl.DataFrame({"tag": ["39", "11,12"], "genre": [3, 4], "Title": ["Alien", "Heat"], "price": ["$3", "$4"]})
    assert usual_fields(items) == ["Title"]


def test_a_missing_field_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(
        DataError, match=r"no column 'titel' \(data.text_fields\); did you mean 'title'\?.*title, brand"
    ):
        add_text(pl.DataFrame({"title": ["x"], "brand": ["y"]}), ["titel"])

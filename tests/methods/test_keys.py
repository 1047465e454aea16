"""Every key of a recipe is described where it is defined."""

import random
from typing import Literal

from pydantic import Field

from sidestep.config import Section
from sidestep.methods.keys import Key, described, sections
from sidestep.methods.table import RECIPE


class Inner(Section):
    """What is inside.

    kind: "a" takes all; the width: not a key. size, depth: how large, and how deep. shares: of each.
    """

    kind: Literal["a", "b"] = "a"
    size: int = Field(3, ge=1, le=9)
    depth: int | Literal["auto"] = "auto"
    shares: tuple[float, ...] = (0.5, 0.25)


class Outer(Section):
    """What is outside.

    on: whether it is.
    """

    on: bool = True
    inner: Inner = Inner()


def test_a_docstring_gives_the_intent_and_the_text_of_each_key() -> None:
    intent, texts = described(Inner.__doc__ or "", list(Inner.model_fields))
    assert intent == "What is inside."
    assert texts == {
        "kind": '"a" takes all; the width: not a key.',
        "size": "how large, and how deep.",
        "depth": "how large, and how deep.",
        "shares": "of each.",
    }


def test_keys_have_dotted_names_types_in_words_and_defaults() -> None:
    outer, inner = sections(Outer)
    assert (outer.name, outer.keys) == ("", [Key("on", "true or false", "true", "whether it is.")])
    assert inner.name == "inner"
    assert [(key.name, key.type, key.default) for key in inner.keys] == [
        ("inner.kind", '"a", "b"', "a"),
        ("inner.size", "whole number (at least 1, at most 9)", "3"),
        ("inner.depth", 'whole number or "auto"', "auto"),
        ("inner.shares", "list of number", "[0.5, 0.25]"),
    ]


def test_no_key_of_a_recipe_is_without_a_description() -> None:
    found = sections(RECIPE)
    assert [key.name for section in found for key in section.keys if not key.text] == []
    assert [section.name for section in found if not section.text] == []
    assert {"data", "data.planted", "tokenizer", "train", "thinking"} <= {section.name for section in found}


def test_a_checked_call_draws_nothing_from_the_shared_generator() -> None:
    """Else a thread that is checked meanwhile makes any test of Hypothesis look flaky; see `conftest.py`."""
    before = random.getstate()
    described("first: the one.", ["first", "second"])
    assert random.getstate() == before

"""`sidestep --help` lists every verb once."""

from collections import Counter
from itertools import chain

import pytest
import typer.main

from sidestep.cli import app
from sidestep.cli.contents import SECTIONS


def test_every_verb_stands_in_one_section() -> None:
    group = typer.main.get_command(app)
    assert Counter(chain.from_iterable(SECTIONS.values())) == Counter(list(group.commands))  # type: ignore[attr-defined]


def test_a_verb_is_listed_with_its_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    app(["--help"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{title}:" in text for title in SECTIONS)
    assert "list what every column is taken for, and write the recipe that runs on them." in text
    assert "..." not in text.split("From files to answers")[1]

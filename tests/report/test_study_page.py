"""A study's page and document: every figure they were given, the published one beside it, and what is missing."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from page_reader import NASTY, Reader
from sidestep.evaluation.seeds import Spread
from sidestep.evaluation.significance import Comparison
from sidestep.report.study_figures import bars, curve, gains, pareto
from sidestep.report.study_markdown import markdown
from sidestep.report.study_page import render
from sidestep.studies.outcome import Block, CellStatus, Cost, Curves, Entry, Outcome, Spot, shown
from sidestep.studies.papers import STUDIES
from sidestep.studies.rows import METRICS, Published, Row
from sidestep.studies.shapes import Gain, Verdict

PUBLISHED = Published("a paper", dict(zip(METRICS, (0.05, 0.08, 0.03, 0.04), strict=True)), ">=10", None)


def entry(name: str, base: float, seeds: Sequence[int], published: Published | None = None) -> Entry:
    deviation = 0.001 if len(seeds) > 1 else None
    figures = {metric: Spread(base + place / 100, deviation, len(seeds)) for place, metric in enumerate(METRICS)}
    test = Comparison(0.1, 0.1052, 0.0011, 0.0093, 0.012, 500)
    row = Row(name, "s2gr", at=4.0)
    return Entry(row, tuple(seeds), figures, (base, base + 0.06), published, "tiger", test, {"coverage": 0.5}, "3 of 4")


def outcome(name: str = "table2", seeds: Sequence[int] = (0, 1)) -> Outcome:
    rows = (
        entry("one <b>", 0.0123, seeds, PUBLISHED),
        entry(NASTY, 0.0345, seeds),
        Entry(Row("absent", "tiger"), against="tiger"),
    )
    blocks = tuple(Block("file", "masked", users, 500, rows) for users in ("all", ">=10"))
    wanted = (
        *(CellStatus("one <b>", "file", seed, True) for seed in seeds),
        CellStatus("absent", "file", 0, False, 61.0),
        CellStatus("absent", "shuffled", 0, False),
    )
    return Outcome(
        STUDIES[name],
        "s2gr-planted",
        ("train.epochs=2",),
        "planted <world>: 60 users",
        tuple(seeds),
        wanted,
        blocks,
        protocol="leave-one-out",
        machines=("a machine",),
    )


def full() -> Outcome:
    """With everything that any study can have."""
    spots = [Spot(f"K = {at}", float(at), 0.03 + at / 1000, 0.02, 0.05) for at in (4, 8, 16)]
    return replace(
        outcome("fig4"),
        curves=(Curves("clusters", {"s2gr": spots, "tiger": spots[:2]}, [("K = auto", 0.04)]),),
        groups=(("5", 300, Gain(0.1, -0.05, 0.2)), ("6-9", 100, Gain(float("nan"), float("nan"), float("nan")))),
        costs=(
            Cost("tiger", 1000, 2.0, 0.001, 0.04),
            Cost("s2gr", 1500, 3.0, 0.0011, 0.05),
            Cost("x", 1, 1.0, None, 0.0),
        ),
        analysis={"s2gr": {"accuracy 1": Spread(0.25, 0.01, 2), "drift": Spread(-0.5, None, 1)}},
        verdict=Verdict("open", "Highest at K = 8."),
    )


@pytest.mark.parametrize("found", [outcome(), full()])
def test_page_is_one_well_formed_file_that_asks_for_nothing(found: Outcome) -> None:
    page = render(found)
    reader = Reader(page)
    assert {kind for kind, _ in reader.tags}.isdisjoint({"script", "link", "img", "iframe", "a", "form", "input"})
    assert all(set(attributes).isdisjoint({"src", "href"}) for _, attributes in reader.tags)
    assert NASTY in reader.text
    assert "planted <world>: 60 users" in reader.text
    assert "nan" not in page
    assert render(found) == page


@pytest.mark.parametrize("document", [lambda found: Reader(render(found)).text, markdown])
def test_every_figure_stands_there_with_the_published_one_and_the_difference(document) -> None:
    text = document(outcome())
    for place, metric in enumerate(METRICS):
        assert f"{0.0123 + place / 100:.4f} \N{PLUS-MINUS SIGN} 0.0010" in text
        assert metric in text
    assert "0.0500, \N{MINUS SIGN}0.0377" in text  # the paper's HR@5, and 0.0123 minus it
    assert "tiger +0.0052" in text
    assert "+0.0011 to +0.0093" in text
    assert "0.0120" in text
    assert "3 of 4" in text


@pytest.mark.parametrize("document", [lambda found: Reader(render(found)).text, markdown])
def test_missing_cells_are_told_with_their_minutes(document) -> None:
    text = document(outcome())
    assert "2 of 4 cells are finished; 2 are missing, about 61 minutes and 1 of unknown length." in text
    assert "unknown length" in text
    assert "No cell yet: absent." in text
    whole = replace(outcome(), cells=outcome().cells[:2])
    assert "All 2 cells are finished." in document(whole)
    assert "Missing cells" not in document(whole)


@pytest.mark.parametrize("document", [lambda found: Reader(render(found)).text, markdown])
def test_one_seed_has_no_deviation_and_says_so(document) -> None:
    text = document(outcome(seeds=(7,)))
    assert "no standard deviation over seeds" in text
    assert "\N{PLUS-MINUS SIGN}" not in text
    assert shown(Spread(0.5, None, 1)) == "0.5000"


@pytest.mark.parametrize("document", [lambda found: Reader(render(found)).text, markdown])
def test_a_stated_shape_stands_beside_what_is_found(document) -> None:
    text = document(full())
    assert "first improves as the number of clusters increases, then declines" in text
    assert "not decided by these figures" in text
    assert "Highest at K = 8." in text
    assert "There are too few cells for a verdict." in document(replace(full(), verdict=None))


def test_ratios_stand_beside_those_of_the_paper() -> None:
    text = Reader(render(replace(full(), study=STUDIES["tableB1"]))).text
    assert "training: 1.50; the paper's 1.31 (about 45 h and 59 h" in text
    assert "inference: 1.10; the paper's 1.02" in text


def test_nothing_at_all_has_a_page_too() -> None:
    empty = Outcome(STUDIES["table2"], "r", (), "no data yet", (0,), (CellStatus("tiger", "file", 0, False),))
    assert "0 of 1 cells are finished" in Reader(render(empty)).text
    assert "0 of 1 cells are finished" in markdown(empty)


def test_plots_without_figures_are_absent() -> None:
    none = replace(outcome().blocks[0], entries=(Entry(Row("absent", "tiger")),))
    assert bars(none) is None
    assert curve(Curves("x", {})) is None
    assert gains(outcome()) is None
    assert pareto(full().costs[:1]) is None
    for plot in (bars(outcome().blocks[1]), curve(full().curves[0]), gains(full()), pareto(full().costs)):
        assert plot is not None
        assert "nan" not in plot.picture


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    lines = [line for line in markdown(full()).splitlines() if line.startswith("|")]
    assert lines
    widths = [line.replace("\\|", "").count("|") for line in lines]
    previous = 0
    for line, width in zip(lines, widths, strict=True):
        if line.startswith("| ---"):
            assert width == previous
        previous = width

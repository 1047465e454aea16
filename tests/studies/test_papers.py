"""The studies as they are written down: rows that exist, differ, and carry the paper's figures where they belong."""

import re

import pytest
import typer

from sidestep.cli import app
from sidestep.errors import ConfigError
from sidestep.methods.table import METHODS, NON_NEURAL
from sidestep.studies.cells import Cell
from sidestep.studies.identity import identity
from sidestep.studies.papers import STUDIES, is_beauty, study_named
from sidestep.studies.rows import MAIN, METRICS, Row, Study, slots
from sidestep.studies.tokenizers import TABLE3

ROWS = [
    pytest.param(study.name, row, id=f"{study.name}: {row.name}") for study in STUDIES.values() for row in study.rows
]


@pytest.mark.parametrize(("study", "row"), ROWS)
def test_every_row_is_a_recipe_and_is_tested_against_another_row_of_its_study(study: str, row: Row) -> None:
    recipe = Cell(row.method, 0, row.settings(), "s2gr-beauty").read()
    assert recipe.method == row.method or row.method in NON_NEURAL
    if row.against is not None:
        assert STUDIES[study].row(row.against) is not row


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_rows_of_a_study_are_different_cells_with_different_names(study) -> None:
    assert len({row.name for row in study.rows}) == len(study.rows)
    made = [
        (identity(Cell(row.method, 0, row.settings(), study.recipe).read(), row.method), row.start)
        for row in study.rows
    ]
    same = [one for place, one in enumerate(made) if one in made[:place]]
    # three sweeps of lambda-tau pass through the recipe's own setting, and are to share that cell
    assert len(same) == (2 if study.name == "lambda-tau" else 0)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_fused_row_is_made_of_cells_that_its_study_has_and_thinks_as_they_do(study: Study) -> None:
    found = [slot for slot in slots(study, "s2gr-beauty", (), "file", [0]) if slot.ties == "file"]
    own = {slot.row.name: slot.cell for slot in found}
    for slot in found:
        assert list(slot.cell.parts) == [own[name] for name in slot.row.before]
        for part in slot.cell.parts if slot.row.parts else ():
            ours, theirs = slot.cell.read(), part.read()
            if "thinking" in METHODS[part.method].sections:
                thinks = METHODS[part.method].thinks(theirs)
                assert METHODS[slot.row.method].thinks(ours) == thinks
                assert not thinks or ours.thinking == theirs.thinking


@pytest.mark.parametrize("recipe", ["s2gr-beauty", "s2gr-planted", "s2gr-kuairand"])
def test_the_paper_s_rows_are_the_paper_s_method_whatever_s2gr_has_become(recipe: str) -> None:
    paper = identity(Cell("s2gr-paper", 0, (), recipe).read())
    del paper["method"]  # a cell does not name `s2gr`, since it is the default
    for study in ("table2", "fig4", "thoughts"):
        rows = [row for row in STUDIES[study].rows if row.method == "s2gr" and not row.sets]
        for row in rows:
            ours = Cell(row.method, 0, row.settings(), recipe).read()
            assert (identity(ours) == paper) == (row.name != "s2gr, our defaults")
    assert identity(Cell("s2gr", 0, (), recipe).read()) != paper


def test_a_study_s_terms_give_way_to_the_user_and_its_rows_do_not() -> None:
    row = Row("one", "s2gr", ("train.lr=3",), terms=("train.lr=1", "train.epochs=1"))
    recipe = Cell(row.method, 0, row.settings(("train.lr=2", "train.epochs=2")), "s2gr-beauty").read()
    assert (recipe.train.lr, recipe.train.epochs) == (3, 2)


def test_studies_share_cells() -> None:
    def cells(name: str) -> list[dict[str, object]]:
        return [identity(Cell(r.method, 0, r.settings(), "s2gr-beauty").read(), r.method) for r in STUDIES[name].rows]

    table2 = cells("table2")
    for name in ("fig5", "tableB1", "thoughts"):
        assert all(cell in table2 for cell in cells(name)), name
    for name in ("fig4", "depth", "lambda-tau"):
        assert sum(cell in table2 for cell in cells(name)) >= 1, name


def test_the_screens_stand_on_the_best_base_and_share_its_cells() -> None:
    def cells(name: str) -> dict[str, dict[str, object]]:
        return {r.name: identity(Cell(r.method, 0, r.settings(), "s2gr-beauty").read()) for r in STUDIES[name].rows}

    names = ("base", "screen", "confirm", "best", "optimisers")
    base, screen, confirm, fused, optimisers = (cells(name) for name in names)
    best = "trie, item part, text and behaviour"
    assert screen["none"] == confirm["none"] == fused["none"] == optimisers["AdamW"] == base[best]
    assert screen["repaired"] == confirm["repaired"] == base[f"{best}, repaired thoughts"]
    assert all(confirm[name] == screen[name] for name in ("none, four decoder layers", "light"))
    for name in ("repaired", "light"):
        differing = confirm[name].items() ^ confirm[f"{name}, shuffled clusters"].items()
        assert differing == {("thinking.clusters", "shuffled")}


def test_the_paper_s_figures_are_those_of_long_users_and_re_runs_those_of_all_masked() -> None:
    row = STUDIES["table2"].row("tiger")
    paper, again = row.published
    assert paper.figures == dict(zip(METRICS, (0.0443, 0.0728, 0.0299, 0.0390), strict=True))
    assert [paper.fits(users, seen) for users in ("all", ">=10") for seen in ("masked", "kept")] == [0, 0, 1, 1]
    assert [again.fits(users, seen) for users in ("all", ">=10") for seen in ("masked", "kept")] == [1, 0, 0, 0]


def test_no_row_has_two_published_figures_in_one_block() -> None:
    for study in STUDIES.values():
        for row in study.rows:
            for users in ("all", ">=10"):
                for seen in ("masked", "kept"):
                    assert sum(published.fits(users, seen) for published in row.published) <= 1
            assert all(MAIN in published.figures for published in row.published)


def test_what_table_2_says_of_improvement_follows_from_its_figures() -> None:
    """The paper: S2GR over the best baseline by 7.61, 7.83, 13.71 and 8.72 %."""
    row = STUDIES["table2"].row
    others = [row(name).published[0].figures for name in ("rearec-prl", "tiger", "tiger", "tiger")]
    ours = row("s2gr").published[0].figures
    gains = [100 * (ours[metric] / other[metric] - 1) for metric, other in zip(METRICS, others, strict=True)]
    assert gains == pytest.approx([7.61, 7.83, 13.71, 8.72], abs=0.005)


def test_table_3_s_two_figures_tell_the_same_number_of_ids() -> None:
    told = [published.figures for row in TABLE3.rows for published in row.published]
    assert len(told) == 3
    for figures in told:
        assert figures["CUR"] * 256**3 == pytest.approx(figures["ICR"] * 12_101, rel=0.01)


def test_beauty_is_known_by_its_size() -> None:
    assert is_beauty(22_363, 12_101, 198_502)
    assert not is_beauty(22_363, 12_101, 198_501)


@pytest.mark.parametrize(
    ("name", "said"),
    [("table4", "online test"), ("tabel2", "did you mean 'table2'"), ("fig7", "expected one of table2, fig4")],
)
def test_what_cannot_be_reproduced_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        study_named(name)


def test_the_help_of_reproduce_names_every_study() -> None:
    verb = typer.main.get_command(app).commands["reproduce"]  # type: ignore[attr-defined]
    known = {*STUDIES, TABLE3.name}
    assert set(re.split(r", | or |\.", verb.params[0].help)) - {""} == known


def test_an_unknown_row_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sasrec-bce'"):
        STUDIES["table2"].row("sasrec-bc")

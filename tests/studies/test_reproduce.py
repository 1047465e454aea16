"""Cells joined into a study: means, pairs, blocks and shapes as counted by hand; and the command from end to end."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command import WORLD, Done, contents, refuse, succeed
from page_reader import Reader
from sidestep.errors import ConfigError, DataError
from sidestep.evaluation.significance import paired_bootstrap
from sidestep.studies.averages import compared, group_of
from sidestep.studies.cells import GRID, CellResult, DataPrint, Machine, Training, targets_digest
from sidestep.studies.joining import by_length, join
from sidestep.studies.outcome import Absent, Outcome
from sidestep.studies.papers import BEAUTY, STUDIES
from sidestep.studies.rows import MAIN, Slot, slots

USERS = 60
LENGTHS = np.arange(USERS) % 15 + 3


def cell(method: str, seed: int = 0, ties: str = "file", shift: int = 0, beauty: bool = False) -> CellResult:
    """Ranks that a method and a seed decide; ties that are shuffled give every seed targets of its own."""
    rng = np.random.default_rng([len(method), seed, shift])
    ranks = rng.integers(0, 30, USERS)
    users = np.arange(USERS)
    targets = users + (1000 * (seed + 1) if ties == "shuffled" else 0)
    size = BEAUTY if beauty else {"users": USERS, "items": 40, "interactions": 500}
    return CellResult(
        method=method,
        recipe="s2gr-planted",
        settings={"method": method, "seed": seed, "data.ties": ties},
        seed=seed,
        ties=ties,
        split="leave-one-out",
        k=100,
        beams=100,
        data=DataPrint("shop", digest="abc", **size),
        training=Training(16, 12 + seed, 10, (0.1,), 120.0, 5000, 300),
        machine=Machine("a processor", 2, "2.9", "0.1"),
        grid={place: {"num_users": USERS, "coverage": 0.25} for place in GRID},
        ranks={"masked": ranks, "kept": np.minimum(ranks + 1, 29)},
        users=users,
        lengths=LENGTHS,
        targets=targets_digest(users, LENGTHS, targets),
        analysis={"accuracy": [0.5, 0.25], "seconds": 0.01 * (2 + seed)},
    )


def joined(name: str, seeds: Sequence[int] = (0, 1), *, skip: Sequence[str] = (), **options) -> Outcome:
    """A study all of whose cells are finished, but those of some rows."""
    beauty = options.pop("beauty", False)
    wanted: list[tuple[Slot, CellResult | None, float | None]] = []
    for slot in slots(STUDIES[name], "s2gr-planted", (), "file", seeds, options.pop("only", ())):
        made = cell(slot.row.method, slot.seed, slot.ties, len(slot.row.name), beauty)
        wanted.append((slot, None, 7.0) if slot.row.name in skip else (slot, made, None))
    return join(STUDIES[name], "s2gr-planted", (), seeds, wanted, **options)


def test_every_row_stands_in_every_block_and_shuffled_ties_in_blocks_of_their_own() -> None:
    found = joined("table2")
    assert [(b.ties, b.seen, b.users) for b in found.blocks] == [
        (ties, seen, users) for ties in ("file", "shuffled") for seen in ("masked", "kept") for users in ("all", ">=10")
    ]
    rows = [row.name for row in STUDIES["table2"].rows]
    assert [entry.row.name for entry in found.blocks[0].entries] == rows
    assert [e.row.name for e in found.blocks[-1].entries] == [r.name for r in STUDIES["table2"].rows if r.shuffled]
    assert [block.num_users for block in found.blocks[:2]] == [USERS, int((LENGTHS >= 10).sum())]


def test_an_entry_is_the_mean_and_deviation_over_its_seeds() -> None:
    found = joined("table2", (0, 1, 2))
    entry = next(e for e in found.blocks[1].entries if e.row.name == "s2gr")
    means = [cell("s2gr", seed, shift=4).values("masked", ">=10", MAIN).mean() for seed in (0, 1, 2)]
    assert entry.figures[MAIN].mean == pytest.approx(np.mean(means))
    assert entry.figures[MAIN].deviation == pytest.approx(np.std(means, ddof=1))
    assert entry.epochs == "12\N{EN DASH}14 of 16"
    assert entry.seeds == (0, 1, 2)


def test_tests_are_the_paired_bootstrap_of_every_user_s_mean_over_seeds() -> None:
    found = joined("table2", (0, 1))
    entry = next(e for e in found.blocks[0].entries if e.row.name == "s2gr")
    sides = [
        np.mean([cell(name, seed, shift=len(name)).values("masked", "all", MAIN) for seed in (0, 1)], axis=0)
        for name in ("tiger", "s2gr")
    ]
    assert entry.against == "tiger"
    assert entry.test == paired_bootstrap(*sides)


def test_seeds_with_targets_of_their_own_are_compared_seed_by_seed() -> None:
    first = [cell("tiger", seed, "shuffled") for seed in (0, 1)]
    second = [cell("s2gr", seed, "shuffled") for seed in (1, 2)]
    expected = paired_bootstrap(first[1].values("masked", "all", MAIN), second[0].values("masked", "all", MAIN))
    assert compared(first, second, "masked", "all") == expected
    assert compared(first[:1], second, "masked", "all") is None


def test_one_row_may_be_named_to_compare_all_with() -> None:
    found = joined("table2", against="popularity")
    for entry in found.blocks[0].entries:
        assert entry.against == "popularity"
        assert (entry.test is None) == (entry.row.name == "popularity")
    with pytest.raises(ConfigError, match="has no row 'populariti'"):
        joined("table2", against="populariti")


def test_published_figures_stand_beside_ours_on_beauty_alone() -> None:
    for block in joined("table2").blocks:
        assert not block.compared
    blocks = joined("table2", beauty=True).blocks
    assert [block.compared for block in blocks] == [True, True, False, True, False, False, False, False]
    entry = next(e for e in blocks[1].entries if e.row.name == "s2gr")
    other, difference = entry.beside(MAIN) or (0, 0)
    assert (other, difference) == (0.0424, pytest.approx(entry.figures[MAIN].mean - 0.0424))


def test_seeds_of_other_logs_are_no_seeds_of_one_row() -> None:
    def both(ties: str, source: str) -> Outcome:
        cells = [cell("tiger", seed, ties) for seed in (0, 1)]
        cells = [
            replace(c, data=replace(c.data, digest=str(c.seed)), settings={**c.settings, "data.source": source})
            for c in cells
        ]
        slot = slots(STUDIES["fig5"], "s2gr-planted", (), ties, (0, 1))[:2]
        return join(
            STUDIES["fig5"], "s2gr-planted", (), (0, 1), [(s, c, None) for s, c in zip(slot, cells, strict=True)]
        )

    assert both("file", "planted").blocks  # every seed plants a world
    assert both("shuffled", "table").blocks  # and shuffles a log anew
    with pytest.raises(DataError, match="different data"):
        both("file", "table")


def test_methods_may_read_other_files_but_not_others_of_one_name() -> None:
    def both(first: dict[str, str], second: dict[str, str]) -> Outcome:
        cells = [cell("tiger"), cell("s2gr")]
        prints = [replace(c.data, inputs=inputs) for c, inputs in zip(cells, (first, second), strict=True)]
        made = [replace(c, data=data) for c, data in zip(cells, prints, strict=True)]
        wanted = slots(STUDIES["fig5"], "s2gr-planted", (), "file", (0,))
        rows = {c.method: c for c in made}
        return join(STUDIES["fig5"], "s2gr-planted", (), (0,), [(s, rows[s.row.method], None) for s in wanted])

    assert both({"log": "a"}, {"log": "a", "vectors": "b"}).blocks
    assert both({}, {"log": "a"}).blocks  # a cell from before files were kept
    with pytest.raises(DataError, match="different data"):
        both({"log": "a", "vectors": "b"}, {"log": "a", "vectors": "c"})


def test_missing_cells_leave_rows_empty_and_are_counted() -> None:
    found = joined("table2", (0, 1), skip=("tiger",))
    entry = next(e for e in found.blocks[0].entries if e.row.name == "tiger")
    assert (entry.figures, entry.seeds) == ({}, ())
    assert entry not in found.blocks[0].finished
    assert found.blocks[0].without_cells == ("tiger",)
    assert found.absent == [Absent("tiger", ties, (0, 1), 14.0) for ties in ("file", "shuffled")]
    assert next(e for e in found.blocks[0].entries if e.row.name == "s2gr").test is None
    assert [(cell.row, cell.ties, cell.seed, cell.minutes) for cell in found.missing] == [
        ("tiger", ties, seed, 7.0) for ties in ("file", "shuffled") for seed in (0, 1)
    ]
    nothing = joined("fig5", skip=("tiger", "s2gr"))
    assert nothing.blocks == ()
    assert "without any cell yet" in nothing.data


def test_cells_of_other_data_or_users_are_refused() -> None:
    slot = slots(STUDIES["fig5"], "s2gr-planted", (), "file", (0,))
    other = replace(cell("s2gr"), data=replace(cell("s2gr").data, name="other"))
    with pytest.raises(DataError, match="different data"):
        join(STUDIES["fig5"], "r", (), (0,), [(slot[0], cell("tiger"), None), (slot[2], other, None)])


def test_curves_hold_every_placed_row_and_draw_the_others_across() -> None:
    (curves,) = joined("fig4").curves
    assert {name: [spot.at for spot in line] for name, line in curves.lines.items()} == {
        "s2gr": [4, 8, 16, 32, 64, 128, 256]
    }
    assert [name for name, _ in curves.across] == ["K = auto"]
    assert [curves.axis for curves in joined("lambda-tau").curves] == ["lambda", "tau", "weight of L_align"]
    assert list(joined("fig6").curves[0].lines) == ["tiger", "s2gr"]
    assert joined("fig4").verdict is not None
    assert joined("fig6").verdict is not None


def test_groups_by_length_hold_all_users_and_keep_equal_lengths_together() -> None:
    rng = np.random.default_rng(0)
    lengths = 5 + rng.geometric(0.3, 1000)
    member = group_of(lengths)
    assert set(member) == set(range(int(member.max()) + 1))
    for length in set(lengths.tolist()):
        assert len(set(member[lengths == length])) == 1
    assert (np.diff(member[np.argsort(lengths, kind="stable")]) >= 0).all()
    assert set(group_of(np.full(9, 4))) == {0}
    groups, _ = by_length([cell("tiger")], [cell("s2gr")], "masked")
    assert sum(size for _, size, _ in groups) == USERS


def test_costs_and_insides_come_from_the_cells() -> None:
    costs = {cost.row: cost for cost in joined("tableB1").costs}
    assert set(costs) == {"tiger", "s2gr"}
    assert costs["s2gr"].epoch_seconds == pytest.approx((120 / 12 + 120 / 13) / 2)
    assert costs["s2gr"].user_seconds == pytest.approx(0.025)
    assert joined("thoughts").analysis["s2gr"]["accuracy 2"].mean == 0.25


def test_ties_that_the_user_sets_are_the_only_ones() -> None:
    assert {
        slot.ties for slot in slots(STUDIES["table2"], "s2gr-planted", ("data.ties=shuffled",), "shuffled", (0,))
    } == {"shuffled"}


WITHOUT_TRAINING = ("--only", "popularity", "--only", "item-knn")


def places(folder: Path) -> tuple[str, ...]:
    return ("--cells", folder / "cells", "--runs", folder / "runs", "--out", folder / "out")


def ask(folder: Path, *words: object) -> Done:
    return succeed("reproduce", *words, *WORLD, "--recipe", "s2gr-planted", *places(folder))


def test_the_command_makes_cells_writes_tables_and_reads_both_again(tmp_path: Path) -> None:
    first = ask(tmp_path, "table2", *WITHOUT_TRAINING, "--seeds", "0,1", "--json")
    told = json.loads(first.out)
    assert [cell["there"] for cell in told["cells"]] == [True] * 8  # two rows, two ways to break ties, two seeds
    assert {(block["ties"], block["seen"], block["users"]) for block in told["blocks"]} >= {("file", "kept", "all")}
    before = contents(tmp_path / "cells")
    assert len([name for name in before if "cases" not in name]) == 8
    page = (tmp_path / "out" / "table2.html").read_text()
    again = ask(tmp_path, "table2", *WITHOUT_TRAINING, "--seeds", "0,1")
    assert contents(tmp_path / "cells") == before
    assert (tmp_path / "out" / "table2.html").read_text() == page
    assert "All 8 cells are finished." in again.out
    assert "popularity" in (tmp_path / "out" / "table2.md").read_text()
    assert "paper" not in Reader(page).text  # this is not Beauty


def test_a_dry_run_trains_nothing_and_tells_what_is_left(tmp_path: Path) -> None:
    done = ask(tmp_path, "fig5", "--dry-run", "--seeds", "0")  # two rows, two ways to break ties
    assert "0 of 4 cells are finished; 4 are missing, of unknown length." in done.out
    assert not (tmp_path / "cells").exists()
    assert not (tmp_path / "runs").exists()
    table = ask(tmp_path, "table3", "--dry-run", "--seeds", "0", "--only", "pq")
    assert "0 of 1 cells are finished" in table.out


@pytest.mark.slow
def test_a_study_with_training_from_end_to_end(tmp_path: Path) -> None:
    shuffled = ("data.ties=shuffled", "--seeds", "0")  # one way to break ties: a cell for each row
    told = json.loads(ask(tmp_path, "fig5", *shuffled, "--cores", "2", "--json").out)
    assert [cell["there"] for cell in told["cells"]] == [True, True]
    tiger, ours = told["blocks"][0]["rows"]
    assert tiger["test"] is None
    assert ours["test"]["difference"] == pytest.approx(ours["figures"][MAIN]["mean"] - tiger["figures"][MAIN]["mean"])
    shared = json.loads(ask(tmp_path, "tableB1", *shuffled, "--dry-run", "--json").out)
    assert [cell["there"] for cell in shared["cells"]] == [True, True]
    assert {cost["row"] for cost in shared["costs"]} == {"tiger", "s2gr"}


def test_table_3_is_the_study_of_tokenizers(tmp_path: Path) -> None:
    told = json.loads(ask(tmp_path, "table3", "--only", "pq", "--seeds", "0", "--json").out)
    assert 0 < told["analysis"]["pq"]["ICR, %"]["mean"] <= 100
    assert [cell["there"] for cell in told["cells"]] == [True]
    other = ask(tmp_path, "table3", "tokenizer.num_levels=2", "--only", "pq", "--seeds", "0", "--dry-run")
    assert "0 of 1 cells are finished" in other.out  # IDs of other settings are others


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("table4",), "Table 4 is an online test"),
        (("tabel2",), "did you mean 'table2'"),
        (("table2", "--only", "sasrec"), "has no row 'sasrec'"),
        (("table2", "--against", "sasrec"), "has no row 'sasrec'"),
        (("table3", "--against", "pq"), "--against tests accuracy"),
        (("table2", "--seeds", "0;1"), "Cannot read --seeds '0;1'"),
        (("table2", "--recipe", "s2gr-plantd"), "did you mean 's2gr-planted'"),
        (("table2", "train.epoch=2"), "did you mean 'epochs'"),
        (("table2", "--dry-run", "--recipe", "s2gr-beauty", "data.path=/no/beauty"), "Neither data in '/no/beauty'"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refuse("reproduce", *words, *places(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_fused_row_trains_its_parts_first_and_again_where_only_their_files_are_here(tmp_path: Path) -> None:
    words = ("reproduce", "table2", "--recipe", "s2gr-planted", *WORLD, "--seeds", "0", "--cores", "1")
    files, out = tmp_path / "cells", tmp_path / "out"

    def ask(runs: Path, *rows: str) -> Done:
        only = [word for row in rows for word in ("--only", row)]
        return succeed(*words, *only, "--cells", files, "--runs", runs, "--out", out, "data.ties=shuffled")

    ask(tmp_path / "runs", "s2gr-fused")
    assert [path.name.split("-0-")[0] for path in (files / "planted").glob("*-0-*.json")] == ["s2gr-fused"]
    trained = {path.name.split("-0-")[0] for path in (tmp_path / "runs" / "planted").iterdir() if path.is_dir()}
    assert trained == {"s2gr", "sasrec-towers", "s2gr-fused"}
    (fused,) = (files / "planted").glob("s2gr-fused-0-*.json")
    before = fused.read_bytes()
    ask(tmp_path / "runs", "s2gr", "sasrec-towers")  # recorded now, trained before
    fused.unlink()
    ask(tmp_path / "elsewhere", "s2gr-fused")
    again, first = json.loads(fused.read_bytes()), json.loads(before)
    assert again["ranks"] == first["ranks"]
    assert again["settings"] == first["settings"]

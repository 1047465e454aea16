"""The page on semantic IDs: one file that asks for nothing, with every figure and the items behind codes."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from page_reader import NASTY, Reader
from sidestep.data.catalog import Catalog
from sidestep.evaluation.purity import SameLabel
from sidestep.evaluation.sid_quality import Evidence, SidQuality, TokenizerEvidence, judge
from sidestep.report import sid_figures, sid_items
from sidestep.report.sid_page import missing, render
from sidestep.sids.semantic_ids import Ints, SemanticIds
from sidestep.workshop.report import SidFindings
from sidestep.workshop.tables import Table
from small_world import make_sids

NUM_ITEMS = 40
TITLES = [NASTY, *(f"Item {item}" for item in range(1, NUM_ITEMS))]


def findings(sids: SemanticIds | None = None, others: int = 0) -> SidFindings:
    """A run's table with all evidence, and tables from elsewhere."""
    sids = sids or make_sids(NUM_ITEMS)
    count = len(sids)
    rng = np.random.default_rng(1)
    table = Table("mine <b>", sids.codes, sids.codebook_sizes, sids)
    kinds = [f"kind {item % 3}" for item in range(count)]
    evidence = Evidence(
        relations={"category": SameLabel(np.arange(count) % 3)},
        popularity=count - np.arange(count),
        targets=np.arange(count),
        vectors=rng.standard_normal((count, 5)).astype(np.float32),
    )
    of_tokenizer = TokenizerEvidence(sids.clusters, [0.5] * sids.num_levels, [0.6] * sids.num_levels)
    qualities = [judge(table.name, table.codes, table.sizes, evidence, of_tokenizer)]
    for number in range(others):
        codes = np.stack([rng.integers(0, 4, count) for _ in range(2 + number % 3)], axis=1)
        qualities.append(judge(f"other {number}", codes, (4,) * codes.shape[1], evidence))
    catalog = Catalog(pl.DataFrame({"item_id": [f"i{n}" for n in range(count)], "title": TITLES[:count]}))
    names = [[f"cluster {level}-{number}" for number in range(2)] for level in range(sids.num_levels)]
    return SidFindings(qualities, table, catalog, count - np.arange(count), kinds, names)


def bare(codes: Ints) -> SidFindings:
    """Nothing but codes."""
    sizes = tuple((codes.max(axis=0) + 1).tolist())
    return SidFindings([judge("t", codes, sizes, Evidence())], Table("t", codes, sizes), None, None, None, [])


def test_page_is_one_well_formed_file_that_asks_for_nothing() -> None:
    page = render(findings(others=3))
    reader = Reader(page)
    kinds = {kind for kind, _ in reader.tags}
    assert kinds.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "image", "use", "form", "a"})
    for _, attributes in reader.tags:
        assert set(attributes).isdisjoint({"src", "href", "srcset", "data", "action"})
        assert not any(name.startswith("on") for name in attributes)
    for asks in ("http://", "https://", "url(", "@import", "<script"):
        assert asks not in page
    assert NASTY in reader.text
    assert "mine <b>" in reader.text
    assert '"nan"' not in page


def test_same_findings_give_the_same_bytes() -> None:
    assert render(findings(others=2)) == render(findings(others=2))


def test_page_shows_the_figures_it_was_given() -> None:
    found = findings(others=3)
    text = Reader(render(found)).text
    for quality in found.qualities:
        assert quality.name in text
        assert f"{quality.icr:.2%}" in text
        assert f"{quality.purity['category'].value:.1%}" in text
    first = found.qualities[0]
    assert f"{first.distinct:,} different IDs of 3 codes" in text
    for level in first.levels:
        assert f"{level.used} of {level.size} codes used, {level.dead} dead; entropy {level.entropy:.2f}" in text
    for words in ("HR@10", "ICR against purity", "V-measure", "Variance that the codes leave", "cluster 0-1", "kind 0"):
        assert words in text


def test_a_table_that_is_alone_is_compared_with_none() -> None:
    assert "<h2>Comparison</h2>" not in render(findings())
    assert sid_figures.comparison(findings().qualities) is None


def test_a_table_of_codes_alone_has_a_page_too() -> None:
    """No run, no catalogue, no vectors, no log; even one item with one level."""
    for codes in (np.array([[0]]), np.array([[1, 2], [1, 2], [0, 0]]), make_sids(NUM_ITEMS).codes):
        text = Reader(render(bare(codes))).text
        assert "item 0" in text
        assert "reconstruction, clusters: the table comes without its tokenizer" in text
        assert "The clusters of the codewords" not in text
        assert "V-measure of the prefixes" not in text


def test_what_is_missing_is_said_once_with_the_tables_concerned() -> None:
    def lacking(name: str, *messages: str) -> SidQuality:
        return replace(findings().qualities[0], name=name, missing=list(messages))

    told = missing([lacking("a", "no log"), lacking("b", "no log", "no tokenizer")])
    assert told == [("no log", []), ("no tokenizer", ["b"])]


def test_items_behind_codes_are_all_counted_and_the_most_popular_shown() -> None:
    found = findings()
    codes, top = found.first.codes, sid_items.behind(found)
    assert sum(row.items for row in top.rows) + top.more_items == NUM_ITEMS
    for row in top.rows:
        members = np.flatnonzero(codes[:, 0] == row.codes[0])
        assert row.items == len(members)
        assert row.shown == [TITLES[item] for item in members[: sid_items.ITEMS].tolist()]
        assert sum(under.items for under in row.deeper.rows) + row.deeper.more_items == len(members)
        for under in row.deeper.rows:
            assert under.items == (codes[:, :2] == under.codes).all(axis=1).sum()
            assert under.name == f"cluster 1-{under.codes[1] % 2}"
            assert under.deeper.rows == []
        kinds = [f"kind {item % 3}" for item in members]
        assert row.category is not None
        assert row.category[1] == pytest.approx(kinds.count(row.category[0]) / len(kinds))
    assert [row.items for row in top.rows] == sorted((row.items for row in top.rows), reverse=True)


def test_codes_beyond_what_is_shown_are_counted() -> None:
    """300 codes, code c with one item and code 7 with three: 256 rows, 44 codes with an item each left out."""
    codes = np.concatenate([np.arange(300), [7, 7]])[:, None]
    top = sid_items.behind(bare(codes))
    assert (len(top.rows), top.more_codes, top.more_items) == (256, 44, 44)
    assert (top.rows[0].codes, top.rows[0].items, top.rows[0].shown) == ((7,), 3, ["item 7", "item 300", "item 301"])
    assert "44 more codes with 44 items" in render(bare(codes))


def test_collisions_are_the_largest_groups_and_sizes_count_every_item() -> None:
    codes = np.array([[0, 1]] * 6 + [[2, 2]] * 2 + [[3, 0], [3, 1]])
    found = bare(codes)
    first, second = sid_items.collisions(found)
    assert (first.codes, first.items, first.shown) == ((0, 1), 6, [f"item {item}" for item in range(6)])
    assert (second.codes, second.items) == ((2, 2), 2)
    assert sid_items.id_sizes(codes) == [("1", 2, 2), ("2", 1, 2), ("5 to 9", 1, 6)]
    assert sid_items.collisions(bare(np.arange(5)[:, None])) == []
    assert "Every item has an ID of its own." in render(bare(np.arange(5)[:, None]))


def test_long_titles_are_cut_and_say_so() -> None:
    found = findings()
    assert found.catalog is not None
    long = Catalog(found.catalog.table.with_columns(pl.lit("word " * 40).alias("title")))
    cut = sid_items.title(replace(found, catalog=long), 0)
    assert len(cut) == sid_items.LETTERS
    assert cut.startswith("word word")
    assert cut.endswith("…")
    assert sid_items.title(found, 1) == "Item 1"


def test_numbers_in_the_scatter_never_meet_and_one_stands_beside_every_lonely_dot() -> None:
    found = sid_figures._free([(0.0, 0.0), (100.0, 100.0), *[(50 + n / 10, 50.0) for n in range(30)]])
    placed = np.array([spot for spot in found if np.isfinite(spot[0])])
    assert np.isfinite(found[0][0])
    assert np.isfinite(found[1][0])
    assert len(placed) < len(found)
    across, up = np.abs(placed[:, None] - placed[None]).transpose(2, 0, 1)
    apart = (across > sid_figures.NUMBER_ROOM[0]) | (up > sid_figures.NUMBER_ROOM[1])
    assert apart[~np.eye(len(placed), dtype=bool)].all()


def test_levels_with_one_cluster_have_no_map() -> None:
    sids = make_sids(NUM_ITEMS)
    flat = replace(sids, clusters=[*sids.clusters[:2], np.zeros(sids.codebook_sizes[2], dtype=np.int64)])
    assert [level.level for level in sid_figures.maps(findings(flat))] == [1, 2]


def test_shapes_are_told_briefly() -> None:
    for sizes, told in (
        ((256,) * 3, "3 \N{MULTIPLICATION SIGN} 256"),
        ((64, 32, 32, 8), "64 · 2 \N{MULTIPLICATION SIGN} 32 · 8"),
        ((5, 4, 5, 4, 5), "5 levels"),
    ):
        codes = np.zeros((3, len(sizes)), dtype=np.int64)
        quality = judge("t", codes, sizes, Evidence())
        assert told in render(SidFindings([quality], Table("t", codes, sizes), None, None, None, []))

"""A graph counted elsewhere is the graph counted here: two roads, one of them the SQL of docs/scale.md in DuckDB."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from command import WORLD, refuse, succeed
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, split
from sidestep.errors import DataError
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.vectors.edges import edges_path, graph_of, read_edges
from sidestep.vectors.graph import GraphConfig, cooccurrence

DOCS = Path(__file__).parents[2] / "docs" / "scale.md"
IDS = ["apple", "2", "ça", "d", "e", "f"]


def catalog() -> Catalog:
    return Catalog(pl.DataFrame({"item_id": IDS}))


def write(path: Path, rows: list[tuple[object, object, float]]) -> Path:
    pl.DataFrame(rows, schema=["src", "dst", "count"], orient="row").write_parquet(path)
    return path


def log(seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    lengths = [1, 2, 3, 9, 14, 30]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = rng.integers(0, len(IDS) - 1, offsets[-1])  # the last item is nobody's
    return Interactions([f"u{user}" for user in range(len(lengths))], offsets, items, None, True)


def test_an_edge_is_undirected_and_counts_add_up_over_rows_and_files(tmp_path: Path) -> None:
    folder = tmp_path / "edges"
    folder.mkdir()
    write(folder / "a.parquet", [("apple", "2", 2.0), ("2", "apple", 1.0), ("d", "d", 9.0)])
    write(folder / "b.parquet", [("apple", "2", 4.0), ("d", "ça", 1.0), ("apple", "gone", 5.0)])
    expected = np.zeros((6, 6))
    expected[0, 1] = expected[1, 0] = 7
    expected[2, 3] = expected[3, 2] = 1
    np.testing.assert_array_equal(read_edges(folder, catalog()).toarray(), expected)


@pytest.mark.parametrize("ids", [["3", "0", "12", "7", "07", "-1"], ["3", "0", "99999", "7", "a", ""]])
def test_whole_numbers_are_the_ids_that_they_are_as_text(tmp_path: Path, ids: list[str]) -> None:
    """By a table where they are dense, and by name where they are not; `07` and `-1` are ids like any other."""
    shop = Catalog(pl.DataFrame({"item_id": ids}))
    rows = [(3, 0, 1.0), (7, 3, 2.0), (int(ids[2]), 7, 3.0), (-1, 0, 4.0), (5, 3, 5.0), (2**40, 0, 6.0), (None, 3, 7.0)]
    found = []
    for name, kind in (("numbers", pl.Int64), ("text", pl.String)):
        frame = pl.DataFrame(rows, schema={"src": pl.Int64, "dst": pl.Int64, "count": pl.Float64}, orient="row")
        frame.with_columns(pl.col("src", "dst").cast(kind)).write_parquet(tmp_path / f"{name}.parquet")
        found.append(read_edges(tmp_path / f"{name}.parquet", shop).toarray())
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0][0, 1] == 1
    assert found[0][2, 3] == 3
    assert found[0][1, 5] == (4 if ids[5] == "-1" else 0)
    assert found[0].sum() == 2 * (1 + 2 + 3 + found[0][1, 5])


def test_ids_beyond_64_bits_with_a_sign_are_ids_beside_small_ones(tmp_path: Path) -> None:
    most = 2**64 - 1
    kinds = {"src": pl.UInt64, "dst": pl.UInt64, "count": pl.Int64}
    pl.DataFrame([(most, 7, 3)], schema=kinds, orient="row").write_parquet(tmp_path / "edges.parquet")
    shop = Catalog(pl.DataFrame({"item_id": [str(most), "7"]}))
    assert read_edges(tmp_path / "edges.parquet", shop).toarray().tolist() == [[0, 3], [3, 0]]


def test_brackets_in_a_path_are_no_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "edges[1].parquet", [("apple", "2", 2.0)])
    assert read_edges(path, catalog()).sum() == 4


@pytest.mark.parametrize("window", [1, 5])
def test_duckdb_counts_by_the_sql_of_the_docs_what_we_count(tmp_path: Path, window: int) -> None:
    duckdb = pytest.importorskip("duckdb")
    whole = log()
    train = split(whole, SplitConfig()).train
    owners, places = whole.users, np.arange(len(whole)) - whole.offsets[whole.users]
    pl.DataFrame({
        "user": [whole.user_ids[user] for user in owners],
        "item": [IDS[item] for item in whole.items],
        "position": places,
    }).write_parquet(tmp_path / "log.parquet")  # fmt: skip
    sql = re.search(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert sql is not None
    text = sql.group(1).replace("BETWEEN 1 AND 5", f"BETWEEN 1 AND {window}")
    text = text.replace("'log.parquet'", f"'{tmp_path}/log.parquet'").replace(
        "'edges.parquet'", f"'{tmp_path}/edges.parquet'"
    )
    duckdb.sql(text)
    theirs = graph_of(train, catalog(), GraphConfig(edges=Path("edges.parquet")), tmp_path)
    ours = cooccurrence(train, len(IDS), GraphConfig(window=window))
    np.testing.assert_array_equal(theirs.toarray(), ours.toarray())


def test_a_relative_list_lies_beside_the_data_first(tmp_path: Path) -> None:
    write(tmp_path / "edges.parquet", [("d", "e", 1.0)])
    config = GraphConfig(edges=Path("edges.parquet"))
    assert edges_path(config, tmp_path) == tmp_path / "edges.parquet"
    assert edges_path(config, tmp_path / "edges.parquet") == tmp_path / "edges.parquet"
    assert edges_path(config, tmp_path / "elsewhere") == Path("edges.parquet")
    assert edges_path(GraphConfig(), tmp_path) is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("apple", "2", 0.0)], "counts 0.0 for the edge 'apple' - '2'; expected positive numbers"),
        ([("apple", "2", float("nan"))], "counts nan"),
        ([("apple", "2", -1.0)], "counts -1.0"),
        ([("apple", "2", 1e39)], "counts 1e+39"),
        ([("apple", "2", 1e-60)], "counts 1e-60"),
        ([("A", "B", 1.0)], "no edge between two items of the catalogue"),
        ([(1.5, 2.5, 1.0)], "'src' holds Float64"),
    ],
)
def test_a_bad_list_is_refused_in_one_sentence(
    tmp_path: Path, rows: list[tuple[object, object, float]], words: str
) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        read_edges(write(tmp_path / "edges.parquet", rows), catalog())


def test_a_list_that_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_edges(tmp_path / "gone.parquet", catalog())
    with pytest.raises(DataError, match="in the folder"):
        read_edges(tmp_path, catalog())
    pl.DataFrame({"src": ["d"], "dts": ["e"], "count": [1]}).write_parquet(tmp_path / "typo.parquet")
    with pytest.raises(DataError, match="did you mean"):
        read_edges(tmp_path / "typo.parquet", catalog())
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "typo.parquet").read_bytes()[:40])
    with pytest.raises(DataError, match="torn"):
        read_edges(tmp_path / "torn.parquet", catalog())


def test_a_run_takes_the_list_wherever_it_takes_the_graph(tmp_path: Path) -> None:
    """The edges of the log itself, read from a file, give the same vectors at every stage."""
    tuned = ("tune.kind=map", "tune.pairs=u2i", "tune.steps=5", "tune.fewest=1")
    words = ("tokenize", "s2gr-planted", *WORLD, *tuned, "behaviour.source=spectral", "tokenizer.contrastive=1")
    succeed(*words, "--out", tmp_path / "own")
    contents = RunContents(Run.open(tmp_path / "own"))
    edges, ids = sparse.triu(contents.graph).tocoo(), contents.catalog.item_ids
    path = write(tmp_path / "edges.parquet", [
        (ids[low], ids[high], float(count)) for low, high, count in zip(edges.row, edges.col, edges.data, strict=True)
    ])  # fmt: skip
    listed = (*words, f"graph.edges={path}", "graph.window=1", "--out", tmp_path / "listed")
    succeed(*listed)
    for name in ("tuned", "behaviour", "aligned", "sids"):
        one, other = ((tmp_path / run / name / "tensors.safetensors").read_bytes() for run in ("own", "listed"))
        assert one == other, name
    write(path, [(ids[0], ids[1], 1.0)])
    assert "edges.parquet' was changed since" in refuse(
        *words, f"graph.edges={path}", "graph.window=1", "--out", tmp_path / "listed"
    )

"""A living catalogue: what is published stays, what is new is found, and a difference is told as it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from command import MODEL, contents, refuse, succeed
from sidestep import load
from sidestep.data.catalog import Catalog
from sidestep.errors import ArtifactError
from sidestep.pipeline import versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.workshop.diff import IdList, difference

NEW = [
    {"item_id": "new-1", "title": "Ganda frosted lantern with a longer name", "brand": "Ganda"},
    {"item_id": "new-2", "title": "unheard of 7", "brand": None},
]


def write_items(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_appending_moves_no_id_and_touches_no_file_that_was_there(run: Path, tmp_path: Path) -> None:
    before = contents(run)
    done = json.loads(succeed("sids", "append", run, "--items", write_items(tmp_path / "new.jsonl", NEW), "--json").out)
    assert done["version"] == 2
    assert (done["items"], done["added"]) == (50, 2)
    after = contents(run)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("versions/2/") for name in set(after) - set(before))
    old, new = RunContents(Run.open(run)), RunContents(Run.open(run), 2)
    assert new.sids.continues(old.sids)
    assert new.catalog.item_ids == [*old.catalog.item_ids, "new-1", "new-2"]
    assert new.catalog.title(48) == NEW[0]["title"]


def test_new_items_can_be_recommended_and_stand_in_histories(run: Path, tmp_path: Path) -> None:
    known = load(run).catalog.item_ids[:2]
    succeed("sids", "append", run, "--items", write_items(tmp_path / "new.jsonl", NEW))
    model = load(run)
    assert model.recommend([*known, "new-1"], k=5).by == "model"
    assert set(model.recommend(known, k=50, exclude_seen=False).item_ids) == set(model.catalog.item_ids)
    assert model.recommend(known, k=2, allow=["new-1", "new-2"]).item_ids in (["new-1", "new-2"], ["new-2", "new-1"])
    assert model.recommend([], k=50).item_ids[-2:] == ["new-1", "new-2"]  # nobody bought them yet
    assert "new-1" in succeed("recommend", run, "--history", known[0], "--allow", "new-1", "--explain").out


def test_evaluation_keeps_the_version_the_generator_was_trained_with(run: Path, tmp_path: Path) -> None:
    before = succeed("evaluate", run, "--json").out
    succeed("sids", "append", run, "--items", write_items(tmp_path / "new.jsonl", NEW))
    assert succeed("evaluate", run, "--json", "--force").out == before


def test_a_second_append_continues_the_first(run: Path, tmp_path: Path) -> None:
    for number, row in enumerate(NEW):
        succeed("sids", "append", run, "--items", write_items(tmp_path / f"{number}.jsonl", [row]))
    opened = Run.open(run)
    assert versions.newest(opened) == 3
    assert RunContents(opened, 3).sids.continues(RunContents(opened, 2).sids)
    assert load(run).catalog.item_ids[-2:] == ["new-1", "new-2"]


def test_a_copy_of_an_item_gets_its_path_where_the_graph_lends_nothing(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run("graph.enabled=false", "behaviour.source=none")
    table = RunContents(Run.open(run)).catalog.table
    copy = table.filter(pl.col("item_id") == table["item_id"][7]).with_columns(item_id=pl.lit("copy"))
    copy.write_parquet(tmp_path / "copy.parquet")
    succeed("sids", "append", run, "--items", tmp_path / "copy.parquet")
    codes = RunContents(Run.open(run), 2).sids.codes
    assert np.array_equal(codes[-1], codes[7])


def test_a_copy_of_what_a_generator_recommends_stands_right_behind_it(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run("graph.enabled=false", "behaviour.source=none", verb="train")
    model = load(run)
    history = model.catalog.item_ids[:3]
    best = model.recommend(history, k=1).item_ids[0]
    copy = model.catalog.table.filter(pl.col("item_id") == best).with_columns(item_id=pl.lit("copy"))
    copy.write_parquet(tmp_path / "copy.parquet")
    succeed("sids", "append", run, "--items", tmp_path / "copy.parquet")
    answer = load(run).recommend(history, k=48)
    codes = RunContents(Run.open(run), 2).sids.codes
    sharing = int((codes == codes[model.catalog.number_of[best]]).all(axis=1).sum())
    assert answer.item_ids[0] == best
    assert "copy" in answer.item_ids[1:sharing]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(*overrides: str, verb: str = "tokenize") -> Path:
        shop = (
            "data.planted.departments=2",
            "data.planted.aisles=2",
            "data.planted.shelves=2",
            "data.planted.users=60",
        )
        size = ("data.planted.brands=3", "data.planted.variants=2")
        folder = tmp_path / "made"
        succeed(verb, "s2gr-planted", *shop, *size, *MODEL, *overrides, "--out", folder)
        return folder

    return make


@pytest.mark.parametrize(
    "overrides",
    [
        ("tokenizer.collisions=extra",),
        ("tokenizer.collisions=nearest",),
        ("tokenizer.random_levels=1",),
        ("tokenizer.kind=rq-kmeans",),
        ("tokenizer.kind=opq",),
    ],
    ids=" ".join,
)
def test_every_policy_and_kind_continues_its_own_ids(
    overrides: tuple[str, ...], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(*overrides)
    rows = [{"item_id": f"new-{n}", "title": f"Ganda frosted lantern {n}"} for n in range(5)]
    succeed("sids", "append", run, "--items", write_items(tmp_path / "new.jsonl", rows))
    old, new = RunContents(Run.open(run)), RunContents(Run.open(run), 2)
    assert new.sids.continues(old.sids)
    assert len(new.sids) == len(old.sids) + 5
    if any("collisions" in word for word in overrides):
        assert len(np.unique(new.sids.codes, axis=0)) == len(new.sids)


def test_vectors_of_new_items_come_from_a_file_where_the_runs_own_did(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [f"i{n}" for n in range(20)]
    pl.DataFrame({"item_id": items, "title": items}).write_csv(tmp_path / "items.csv")
    log = [(f"u{u}", items[n]) for u in range(10) for n in rng.permutation(20)[:6]]
    pl.DataFrame(log, schema=["user_id", "item_id"], orient="row").write_csv(tmp_path / "log.csv")
    values = rng.standard_normal((20, 8)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", values)
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        f'[data]\npath = "{tmp_path}"\ninteractions = "log.csv"\nitems = "items.csv"\n'
        'items_without_interactions = "keep"\n[embed]\npath = "vectors.npy"\n[graph]\nenabled = false\n'
        '[behaviour]\nsource = "none"\n'
    )
    run = tmp_path / "run"
    succeed("tokenize", recipe, *MODEL[1:], "--out", run)
    pl.DataFrame({"item_id": ["a", "i3", "b"], "title": ["a", "i3", None]}).write_csv(tmp_path / "new.csv")
    np.save(tmp_path / "new.npy", values[[5, 3, 9]])
    wanted = ("sids", "append", run, "--items", tmp_path / "new.csv")
    assert "with --vectors" in refuse(*wanted, "--existing", "skip")
    np.save(tmp_path / "narrow.npy", values[[5, 3, 9], :4])
    assert "4 dimensions, the run's have 8" in refuse(
        *wanted, "--existing", "skip", "--vectors", tmp_path / "narrow.npy"
    )
    np.save(tmp_path / "zero.npy", values[[5, 3, 9]] * [[1], [1], [0]])
    assert "'b'" in refuse(*wanted, "--existing", "skip", "--vectors", tmp_path / "zero.npy")
    assert not (run / "versions").exists()
    succeed(*wanted, "--existing", "skip", "--vectors", tmp_path / "new.npy")
    contents = RunContents(Run.open(run), 2)
    assert contents.catalog.item_ids[20:] == ["a", "b"]
    assert np.array_equal(contents.sids.codes[20:], contents.sids.codes[[5, 9]])


def test_mistakes_are_named_and_leave_nothing_behind(run: Path, tmp_path: Path) -> None:
    known = load(run).catalog.item_ids[0]
    before = contents(run)

    def said(rows: list[dict[str, object]], *words: str) -> str:
        return refuse("sids", "append", run, "--items", write_items(tmp_path / "new.jsonl", rows), *words)

    assert f"the first is '{known}'" in said([{"item_id": known, "title": "a"}, NEW[0]])
    assert "no item that the catalogue of 48 items lacks" in said([{"item_id": known}], "--existing", "skip")
    assert "'new-1' 2 times" in said([NEW[0], NEW[0]])
    assert "no column 'item_id'" in said([{"id": "x"}])
    assert "in column 'title'" in said([{"item_id": "x", "title": ["a", "list"]}])
    assert "has a text" in said([{"item_id": "x"}])
    assert "leave out --vectors" in said([NEW[0]], "--vectors", "some.npy")
    assert "No file" in refuse("sids", "append", run, "--items", tmp_path / "absent.csv")
    assert contents(run) == before


def test_vectors_of_behaviour_cannot_be_made_for_new_items(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run("embed.kind=behaviour")
    items = write_items(tmp_path / "new.jsonl", NEW)
    assert "no user has interacted with a further item" in refuse("sids", "append", run, "--items", items)
    assert not (run / "versions").exists()


def test_ids_made_again_are_not_those_that_were_continued(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run()
    items = write_items(tmp_path / "new.jsonl", NEW)
    succeed("sids", "append", run, "--items", items)
    make_run("tokenizer.epochs=3", "--force")
    assert "append the items again" in refuse("sids", "append", run, "--items", items)
    assert "append the items again" in refuse("sids", "diff", f"{run}@1", f"{run}@2")


def test_a_generator_refuses_ids_that_it_was_not_trained_with(run: Path, tmp_path: Path) -> None:
    succeed("sids", "append", run, "--items", write_items(tmp_path / "new.jsonl", NEW))
    opened = Run.open(run)
    sids, parents = RunContents(opened, 2).sids, versions.manifest(opened, 2).parents
    moved = sids.codes.copy()
    moved[0] = (moved[0] + 1) % sids.codebook_sizes
    SemanticIds(moved, sids.codebook_sizes, sids.codebooks, sids.clusters).save(
        run / "versions/2/sids", parents=parents
    )
    with pytest.raises(ArtifactError, match="moves IDs that the generator was trained with"):
        load(run)


def test_diff_of_versions_runs_and_tables(run: Path, make_run: Callable[..., Path], tmp_path: Path) -> None:
    succeed("sids", "append", run, "--items", write_items(tmp_path / "new.jsonl", NEW))
    grown = json.loads(succeed("sids", "diff", f"{run}@1", run, "--json").out)
    assert (grown["kept"], grown["moved"], grown["new"], grown["gone"]) == (48, 0, 2, 0)
    assert grown["codebooks"] == "same"
    same = succeed("sids", "diff", run / "versions/2/sids", f"{run}@2").out
    assert "50 items keep their ID, 0 moved, 0 are new, 0 are gone" in same
    other = json.loads(succeed("sids", "diff", f"{run}@1", make_run("tokenizer.epochs=1"), "--json").out)
    assert other["kept"] + other["moved"] == 48
    assert other["codebooks"] == "changed"

    codes = RunContents(Run.open(run)).sids.codes
    np.savez(tmp_path / "tables.npz", same=codes, moved=np.where(np.arange(48)[:, None] == 5, codes + 1, codes))
    found = succeed("sids", "diff", f"{run}@1", f"{tmp_path}/tables.npz:moved").out
    assert "47 items keep their ID, 1 moved" in found
    assert RunContents(Run.open(run)).catalog.item_ids[5] in found
    assert "choose one" in refuse("sids", "diff", run, tmp_path / "tables.npz")
    assert "did you mean 'moved'" in refuse("sids", "diff", run, f"{tmp_path}/tables.npz:mved")
    assert "no version 7" in refuse("sids", "diff", run, f"{run}@7")
    assert "no version 0; versions count from 1" in refuse("sids", "diff", run, f"{run}@0")
    assert "no version 7" in refuse("sids", "report", f"{run}@7")
    assert "48 rows, expected 50" in refuse("sids", "report", f"{run}@2", tmp_path / "tables.npz")
    assert "vectors of appended items are not stored" in succeed("sids", "report", f"{run}@2").out


def test_a_difference_counts_every_item_once_at_its_first_new_level() -> None:
    def listed(ids: str, codes: list[list[int]]) -> IdList:
        return IdList(np.array(codes), catalog=Catalog(pl.DataFrame({"item_id": list(ids)})))

    first = listed("abcd", [[0, 0], [0, 1], [1, 0], [1, 1]])
    second = listed("dcbx", [[1, 1], [1, 2], [2, 1], [0, 0]])
    found = difference(first, second)
    assert (found.kept, found.moved, found.moved_at, found.new, found.gone) == (1, 2, [1, 1], 1, 1)
    assert [(entry.item_id, entry.before, entry.after) for entry in found.examples] == [
        ("b", [0, 1], [2, 1]),
        ("c", [1, 0], [1, 2]),
    ]
    longer = IdList(np.array([[0, 0, 0], [0, 1, 0]]))
    assert difference(IdList(np.array([[0, 0], [0, 1]])), longer).moved_at == [0, 0, 2]


@pytest.mark.parametrize("overrides", [(), ("tokenizer.collisions=extra",)], ids=["keep", "extra"])
def test_the_same_vectors_requantised_give_the_same_ids_and_others_are_told(
    overrides: tuple[str, ...], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(*overrides)
    own = ItemVectors.load(run / "vectors").values
    np.save(tmp_path / "own.npy", own)
    np.save(tmp_path / "other.npy", own[::-1])
    before = contents(run)
    for name in ("own", "other"):
        succeed("sids", "requantise", run, "--vectors", tmp_path / f"{name}.npy", "--out", tmp_path / name)
    assert contents(run) == before
    same, other = (json.loads(succeed("sids", "diff", run, tmp_path / name, "--json").out) for name in ("own", "other"))
    assert (same["kept"], same["moved"], same["codebooks"]) == (48, 0, "same")
    assert other["moved"] > 0
    assert "exists; choose another" in refuse(
        *("sids", "requantise", run, "--vectors", tmp_path / "own.npy", "--out", tmp_path / "own")
    )


def test_an_item_whose_path_stays_keeps_its_id_when_others_move(make_run: Callable[..., Path], tmp_path: Path) -> None:
    run = make_run(
        "tokenizer.random_levels=1", "tokenizer.kind=rq-kmeans", "graph.enabled=false", "behaviour.source=none"
    )
    values = ItemVectors.load(run / "vectors").values.copy()
    values[7] = -values[7]
    np.save(tmp_path / "turned.npy", values)
    succeed("sids", "requantise", run, "--vectors", tmp_path / "turned.npy", "--out", tmp_path / "turned")
    found = json.loads(succeed("sids", "diff", run, tmp_path / "turned", "--json").out)
    assert (found["moved"], [entry["item_id"] for entry in found["examples"]]) == (1, ["P08"])
    values[7] = 0
    np.save(tmp_path / "zero.npy", values)
    line = refuse("sids", "requantise", run, "--vectors", tmp_path / "zero.npy", "--out", tmp_path / "zero")
    assert "1 of 48 vectors are zero, the first is of item 'P08'" in line
    assert not (tmp_path / "zero").exists()

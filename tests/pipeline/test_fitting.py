"""Training from Python: the run folder of the command line, out of files and out of frames; and what is refused."""

import gc
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from torch import nn

import sidestep
from command import MODEL, WORLD, contents, succeed
from other_writer import held_by_another
from own_shop import ITEMS, USERS, write_shop
from sidestep import artifact
from sidestep.config import merge
from sidestep.data.inspect import inspect
from sidestep.errors import ArtifactError, ConfigError, DataError, LockedError
from sidestep.methods.table import METHODS, RECIPE
from sidestep.pipeline.run import LOCK

SETTINGS: dict[str, Any] = merge({}, MODEL, RECIPE)
QUIET: dict[str, Any] = {"say": lambda line: None, **SETTINGS}
TIMED = ("log.jsonl", "checkpoint")
"""Files that hold how long something took."""


def made(run: Path) -> dict[str, str]:
    """The digests of a run's files, but for those that hold times."""
    return {name: digest for name, digest in contents(run).items() if not any(word in name for word in TIMED)}


def tables_and_tensors(run: Path) -> dict[str, str]:
    """Without what says where it comes from."""
    named = (artifact.MANIFEST, "recipe.json", "origin.json")
    return {name: digest for name, digest in made(run).items() if not name.endswith(named) and "tables/" not in name}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return folder


@pytest.fixture(scope="module")
def by_command(files: Path) -> Path:
    """What `init` and `run` make of the files."""
    recipe, run = files / "found.toml", files / "by-command"
    succeed("init", "--interactions", files / "log.csv", "--items", files / "items.csv", "--out", recipe)
    succeed("run", recipe, *MODEL, "--out", run)
    return run


@pytest.fixture(scope="module")
def frames(files: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    texts = {"infer_schema": False}
    return pl.read_csv(files / "log.csv", **texts), pl.read_csv(files / "items.csv", **texts)


@pytest.fixture(scope="module")
def model(files: Path, frames: tuple[pl.DataFrame, pl.DataFrame]) -> sidestep.Model:
    return sidestep.fit(*frames, out=files / "by-frames", **QUIET)


def test_paths_give_the_very_run_of_the_command_line(files: Path, by_command: Path) -> None:
    out = files / "by-paths"
    model = sidestep.fit(files / "log.csv", str(files / "items.csv"), out=out, **QUIET)
    assert model.evaluate().table.equals(sidestep.load(by_command).evaluate().table)
    assert made(out) == made(by_command)


def test_frames_give_the_tables_and_weights_of_the_files(by_command: Path, model: sidestep.Model) -> None:
    model.evaluate()
    assert tables_and_tensors(model.folder) == tables_and_tensors(by_command)


def test_the_command_line_goes_on_with_what_python_began(model: sidestep.Model) -> None:
    model.evaluate()
    before = contents(model.folder)
    succeed("run", model.folder)
    assert contents(model.folder) == before


def test_fitting_again_goes_on_and_other_tables_are_refused_or_forced(
    files: Path, frames: tuple[pl.DataFrame, pl.DataFrame], model: sidestep.Model
) -> None:
    log, items = frames
    before = contents(model.folder)
    sidestep.fit(log, items, out=model.folder, **QUIET)
    assert contents(model.folder) == before
    with pytest.raises(
        ArtifactError, match=r"holds a run on another table of 'log'; choose another out=, or add force=True"
    ):
        sidestep.fit(log.head(120), items, out=model.folder, **QUIET)
    with pytest.raises(ArtifactError, match=r"another configuration \(seed: 0 -> 1\); choose another out="):
        sidestep.fit(log, items, out=model.folder, seed=1, **QUIET)
    assert contents(model.folder) == before
    out = files / "forced"
    sidestep.fit(log, items, out=out, **QUIET)
    assert len(sidestep.fit(log.head(120), items, out=out, force=True, **QUIET).interactions) == 120


def test_tables_are_written_by_one_at_a_time(frames: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path) -> None:
    run = tmp_path / "run"
    tables = run / "tables"
    tables.mkdir(parents=True)
    (tables / "log.parquet").write_bytes(b"of another fit")
    with held_by_another(run / LOCK), pytest.raises(LockedError, match="is being written by process"):
        sidestep.fit(*frames, out=run, force=True, **QUIET)
    assert [(path.name, path.read_bytes()) for path in tables.iterdir()] == [("log.parquet", b"of another fit")]
    (run / "note.txt").touch()
    with pytest.raises(ArtifactError, match="is no run folder"):
        sidestep.fit(*frames, out=run, **QUIET)
    assert sorted(path.name for path in run.iterdir()) == ["note.txt", "tables"]


def test_a_mapping_of_columns_is_a_table(frames: tuple[pl.DataFrame, pl.DataFrame], model: sidestep.Model) -> None:
    log, items = (frame.to_dict(as_series=False) for frame in frames)
    other = sidestep.fit(log, items, **QUIET)
    assert other.catalog.table.equals(model.catalog.table)
    assert other.recommend(["0003"]) == model.recommend(["0003"])


def test_pandas_frames_are_tables(frames: tuple[pl.DataFrame, pl.DataFrame], model: sidestep.Model) -> None:
    pandas = pytest.importorskip("pandas")
    log, items = (pandas.DataFrame(frame.to_dict(as_series=False)) for frame in frames)
    log["when"] = pandas.to_datetime(log["when"].astype(int), unit="s")
    other = sidestep.fit(log, items, **QUIET)
    assert other.recommend(["0003"], explain=True) == model.recommend(["0003"], explain=True)
    answers = other.recommend_many([["0003"], []], k=3)
    assert answers.to_pandas().to_dict("list") == answers.to_polars().to_dict(as_series=False)


def test_a_run_without_a_folder_goes_with_its_model(frames: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path) -> None:
    model = sidestep.fit(*frames, **QUIET)
    folder, before = model.folder, model.recommend(["0003"])
    model.save(tmp_path / "bundle")
    assert folder.is_dir()
    del model
    gc.collect()
    assert not folder.exists()
    kept = sidestep.load(tmp_path / "bundle")
    assert kept.recommend(["0003"]).item_ids == before.item_ids
    with pytest.raises(ArtifactError, match="is a bundle and has no test cases"):
        kept.evaluate()
    assert contents(kept.save(tmp_path / "again")) == contents(tmp_path / "bundle")


def test_a_model_shows_what_it_learnt(model: sidestep.Model) -> None:
    assert model.sids is not None
    assert model.item_vectors is not None
    table = model.semantic_ids
    assert table is not None
    assert table["item_id"].to_list() == model.catalog.item_ids
    assert table["codes"].to_list() == model.sids.codes.tolist()
    assert model.item_vectors.values.shape == (ITEMS, 16)
    assert isinstance(model.module, nn.Module)
    assert not model.module.training


def test_many_answers_are_a_table(model: sidestep.Model) -> None:
    answers = model.recommend_many([["0003"], [], ["0007", "0001"]], k=4)
    table = answers.to_polars()
    assert table.columns == ["history", "rank", "item_id", "title", "score", "by"]
    for number, answer in enumerate(answers):
        part = table.filter(pl.col("history") == number)
        assert part["rank"].to_list() == [1, 2, 3, 4]
        assert part["item_id"].to_list() == answer.item_ids
        assert set(part["by"]) == {answer.by}


def test_every_noun_prints_one_short_line(model: sidestep.Model) -> None:
    found = (model, model.catalog, model.interactions, model.sids, model.item_vectors, model.source.split.train)
    lines = [*map(repr, found), repr(model.evaluate())]
    assert all(len(line) < 320 and "\n" not in line for line in lines), lines
    assert lines[0].startswith(f"<sidestep model s2gr: {ITEMS} items, {USERS} users, semantic IDs of 8 x 8 x 8, /")
    assert "HR@10" in lines[-1]


@pytest.mark.parametrize("method", ["sasrec-ce", "tiger", "s2gr"])
def test_a_method_takes_the_sizes_that_init_chooses(files: Path, method: str) -> None:
    from sidestep.pipeline.fitting import _recipe

    found = inspect(files / "log.csv", files / "items.csv")
    initial, recipe = _recipe("s2gr", found, {}), _recipe(method, found, {})
    assert recipe.data == initial.data
    assert (recipe.train.epochs, recipe.train.patience) == (initial.train.epochs, initial.train.patience)
    own = METHODS[method].parts.get("train", {})
    assert recipe.train.lr == own.get("lr", initial.train.lr)


def test_a_whole_recipe_counts_but_for_where_the_tables_are(files: Path, tmp_path: Path) -> None:
    from sidestep.pipeline.fitting import _recipe

    found = inspect(files / "log.csv", files / "items.csv")
    data = '[data]\nsource = "amazon"\npath = "elsewhere"\nmin_length = 4\n'
    (tmp_path / "mine.toml").write_text(f'method = "tiger"\nseed = 3\n{data}[train]\nepochs = 7\n')
    by_name = _recipe(tmp_path / "mine.toml", found, {"train": {"lr": 0.5}, "train.epochs": 8})
    itself = _recipe(sidestep.recipe(str(tmp_path / "mine.toml"), ["train.lr=0.5", "train.epochs=8"]), found, {})
    assert by_name == itself
    assert (by_name.method, by_name.seed, by_name.data.min_length, by_name.train.epochs) == ("tiger", 3, 4, 8)
    assert (by_name.data.source, by_name.data.path, by_name.data.user) == ("table", files.resolve(), "customer")


def test_a_recipe_of_its_own_data_needs_no_tables(tmp_path: Path) -> None:
    world = sidestep.recipe("s2gr-planted", WORLD)
    model = sidestep.fit(recipe=world, out=tmp_path / "run", say=lambda line: None)
    assert made(tmp_path / "run").keys() >= {"model/manifest.json", "catalog/items.parquet"}
    assert model.source.recipe == world


LOG = {"customer": ["a", "b"] * 6, "sku": list("xxyyzzxxyyzz"), "when": [str(day) for day in range(12)]}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"log": 5}, DataError, "log is 5, of type int; expected a path, a polars or pandas frame"),
        ({"log": {"u": [1, "a"], "i": ["x", "y"]}}, DataError, "Column 'u' of log mixes values of int, str"),
        ({"log": {7: ["a"]}}, DataError, "log has a column named 7, of type int; expected text"),
        (
            {"log": {"q": ["a", "b"] * 6, "r": list("xxyyzzxxyyzz")}},
            DataError,
            r'column of log .* columns=\{"user": "COLUMN"\},',
        ),
        ({"log": LOG, "columns": {"usr": "customer"}}, ConfigError, r"columns\['usr'\]: .* did you mean 'user'"),
        (
            {"log": LOG, "columns": {"user": "costumer"}},
            ConfigError,
            r"columns\[\"user\"\] 'costumer': log .*'customer'",
        ),
        ({"log": LOG, "recipe": "s2grr"}, ConfigError, "No recipe 's2grr'"),
        ({"log": LOG, "epochs": 3}, ConfigError, r"write .*tokenizer=\{'epochs': ...\} or train=\{'epochs': ...\}"),
        ({"log": LOG, "train": {"epoch": 3}}, ConfigError, r"Unknown key 'epoch' in \[train\]; did you mean 'epochs'"),
        ({}, ConfigError, "Method 's2gr' needs a log"),
        ({"items": LOG}, ConfigError, "pass the log too"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        sidestep.fit(**arguments, out=tmp_path / "run")
    assert not re.search(r"--(?!$)[a-z]", str(raised.value))
    assert not (tmp_path / "run").exists()


WRONG_IDS = """
import sidestep
model = sidestep.load(FOLDER)
for wrong in (7, None, ["0003"], 3.0):
    for ask in (
        lambda: model.recommend(["0003", wrong]),
        lambda: model.recommend(["0003", wrong], unknown="skip"),
        lambda: model.recommend(["0003"], allow=[wrong]),
        lambda: model.recommend(["0003"], deny=[wrong]),
        lambda: model.histories_of([wrong]),
    ):
        try:
            ask()
        except sidestep.SidestepError as error:
            print(type(wrong).__name__, error)
"""


def test_an_id_that_is_no_text_is_one_sentence(model: sidestep.Model) -> None:
    """In a process of its own, for here the types of every call are checked."""
    code = WRONG_IDS.replace("FOLDER", repr(str(model.folder)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "int Item id 2 of 2 is 7, of type int; ids are text, as in '0000'"
    assert len(lines) == 4 * 5
    assert all(f"of type {line.split()[0]}; ids are text" in line for line in lines)

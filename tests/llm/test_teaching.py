"""From cases to an adapter with a teacher behind an endpoint and a model that is only spelling: courses resume."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chat_world import said, server
from rerank_world import CANDIDATES, shop
from sidestep.data.labels import ItemLabels
from sidestep.errors import DataError
from sidestep.llm import teaching
from sidestep.llm.adapter import Adapter
from sidestep.llm.chat import letters
from sidestep.llm.config import LLMConfig
from sidestep.llm.model import ChatModel
from sidestep.llm.teaching import ANSWERS, Teaching
from sidestep.rerankers.scenes import gathered_scenes

COUNT = 12
LETTERS = [letters(place) for place in range(CANDIDATES)]


def reply(body: dict[str, Any], number: int) -> tuple[int, str]:
    """What puts first what was shown, and one that copies where nothing is."""
    shown = re.search(r"The person took (\w+) next", body["messages"][1]["content"])
    first = shown[1] if shown else "A"
    order = [first, *(letter for letter in LETTERS if letter != first)]
    return 200, said(
        json.dumps({"explanation": "so", "rule": "keep", "label": None, "matched": [], "recommendations": order})
    )


class Copying(ChatModel):
    """Answers every other chat with the first order, and the others with nothing."""

    def prompt(self, messages: Any) -> list[int]:
        return [0]

    def write(self, prompts: Any, max_tokens: int, temperature: float = 0.0, model: Any = None) -> list[list[int]]:
        text = json.loads(reply({"messages": [{}, {"content": ""}]}, 0)[1])["choices"][0]["message"]["content"]
        return [[ord(mark) for mark in text] if row % 2 == 0 else [] for row in range(len(prompts))]

    def text(self, completion: Any) -> str:
        return "".join(map(chr, completion))

    def adapter(self) -> dict[str, torch.Tensor]:
        return {"lora": torch.full((2, 2), 3.0)}


def taught(url: str, traces: str = "targeted") -> tuple[Teaching, Adapter]:
    world = shop()
    labels = ItemLabels.of(world.world.catalog)
    config = LLMConfig.model_validate(
        {"teacher": "endpoint", "teacher_model": "t", "endpoint": url, "traces": traces, "tries": 2, "cases": COUNT}
        | {"valid_cases": COUNT, "history": 4}
    )
    adapter = Adapter(config, world.world.catalog.titles, labels, None)
    cases = world.test.take(np.arange(3 * COUNT))
    scenes = gathered_scenes(cases, world.evidence().learn(world.parts.train), config.history)
    made = Teaching(adapter, (cases, scenes), (cases, scenes), seed=0)
    made._model = Copying(None, None)
    return made, adapter


def test_a_course_keeps_its_adapter_and_the_teachers_answers_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[Any] = []
    monkeypatch.setattr(teaching, "supervise", lambda model, chat, lessons, *_: learnt.append(lessons))
    monkeypatch.setattr(teaching, "quiet", lambda: monkeypatch.context())
    lines: list[str] = []
    with server(reply) as (url, asked):
        made, adapter = taught(url)
        made.supervise(tmp_path / "llm-sft", lines.append)
    assert len(asked) == COUNT  # one draw each: the answer is shown, and put first
    (lessons,) = learnt
    assert all(lesson.answer.trace.order[0] == lesson.place for lesson in lessons)
    assert any("traces: 12 of 12 cases" in line for line in lines)
    assert any(
        line.startswith("llm-sft, of 12 validation hits: 50.0% read as answers; of these left") for line in lines
    )
    assert any("it copies" in line for line in lines)
    assert len((tmp_path / ANSWERS).read_text().splitlines()) == COUNT
    again, other = taught(url)
    again.supervise(tmp_path / "llm-sft", lines.append)  # the server is gone, and nobody asks
    assert len(learnt) == 1
    assert torch.equal(other.tensors["lora"], adapter.tensors["lora"])


def test_a_teacher_that_never_puts_the_answer_first_is_told_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonsense = lambda body, number: (200, said("I would rather not."))  # noqa: E731
    with server(nonsense) as (url, asked), pytest.raises(DataError, match=r"of 12 cases; .*llm\.traces=targeted"):
        taught(url, "rejection")[0].supervise(tmp_path / "llm-sft", lambda _: None)
    assert len(asked) == 2 * COUNT
    assert not (tmp_path / "llm-sft" / "adapter").exists()


def test_every_case_is_asked_about_with_its_own_history_candidates_and_answer() -> None:
    made, adapter = taught("http://nowhere")
    cases, scenes = made._hits
    for case, (question, place) in enumerate(made._asked(cases, scenes)):
        target = int(cases.cases.targets[case])
        assert adapter.chat._titles[target] in question.candidates[place]
        assert len(question.history) == min(4, len(cases.cases.history(case)))
        assert adapter.chat._titles[int(cases.cases.history(case)[-1])] in question.history[-1]

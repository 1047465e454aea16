"""What a language model learns from, worked out without one: weights, rewards, rollouts, and what a run keeps."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from chat_world import CANDIDATES, HISTORY, LABELS, SCENE, SIDS, TITLES, chat
from sidestep.llm.adapter import Adapter
from sidestep.llm.chat import Answer
from sidestep.llm.config import LLMConfig
from sidestep.llm.model import ChatModel, until
from sidestep.llm.sampling import Lesson
from sidestep.llm.training import UNPARSABLE, Rollout, example, stacked, weighted_loss, worth
from sidestep.rerankers.traces import RULES, Trace, executed

TALK = chat()
QUESTION = TALK.question(HISTORY, CANDIDATES, SCENE)
END = 0


class Letters:
    """A tokenizer whose tokens are characters."""

    eos_token_id = pad_token_id = END

    def __call__(self, text: str, add_special_tokens: bool = True, return_offsets_mapping: bool = False) -> Any:
        assert not add_special_tokens
        ids = [ord(mark) for mark in text]
        return {"input_ids": ids, "offset_mapping": [(place, place + 1) for place in range(len(ids))]}


class Spelling(ChatModel):
    """Reads and writes character by character."""

    def prompt(self, messages: Any) -> list[int]:
        return [ord(mark) for mark in messages[1]["content"]]

    def text(self, tokens: list[int]) -> str:
        return "".join(chr(token) for token in tokens if token != END)


def tokens(answer: Answer | str) -> list[int]:
    text = answer if isinstance(answer, str) else TALK.write(answer, QUESTION)
    return [*(ord(mark) for mark in text), END]


def test_a_lessons_tokens_weigh_as_their_part_and_the_question_weighs_nothing() -> None:
    answer, config = Answer("so", executed("next", SCENE)), LLMConfig(trace_weight=0.25, rest_weight=0.125)
    found = example(MODEL, TALK, Lesson(QUESTION, 0, answer), config)
    text, prompt = TALK.write(answer, QUESTION), len(TALK.messages(QUESTION)[1]["content"])
    assert found["input_ids"][prompt:] == tokens(answer)
    cut = text.index('"recommendations"')
    first = text.index('["', cut) + 4
    expected = [0.0] * prompt + [0.25] * cut + [1.0] * (first - cut) + [0.125] * (len(text) - first - 2) + [1.0] * 3
    assert found["weights"] == expected


def test_batches_are_padded_on_the_left_with_what_is_not_seen_and_weighs_nothing() -> None:
    found = stacked([{"input_ids": [5, 6], "weights": [0.0, 1.0]}, {"input_ids": [7], "weights": [0.5]}], 9)
    assert found["input_ids"].tolist() == [[5, 6], [9, 7]]
    assert found["attention_mask"].tolist() == [[1, 1], [0, 1]]
    assert found["weights"].tolist() == [[0.0, 1.0], [0.0, 0.5]]


MODEL = Spelling(None, Letters())


class Bigrams(nn.Module):
    """A language model whose next token depends on the last one alone."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(10, 10, generator=torch.Generator().manual_seed(0)))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int) -> Any:
        return SimpleNamespace(logits=self.table[input_ids][:, -logits_to_keep:])


def test_the_loss_is_the_weighted_mean_of_token_log_probs_and_what_weighs_nothing_has_no_gradient() -> None:
    model, batch = Bigrams(), stacked(
        [{"input_ids": [1, 2, 3, 4, 5], "weights": [0.0, 0.0, 0.5, 1.0, 0.0]},
         {"input_ids": [6, 7, 8], "weights": [0.0, 0.0, 2.0]}], 9)  # fmt: skip
    logs = model.table.log_softmax(-1)
    by_hand = -(0.5 * logs[2, 3] + 1.0 * logs[3, 4] + 2.0 * logs[7, 8]) / 3.5
    loss = weighted_loss(model, batch)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert model.table.grad is not None
    assert set(model.table.grad.abs().sum(1).nonzero()[:, 0].tolist()) == {2, 3, 7}


def test_an_answer_is_worth_what_its_rank_gains_and_a_true_trace_adds_where_it_gains() -> None:
    followed = executed("popular", SCENE)  # puts the second candidate first
    place = followed.order[0]
    gain = place / 4
    assert worth(Answer("", followed), QUESTION, place, 0.2) == pytest.approx(gain + 0.2)
    untrue = Trace("popular", 0, followed.matched[:1], followed.order)
    assert worth(Answer("", untrue), QUESTION, place, 0.2) == pytest.approx(gain)
    unfollowed = Trace("last", followed.key, executed("last", SCENE).matched, followed.order)
    assert worth(Answer("", unfollowed), QUESTION, place, 0.2) == pytest.approx(gain)
    bare = Trace("", 0, (), followed.order)
    assert worth(Answer("", bare), QUESTION, place, 0.2) == pytest.approx(gain)
    assert worth(Answer("", followed), QUESTION, 0, 0.2) < 0
    assert worth(Answer("", executed("keep", SCENE)), QUESTION, 0, 0.2) == pytest.approx(0.2)
    assert worth(None, QUESTION, 0, 0.2) == UNPARSABLE


def rolled(texts: list[list[Answer | str]], redraws: int, log: Path) -> tuple[list[list[int]], list[float], list[int]]:
    """Two chats, three answers each. texts: what each turn draws, for the rows it is asked for."""
    other = TALK.question(HISTORY[:1], CANDIDATES, SCENE)
    chats = [TALK.messages(QUESTION)] * 3 + [TALK.messages(other)] * 3
    known = {chats[0][1]["content"]: (QUESTION, 1), chats[3][1]["content"]: (other, 0)}
    config, sizes = LLMConfig(group=3, redraws=redraws), list[int]()

    def draw(rows: list[int]) -> list[list[int]]:
        sizes.append(len(rows))
        return [tokens(text) for text in texts[len(sizes) - 1]]

    written, found = Rollout(MODEL, TALK, known, config, log).drawn(chats, draw)
    return written, found, sizes


KEEP, POPULAR = Answer("", executed("keep", SCENE)), Answer("", executed("popular", SCENE))


def test_groups_of_one_worth_are_drawn_again_and_the_others_stay(tmp_path: Path) -> None:
    first = [KEEP, POPULAR, "no", "no", "no", "no"]  # the second group is dull
    written, found, sizes = rolled([first, [KEEP, "no", POPULAR]], 3, tmp_path / "log")
    assert sizes == [6, 3]
    assert written == [tokens(each) for each in [*first[:3], KEEP, "no", POPULAR]]
    assert found[2] == found[4] == UNPARSABLE
    assert found[3] == pytest.approx(0.2)  # first before, and kept there
    (row,) = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert row == {"reward": pytest.approx(sum(found) / 6), "informative": 1.0, "valid": 4 / 6, "kept": 0.5}


def test_a_group_that_stays_dull_is_given_up(tmp_path: Path) -> None:
    _, found, sizes = rolled([["no"] * 6] * 3, 2, tmp_path / "log")
    assert sizes == [6, 6, 6]
    assert found == [UNPARSABLE] * 6
    assert json.loads((tmp_path / "log").read_text())["informative"] == 0.0
    assert rolled([["no"] * 6], 0, tmp_path / "log")[2] == [6]


def test_an_answer_ends_with_the_first_token_that_ends_one() -> None:
    assert until([4, 5, 0, 0], {0, 9}) == [4, 5, 0]
    assert until([4, 9, 5, 0], {0, 9}) == [4, 9]
    assert until([4, 5], {0}) == [4, 5]
    assert until([], {0}) == []


def test_a_run_keeps_the_adapter_whatever_its_matrices_are_called() -> None:
    def adapter() -> nn.Module:
        return nn.ModuleDict({"second": Adapter(LLMConfig(), TITLES, LABELS, SIDS), "other": nn.Linear(2, 2)})

    taught, fresh = adapter(), adapter()
    taught.second.tensors = {"base_model.model.layers.0.lora_A.weight": torch.ones(2, 3)}  # type: ignore[union-attr, assignment]
    state = taught.state_dict()
    assert set(state) == {"second.base_model.model.layers.0.lora_A.weight", "other.weight", "other.bias"}
    for assign in (False, True):
        fresh.load_state_dict(state, assign=assign)
        assert fresh.second.tensors.keys() == taught.second.tensors.keys()  # type: ignore[union-attr, operator]
    with pytest.raises(RuntimeError, match="Unexpected"):
        adapter().load_state_dict({**state, "third.weight": torch.ones(1)})


def test_the_adapters_chat_is_what_the_recipe_asks_for() -> None:
    said = Adapter(LLMConfig(cite="sid", knowledge=False, traces="none"), TITLES, LABELS, SIDS).chat
    question = said.question(HISTORY, CANDIDATES, SCENE)
    assert question.cites[0].startswith("<a_")
    assert not question.knowledge
    assert "rule" not in said.messages(question)[0]["content"]
    assert len(RULES) == 8


def test_a_teacher_that_is_a_model_has_a_name_and_one_behind_an_endpoint_an_address() -> None:
    with pytest.raises(ValueError, match=r"set llm\.teacher_model"):
        LLMConfig(teacher="endpoint")
    with pytest.raises(ValueError, match=r"set llm\.endpoint, as in http"):
        LLMConfig(teacher="endpoint", teacher_model="t")

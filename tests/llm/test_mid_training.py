"""Mid-training: codes that become tokens, what is read about them, and what nobody may read before being asked."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rerank_world import shop
from sidestep.data.labels import ItemLabels
from sidestep.data.splits import Cases, TrainingInteractions
from sidestep.llm import teaching
from sidestep.llm.adapter import Adapter
from sidestep.llm.chat import Chat
from sidestep.llm.config import LLMConfig
from sidestep.llm.mid_training import TAKEN, Readings, asked, histories, nats
from sidestep.llm.model import ChatModel
from sidestep.llm.teaching import Teaching
from sidestep.rerankers.scenes import gathered_scenes

needs_peft = pytest.mark.skipif(not importlib.util.find_spec("peft"), reason="the extra llm is not installed")
MID = LLMConfig(cite="sid", mid_steps=50, mid_batch=4, history=3)
END = 0


class Letters:
    """A tokenizer whose tokens are characters."""

    eos_token_id = pad_token_id = END

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        assert not add_special_tokens
        return {"input_ids": [ord(mark) for mark in text]}


class Constant(nn.Module):
    """Says every token with the same probability, but the letter "x" with three times that."""

    device = torch.device("cpu")

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int) -> Any:
        logits = torch.zeros(len(input_ids), min(logits_to_keep, input_ids.shape[1]), 128)
        logits[..., ord("x")] = np.log(3)
        return SimpleNamespace(logits=logits)


MODEL = ChatModel(Constant(), Letters())


def world() -> tuple[TrainingInteractions, Chat, list[str]]:
    made = shop()
    sids = [f"<a_{item // 8}><b_{item % 8}>" for item in range(len(made.world.catalog))]
    return made.parts.train, Chat(made.world.catalog.titles, ItemLabels.of(made.world.catalog), sids), sids


def test_histories_end_before_the_first_answer_that_is_asked_for_later() -> None:
    train, _, _ = world()
    starts, lengths = train.offsets[:-1], np.diff(train.offsets)
    first, second = np.flatnonzero(lengths > 4)[:2]
    rows = np.array([starts[first] + 3, starts[first] + 4, starts[second] + 1])
    found = histories(Cases(train, train.users[rows], rows))
    ends = dict(zip(range(train.num_users), train.offsets[1:].tolist(), strict=True))
    ends |= {
        int(first): int(rows[0]),
        int(second): int(rows[2]),
    }  # the second user has one item left, and nothing to read
    expected = [train.items[starts[user] : end].tolist() for user, end in ends.items() if end - starts[user] > 1]
    assert [history.tolist() for history in found] == expected
    assert len(expected) == (lengths > 1).sum() - 1


def parts(reading: Any) -> tuple[str, str]:
    """What a reading gives, and what it says."""
    begin = reading["weights"].index(1.0)
    assert set(reading["weights"][:begin]) == {0.0}
    assert set(reading["weights"][begin:]) == {1.0}
    given, said = ("".join(map(chr, ids)) for ids in (reading["input_ids"][:begin], reading["input_ids"][begin:]))
    return given, said


def test_readings_are_stretches_of_histories_and_ids_beside_their_words_and_the_same_for_a_seed() -> None:
    train, chat, sids = world()
    nobody = Cases(train, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    readings = Readings(MODEL, chat, nobody, MID, seed=0)
    assert len(readings) == 200
    again, other = (Readings(MODEL, chat, nobody, MID, seed=seed) for seed in (0, 1))
    assert list(readings) == list(again)
    assert list(readings) != list(other)
    whole = {" ".join(sids[item] for item in history) for history in histories(nobody)}
    kinds = {"history": 0, "words": 0, "id": 0}
    for given, said in map(parts, readings):
        if given == TAKEN:
            kinds["history"] += 1
            assert 2 <= len(said.split()) <= MID.history + 1
            assert any(said in each for each in whole)
        elif given.startswith("<"):
            kinds["words"] += 1
            item = sids.index(given.removesuffix(" is "))
            assert said == chat.line(item) + chr(END)
        else:
            kinds["id"] += 1
            assert chat.line(sids.index(said.removesuffix(chr(END)))) == given.removesuffix(" is ")
    assert kinds == {"history": 100, "words": 50, "id": 50}


def test_a_history_that_may_not_be_read_is_in_no_reading() -> None:
    train, chat, _ = world()
    rows = np.array(
        [begin + 1 for begin, end in zip(train.offsets[:-1], train.offsets[1:], strict=True) if end > begin + 1]
    )
    readings = Readings(
        MODEL, chat, Cases(train, train.users[rows], rows), MID, seed=0
    )  # every second item is asked for
    assert not any(given == TAKEN for given, _ in map(parts, readings))


def test_what_a_token_costs_is_a_mean_over_the_tokens_that_are_said() -> None:
    other, x = np.log(130), np.log(130 / 3)
    assert nats(MODEL, [("abc", "xyz"), ("b", "ax"), ("x", "b")]) == pytest.approx((2 * x + 4 * other) / 6, rel=1e-5)
    assert np.isnan(nats(MODEL, []))


def test_what_was_taken_is_asked_for_behind_the_last_items_of_a_history() -> None:
    made = shop()
    _, chat, sids = world()
    cases = made.test.cases.take(np.arange(5))
    for case, (given, said) in enumerate(asked(cases, chat, history=2)):
        assert said == sids[cases.targets[case]]
        assert given == TAKEN + "".join(f"{sids[item]} " for item in cases.history(case)[-2:])


def test_mid_training_wants_codes_in_the_chat() -> None:
    with pytest.raises(ValueError, match=r"mid_steps = 5 teaches codes .* cite = 'slot' shows none; set llm\.cite=sid"):
        LLMConfig(mid_steps=5)


def test_codes_are_tokens_only_where_they_are_taught() -> None:
    made = shop()
    labels = ItemLabels.of(made.world.catalog)
    titles = made.world.catalog.titles
    assert Adapter(MID, titles, labels, ["<a_0>"], ["<a_0>"]).tokens == ["<a_0>"]
    assert not Adapter(LLMConfig(cite="sid"), titles, labels, ["<a_0>"], ["<a_0>"]).tokens


def test_the_course_tells_what_it_cost_before_and_after_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop()
    train, _, sids = world()
    labels, learnt, lines = ItemLabels.of(made.world.catalog), list[Any](), list[str]()
    rows = train.offsets[:-1][np.diff(train.offsets) > 2][:20] + 2
    hits = made.test.take(np.arange(20))
    hits = type(hits)(Cases(train, train.users[rows], rows), hits.items, hits.scores, hits.folds)
    scenes = gathered_scenes(hits, made.evidence().learn(train), MID.history)

    class Kept(ChatModel):
        def adapter(self) -> dict[str, torch.Tensor]:
            return {"lora": torch.ones(2, 2)}

    def course() -> Adapter:
        adapter = Adapter(MID, made.world.catalog.titles, labels, sids, ["<a_0>", "<a_1>"])
        teacher = Teaching(adapter, (hits, scenes), (hits, scenes), seed=0)
        teacher._model = Kept(Constant(), Letters())
        teacher.mid_train(tmp_path / "llm-mid", lines.append)
        return adapter

    monkeypatch.setattr(teaching, "quiet", lambda: monkeypatch.context())
    monkeypatch.setattr(teaching, "learn", lambda model, examples, name, steps, *_: learnt.append((name, steps)))
    first, again = course(), course()
    assert learnt == [("llm-mid", (50, 4, 1e-4))]
    assert torch.equal(first.tensors["lora"], again.tensors["lora"])
    (line,) = lines
    assert re.match(r"llm-mid: 2 codes are tokens; a token .* costs \d\.\d\d nats, \d\.\d\d before \(20 valid", line)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def tiny(request: pytest.FixtureRequest) -> ChatModel:
    """A small Llama of random weights that reads characters."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    marks = ["<end>", *(chr(code) for code in range(32, 127))]
    inner = Tokenizer(models.WordLevel({mark: number for number, mark in enumerate(marks)}, "<end>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(marks), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        tie_word_embeddings=request.param, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return ChatModel(
        LlamaForCausalLM(config).eval(), PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")
    )


CODES = ["<a_0>", "<a_1>", "<b_0>"]


def test_a_new_token_begins_as_the_mean_of_what_spelled_it_and_no_other_row_moves(tiny: ChatModel) -> None:
    pieces = tiny.tokenizer(CODES[1], add_special_tokens=False)["input_ids"]
    assert len(pieces) == 5
    tables = (tiny.model.get_input_embeddings, tiny.model.get_output_embeddings)
    before = [table().weight.detach().clone() for table in tables]
    made = tiny.with_tokens(CODES)
    assert made.added == (96, 97, 98)
    ids = made.tokenizer("x <a_1><b_0>", add_special_tokens=False)["input_ids"]
    assert ids[-2:] == [97, 98]
    assert made.text(ids).replace(" ", "") == "x<a_1><b_0>"
    for table, old in zip(tables, before, strict=True):
        torch.testing.assert_close(table().weight[97], old[pieces].mean(0))
        assert torch.equal(table().weight[: len(old)], old)
    assert made.with_tokens(CODES).added == made.added  # a model that has them keeps its rows
    assert len(made.tokenizer) == 99
    assert tiny.with_tokens([]) is tiny


@needs_peft
@pytest.mark.filterwarnings("ignore")  # of the library
def test_an_adapter_learns_the_rows_of_added_tokens_alone_and_is_put_on_again_as_it_was(tiny: ChatModel) -> None:
    import copy

    fresh = copy.deepcopy(tiny)
    made = tiny.with_tokens(CODES).with_adapter(2)
    ids = torch.tensor([[5, 97, 98, 7, 96]])
    start = made.model(input_ids=ids).logits.detach()
    trained = {name for name, weight in made.model.named_parameters() if weight.requires_grad and "lora" not in name}
    assert len(trained) == (1 if tiny.model.config.tie_word_embeddings else 2)
    optimizer = torch.optim.SGD([weight for weight in made.model.parameters() if weight.requires_grad], lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        made.model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    assert not torch.allclose(made.model(input_ids=ids).logits, start, atol=1e-3)
    tensors = made.adapter()
    assert sum("lora" not in name for name in tensors) == len(trained)
    assert all(value.shape == (3, 16) for name, value in tensors.items() if "lora" not in name)
    again = fresh.with_tokens(CODES).with_adapter(2, tensors)
    torch.testing.assert_close(again.model(input_ids=ids).logits, made.model(input_ids=ids).logits)
    plain = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(fresh.model.get_input_embeddings()(plain), tiny.model.get_input_embeddings()(plain))

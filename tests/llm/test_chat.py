"""Traces as chat: what is written reads back as it was, and what is no answer reads as none."""

import json
from dataclasses import replace

import pytest

from chat_world import ANSWERS, CANDIDATES, HISTORY, LABELS, SCENE, TITLES, chat
from sidestep.llm.chat import Answer, letters, spans
from sidestep.rerankers.traces import RULES, Trace, executed


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cite", ["slot", "sid"])
def test_an_answer_reads_back_as_it_was_written(rule: str, cite: str) -> None:
    talk = chat(cite=cite)
    question = talk.question(HISTORY, CANDIDATES, SCENE)
    answer = Answer('They said "more", and {so} on: ä', executed(rule, SCENE))
    text = talk.write(answer, question)
    assert talk.read(text, question) == answer
    assert talk.read(f"Here it is:\n```json\n{text}\n``` I hope so.", question) == answer


def test_an_order_without_a_trace_reads_back_too_and_a_trace_is_asked_for_where_one_belongs() -> None:
    talk = chat(traced=False)
    question = talk.question(HISTORY, CANDIDATES, SCENE)
    answer = Answer("", Trace("", 0, (), (2, 0, 3, 1)))
    text = talk.write(answer, question)
    assert json.loads(text) == {"recommendations": ["C", "A", "D", "B"]}
    assert talk.read(text, question) == answer
    assert chat().read(text, question) is None


def wrong(**changes: object) -> str:
    said = {"explanation": "so", "rule": "brand", "label": "X", "matched": ["B"], "recommendations": list("BACD")}
    return json.dumps({**said, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "", "no", "[1]", "{", wrong()[:-3], "{" * 100_000, "null", '{"recommendations": "ABCD"}',
        wrong(recommendations=list("BAC")), wrong(recommendations=list("BACC")), wrong(recommendations=list("BACE")),
        wrong(recommendations=list("BACDA")), wrong(recommendations=[0, 1, 2, 3]), wrong(recommendations=None),
        wrong(matched=["B", "B"]), wrong(matched=["E"]), wrong(matched="B"), wrong(rule="none"), wrong(rule=None),
        wrong(label="shampoo"), wrong(label="Z"), wrong(label=5), wrong(rule="popular"), wrong(explanation=3),
    ],
)  # fmt: skip
def test_what_is_no_answer_reads_as_none(text: str) -> None:
    talk = chat()
    assert talk.read(wrong(), talk.question(HISTORY, CANDIDATES, SCENE)) is not None
    assert talk.read(text, talk.question(HISTORY, CANDIDATES, SCENE)) is None


def test_a_label_may_be_left_out_and_means_that_none_was_looked_for() -> None:
    talk = chat()
    found = talk.read(wrong(label=None), talk.question(HISTORY, CANDIDATES, SCENE))
    assert found is not None
    assert found.trace.key == 0


def test_a_question_shows_titles_labels_and_evidence_and_no_item_number() -> None:
    talk = chat()
    question = talk.question(HISTORY, CANDIDATES, SCENE)
    system, user = talk.messages(question)
    assert [system["role"], user["role"]] == ["system", "user"]
    assert all(rule in system["content"] for rule in RULES)
    assert "- Foam | shampoo | X" in user["content"]
    assert "A: Silk | conditioner | X | brand 2x in the history, text like the history" in user["content"]
    assert "After shampoo, what follows most often for its share of the shop is conditioner." in user["content"]
    assert "took" not in user["content"]
    assert "The person took C next." in talk.messages(question, 2)[1]["content"]
    assert (
        "After shampoo"
        not in chat(knowledge=False).messages(chat(knowledge=False).question(HISTORY, CANDIDATES, SCENE))[1]["content"]
    )
    nothing = talk.question([], CANDIDATES, replace(SCENE, taken={kind: [] for kind in SCENE.taken}))
    assert "- nothing" in talk.messages(nothing)[1]["content"]


def test_candidates_that_share_a_semantic_id_are_told_apart() -> None:
    talk = chat(cite="sid")
    cites = talk.question(HISTORY, CANDIDATES, SCENE).cites
    assert cites == ["<a_0><b_1>", "<a_2><b_2>", "<a_0><b_1>#2", "<a_3><b_0>"]
    assert len(set(cites)) == len(cites)


def test_letters_go_on_behind_the_alphabet() -> None:
    assert [letters(place) for place in (0, 25, 26, 27, 51, 52)] == ["A", "Z", "AA", "AB", "AZ", "BA"]
    assert len({letters(place) for place in range(900)}) == 900


@pytest.mark.parametrize("width", [1, 3])
def test_every_token_belongs_to_the_trace_the_first_place_the_rest_or_the_end(width: int) -> None:
    talk = chat()
    question = talk.question(HISTORY, CANDIDATES, SCENE)
    for answer in ANSWERS:
        text = talk.write(answer, question)
        offsets = [(begin, min(begin + width, len(text))) for begin in range(0, len(text), width)]
        found = spans(text, offsets)
        joined = {span: "".join(text[a:b] for (a, b), own in zip(offsets, found, strict=True) if own == span)
                  for span in ("trace", "first", "rest", "end")}  # fmt: skip
        assert list(dict.fromkeys(found)) == ["trace", "first", "rest", "end"]
        if width == 1:
            assert json.loads(f"{joined['trace'].rstrip().rstrip(',')}}}")["rule"] == answer.trace.rule
            assert joined["first"] == f'"recommendations": ["{question.cites[answer.trace.order[0]]}"'
            assert joined["rest"].startswith(", ")
            assert joined["end"] == "]}"
    assert TITLES
    assert LABELS.leaf.names[1:]

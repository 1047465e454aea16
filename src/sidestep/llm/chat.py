"""Traces as chat: a question in words, and an answer in JSON that reads back as the trace it was written from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sidestep.data.labels import ItemLabels
from sidestep.rerankers.traces import KIND_OF, KINDS, RULES, Scene, Trace

Messages = list[dict[str, str]]
"""`{"role": ..., "content": ...}` in order, as chat templates and OpenAI's interface take them."""
LONGEST_TITLE = 80
RANKING = "recommendations"
_MEANING = {
    "last": "the category of the last item",
    "frequent": "the category that the history has most often",
    "brand": "the brand that the history has most often",
    "aisle": "the wider category of the last item",
    "next": "the category that most follows that of the last item",
    "similar": "text most like that of an item in the history",
    "popular": "the most popular",
    "keep": "the first order is right",
}


@dataclass(frozen=True)
class Question:
    """A scene in words.

    history: a line for each item, oldest first. candidates: a line each, in the first order. cites: what an answer
    calls each of them. knowledge: what most follows the last item; empty where nothing is known, or to be told.
    """

    scene: Scene
    history: Sequence[str]
    candidates: Sequence[str]
    cites: Sequence[str]
    knowledge: str


@dataclass(frozen=True)
class Answer:
    """A trace, and the sentence that gives its reason."""

    explanation: str
    trace: Trace


class Chat:
    """What a language model is asked and how its answers read.

    titles, labels: of the items. sids: what their semantic IDs are called; None calls candidates by letters.
    knowledge: whether a question tells what most follows. traced: whether an answer has a trace before its order.
    """

    def __init__(
        self,
        titles: Sequence[str],
        labels: ItemLabels,
        sids: Sequence[str] | None = None,
        knowledge: bool = True,
        traced: bool = True,
    ) -> None:
        self._titles, self._labels, self._sids = titles, labels, sids
        self._knowledge, self._traced = knowledge, traced
        self._names: dict[str, list[str]] = {kind: getattr(labels, kind).names for kind in KINDS}
        self._numbers = {kind: {name: key for key, name in enumerate(names)} for kind, names in self._names.items()}

    def question(self, history: Sequence[int], candidates: Sequence[int], scene: Scene) -> Question:
        """history: item numbers, oldest first. candidates: item numbers in the first order, those of the scene."""
        after = self._names["leaf"][scene.next_leaf]
        last = self._names["leaf"][scene.taken["leaf"][-1]] if scene.taken["leaf"] else ""
        told = f"After {last}, what follows most often for its share of the shop is {after}."
        return Question(
            scene,
            [self.line(item) for item in history],
            [self.line(item, self._notes(scene, place)) for place, item in enumerate(candidates)],
            self._cites(candidates),
            told if self._knowledge and after and last else "",
        )

    def messages(self, question: Question, answer: int | None = None) -> Messages:
        """What the model is asked. answer: the place of what was taken, from 0, where a teacher is shown it."""
        lines = ["History, oldest first:", *(f"- {line}" for line in question.history or ["nothing"])]
        lines += ["Candidates:"]
        lines += [f"{cite}: {line}" for cite, line in zip(question.cites, question.candidates, strict=True)]
        lines += [question.knowledge] * bool(question.knowledge)
        if answer is not None:
            lines.append(
                f"The person took {question.cites[answer]} next. Give the reason as one who does not know it, and put "
                "it first."
            )
        return [{"role": "system", "content": self._task()}, {"role": "user", "content": "\n".join(lines)}]

    def write(self, answer: Answer, question: Question) -> str:
        """An answer as JSON: the trace, then the order."""
        trace, cites = answer.trace, question.cites
        order = {RANKING: [cites[place] for place in trace.order]}
        if not self._traced:
            return json.dumps(order, ensure_ascii=False)
        kind = KIND_OF.get(trace.rule)
        label = self._names[kind][trace.key] if kind is not None and trace.key else None
        matched = [cites[place] for place in trace.matched]
        said = {"explanation": answer.explanation, "rule": trace.rule, "label": label, "matched": matched}
        return json.dumps(said | order, ensure_ascii=False)

    def read(self, text: str, question: Question) -> Answer | None:
        """What a text answers; None where it is no answer: no JSON object, a rule or label that there is not, or
        candidates that are left out, doubled or foreign.
        """
        said = _first_object(text)
        place_of = {cite: place for place, cite in enumerate(question.cites)}
        order = _places(said.get(RANKING), place_of)
        if order is None or len(order) != len(place_of):
            return None
        if not self._traced:
            return Answer("", Trace("", 0, (), order))
        rule, explanation = said.get("rule"), said.get("explanation", "")
        matched = _places(said.get("matched"), place_of)
        if not isinstance(rule, str) or rule not in RULES or matched is None or not isinstance(explanation, str):
            return None
        key = self._key(rule, said.get("label"))
        return None if key is None else Answer(explanation, Trace(rule, key, matched, order))

    def _key(self, rule: str, label: Any) -> int | None:
        kind = KIND_OF.get(rule)
        if label is None:
            return 0
        return self._numbers[kind].get(label) or None if kind is not None and isinstance(label, str) else None

    def _task(self) -> str:
        task = "Put the candidates in the order in which this person will take one next, the likeliest first."
        if not self._traced:
            return f'{task} Answer with one JSON object: {{"{RANKING}": [all candidates in order]}}.'
        rules = "; ".join(f"{rule}: {_MEANING[rule]}" for rule in RULES)
        return (
            f"{task} Reason first: choose the rule that tells most here ({rules}), the label that it looks for, and "
            'the candidates that match it. Answer with one JSON object: {"explanation": a sentence, "rule": its name, '
            f'"label": a category or brand or null, "matched": [candidates], "{RANKING}": [all candidates in order]}}.'
        )

    def line(self, item: int, notes: Sequence[str] = ()) -> str:
        """An item in words: title, category, brand, and what is noted."""
        title = " ".join(self._titles[item].split())[:LONGEST_TITLE]
        parts = [title, self._labels.categories[item], self._labels.brands[item], ", ".join(notes)]
        return " | ".join(part for part in parts if part)

    def _notes(self, scene: Scene, place: int) -> list[str]:
        """The evidence for a candidate, in words."""
        notes = []
        for kind, called in (("leaf", "category"), ("brand", "brand")):
            own = scene.offered[kind][place]
            if own and (times := sum(label == own for label in scene.taken[kind])):
                notes.append(f"{called} {times}x in the history")
        notes += ["text like the history"] * (place in RULES["similar"](scene).matched)
        return notes + ["popular"] * (place in RULES["popular"](scene).matched)

    def sid(self, item: int) -> str:
        """What the semantic ID of an item is called."""
        assert self._sids is not None
        return self._sids[item]

    def _cites(self, candidates: Sequence[int]) -> list[str]:
        """Letters, or semantic IDs, numbered where several candidates share one."""
        if self._sids is None:
            return [letters(place) for place in range(len(candidates))]
        cites: list[str] = []
        for item in candidates:
            same = sum(cite.partition("#")[0] == self._sids[item] for cite in cites)
            cites.append(f"{self._sids[item]}#{same + 1}" if same else self._sids[item])
        return cites


def letters(place: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    head, last = divmod(place, 26)
    return (letters(head - 1) if head else "") + chr(ord("A") + last)


Span = Literal["trace", "first", "rest", "end"]


def spans(text: str, offsets: Sequence[tuple[int, int]]) -> list[Span]:
    """To what each token of an answer's JSON belongs: the trace, the order's beginning with its first candidate, the
    rest of the order, or what ends it. offsets: begin and end of the tokens in the text.
    """
    ranking = text.index(f'"{RANKING}"')
    opened = text.index("[", ranking) + 1
    first = text.index('"', text.index('"', opened) + 1) + 1  # behind the closing mark of the first candidate
    closed = text.rindex("]")

    def span(begin: int, end: int) -> Span:
        if end > closed:
            return "end"
        return "trace" if begin < ranking else "first" if begin < first else "rest"

    return [span(*each) for each in offsets]


def _first_object(text: str) -> dict[str, Any]:
    """The JSON object that begins at the first brace; empty where there is none."""
    begin = text.find("{")
    try:
        found = json.JSONDecoder().raw_decode(text, begin)[0] if begin >= 0 else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _places(value: Any, place_of: dict[str, int]) -> tuple[int, ...] | None:
    """The places of cited candidates; None where they are no list, doubled or foreign."""
    if not isinstance(value, list) or not all(isinstance(cite, str) and cite in place_of for cite in value):
        return None
    return tuple(place_of[cite] for cite in value) if len(set(value)) == len(value) else None

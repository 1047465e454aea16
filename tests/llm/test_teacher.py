"""Teachers behind an endpoint: a server here with OpenAI's interface, answers that are kept, and sampling."""

from pathlib import Path
from typing import Any

import pytest

from chat_world import CANDIDATES, HISTORY, LABELS, SCENE, chat, said, server
from sidestep.errors import ArtifactError, TeacherError
from sidestep.llm.chat import Answer
from sidestep.llm.sampling import Lesson, Sampling, by_rules
from sidestep.llm.teacher import Answers, Endpoint
from sidestep.rerankers.traces import accepted, executed, justifying
from sidestep.rerankers.words import Names

CHAT = [{"role": "user", "content": "hello"}]


def endpoint(url: str, key: str | None = None) -> Endpoint:
    return Endpoint(url, "teacher", 0.7, 64, key, timeout=5.0, waits=(0.0, 0.0))


def test_a_server_is_asked_as_openais_interface_has_it() -> None:
    with server(lambda body, number: (200, said("yes"))) as (url, asked):
        assert endpoint(f"{url}/", "secret").ask(CHAT, 3) == "yes"
        assert endpoint(url).ask(CHAT, 4) == "yes"
    body = {"model": "teacher", "temperature": 0.7, "max_tokens": 64, "messages": CHAT}
    assert asked == [
        ("/v1/chat/completions", {**body, "seed": 3}, "Bearer secret"),
        ("/v1/chat/completions", {**body, "seed": 4}, None),
    ]


def test_what_may_pass_is_tried_again_and_what_may_not_is_told_at_once() -> None:
    with server(lambda body, number: (503, "busy") if number < 2 else (200, said("at last"))) as (url, asked):
        assert endpoint(url).ask(CHAT, 0) == "at last"
        assert len(asked) == 3
    with server(lambda body, number: (503, "busy")) as (url, asked):
        with pytest.raises(TeacherError, match=r"answers 503 \(busy\).*the same command goes on"):
            endpoint(url).ask(CHAT, 0)
        assert len(asked) == 3
    with server(lambda body, number: (401, "no key")) as (url, asked):
        with pytest.raises(TeacherError, match=r"answers 401 \(no key\)"):
            endpoint(url).ask(CHAT, 0)
        assert len(asked) == 1


@pytest.mark.parametrize(
    "content", ["", "<html>", "{}", '{"choices": []}', '{"choices": [{"message": {}}]}', said("")[:-9]]
)
def test_another_interface_is_told(content: str) -> None:
    with server(lambda body, number: (200, content)) as (url, _), pytest.raises(TeacherError, match="OpenAI"):
        endpoint(url).ask(CHAT, 0)


def test_a_server_that_is_not_there_is_told() -> None:
    with server(lambda body, number: (200, said("yes"))) as (url, _):
        gone = url
    with pytest.raises(TeacherError, match="cannot be reached"):
        endpoint(gone).ask(CHAT, 0)


class Spoken:
    """A teacher of this process. said: its answers, by draw; the last one again and again."""

    def __init__(self, *texts: str, name: str = "spoken") -> None:
        self.settings, self.texts, self.count = {"name": name}, texts, 0

    def ask(self, messages: list[dict[str, str]], draw: int) -> str:
        self.count += 1
        return self.texts[min(draw, len(self.texts) - 1)]


def test_an_answer_is_asked_for_once_also_by_another_process_and_another_teacher_has_its_own(tmp_path: Path) -> None:
    path, teacher = tmp_path / "a" / "answers.jsonl", Spoken("one", "zwei\nünd")
    answers = Answers(path)
    first = [answers.ask(teacher, CHAT, draw) for draw in (0, 1, 0, 1)]
    again = Answers(path)
    assert [again.ask(teacher, CHAT, draw) for draw in (0, 1)] == first[:2] == ["one", "zwei\nünd"]
    assert teacher.count == len(again) == 2
    assert again.ask(Spoken("other", name="other"), CHAT, 0) == "other"


def test_a_line_that_was_cut_is_asked_for_again_and_one_that_is_none_is_refused(tmp_path: Path) -> None:
    path, teacher = tmp_path / "answers.jsonl", Spoken("one", "two")
    kept = Answers(path)
    for draw in (0, 1):
        kept.ask(teacher, CHAT, draw)
    path.write_bytes(path.read_bytes()[:-5])
    again = Answers(path)
    assert len(again) == 1
    assert again.ask(teacher, CHAT, 1) == "two"
    assert len(Answers(path)) == 2
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(ArtifactError, match=r"line 1 is 'nonsense'.*llm\.answers"):
        Answers(path)


TALK = chat()
QUESTION = TALK.question(HISTORY, CANDIDATES, SCENE)
RIGHT, LEFT = (TALK.write(Answer("so", executed(rule, SCENE)), QUESTION) for rule in ("popular", "keep"))


def test_by_rejection_a_teacher_is_asked_until_the_answer_comes_first(tmp_path: Path) -> None:
    place = executed("popular", SCENE).order[0]
    teacher = Spoken(LEFT, "nonsense", RIGHT)
    asked = [(QUESTION, place), (QUESTION, 3)]
    (found, none) = Sampling("rejection", 4, 1).lessons(teacher, Answers(tmp_path / "a"), TALK, asked)
    assert found.answer is not None
    assert found.answer.trace == executed("popular", SCENE)
    assert none == Lesson(QUESTION, 3, None)
    assert teacher.count == 4  # three draws, then a fourth: the second question is the same chat
    (few,) = Sampling("rejection", 2, 1).lessons(
        Spoken(LEFT, "nonsense", RIGHT), Answers(tmp_path / "b"), TALK, asked[:1]
    )
    assert few.answer is None


def test_targeted_the_answer_is_shown_and_must_come_first_all_the_same(tmp_path: Path) -> None:
    place = executed("popular", SCENE).order[0]

    def reply(body: dict[str, Any], number: int) -> tuple[int, str]:
        shown = f"The person took {QUESTION.cites[place]} next." in body["messages"][1]["content"]
        return 200, said(RIGHT if shown else LEFT)

    with server(reply) as (url, asked):
        sampling = Sampling("targeted", 1, 4)
        lessons = sampling.lessons(endpoint(url), Answers(tmp_path / "a"), TALK, [(QUESTION, place)] * 5)
    assert all(lesson.answer is not None for lesson in lessons)
    assert 1 <= len(asked) <= 4  # one chat, asked at most once by each of those that work side by side


def test_what_was_answered_before_a_failure_is_kept_and_the_rest_is_asked_for(tmp_path: Path) -> None:
    questions = [(TALK.question(HISTORY[:n], CANDIDATES, SCENE), 1) for n in (1, 2, 3)]
    with (
        server(lambda body, number: (200, said(RIGHT)) if number < 2 else (400, "out of money")) as (url, asked),
        pytest.raises(TeacherError, match="out of money"),
    ):
        Sampling("rejection", 1, 1).lessons(endpoint(url), Answers(tmp_path / "a"), TALK, questions)
    assert len(asked) == 3
    with server(lambda body, number: (200, said(RIGHT))) as (url, asked):
        lessons = Sampling("rejection", 1, 1).lessons(endpoint(url), Answers(tmp_path / "a"), TALK, questions)
    assert len(asked) == 1
    assert all(lesson.answer is not None for lesson in lessons)


@pytest.mark.parametrize(("traces", "speaking"), [("rejection", accepted), ("targeted", justifying)])
def test_our_own_rules_teach_what_they_accept_with_the_answer_first(traces: Any, speaking: Any) -> None:
    for place in range(4):
        lesson = by_rules(QUESTION, place, traces, Names(LABELS), [0, place])
        right = speaking(SCENE, place)
        assert (lesson.answer is None) == (not right)
        if lesson.answer is not None:
            assert lesson.answer.trace.rule in right
            assert lesson.answer.trace.order == (place, *(other for other in range(4) if other != place))
            assert lesson.answer.explanation
    assert by_rules(QUESTION, 2, "none", Names(LABELS), [0]).answer == Answer("", lesson_order(2))


def lesson_order(place: int) -> Any:
    from sidestep.rerankers.traces import Trace

    return Trace("", 0, (), (place, *(other for other in range(4) if other != place)))

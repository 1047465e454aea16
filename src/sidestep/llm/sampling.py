"""Traces to learn from: a teacher's, by targeted or rejection sampling (GR2, section 3), or those of our own rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sidestep.llm.chat import Answer, Chat, Question
from sidestep.llm.teacher import Answers, Teacher, in_parallel
from sidestep.rerankers.policy import Traces
from sidestep.rerankers.traces import Trace, accepted, executed, justifying
from sidestep.rerankers.words import Names, looked_for


@dataclass(frozen=True)
class Lesson:
    """A question, the place of what was taken, from 0, and an answer that puts it first, or None."""

    question: Question
    place: int
    answer: Answer | None


Progress = Callable[[int], object]


@dataclass(frozen=True)
class Sampling:
    """How a teacher is asked. tries: draws of a case by rejection, until one puts the answer first."""

    traces: Traces
    tries: int
    parallel: int

    def lessons(
        self,
        teacher: Teacher,
        answers: Answers,
        chat: Chat,
        questions: Sequence[tuple[Question, int]],
        progress: Progress = lambda _: None,
    ) -> list[Lesson]:
        """A lesson for each question with the place of what was taken; what the teacher has answered before is kept."""

        def taught(each: tuple[Question, int]) -> Lesson:
            question, place = each
            messages = chat.messages(question, place if self.traces == "targeted" else None)
            for draw in range(self.tries):
                answer = chat.read(answers.ask(teacher, messages, draw), question)
                if answer is not None and answer.trace.order[0] == place:
                    return Lesson(question, place, answer)
            return Lesson(question, place, None)

        lessons = []
        for lesson in in_parallel(taught, questions, self.parallel):
            lessons.append(lesson)
            progress(len(lessons))
        return lessons


def by_rules(question: Question, place: int, traces: Traces, names: Names, seed: Sequence[int]) -> Lesson:
    """A trace of our own rules, drawn once: by rejection one that puts the answer first, targeted one that matches it;
    with "none" the order alone. The answer comes first, the others as they stood.
    """
    scene = question.scene
    order = (place, *(other for other in range(len(scene)) if other != place))
    if traces == "none":
        return Lesson(question, place, Answer("", Trace("", 0, (), order)))
    right = (justifying if traces == "targeted" else accepted)(scene, place)
    if not right:
        return Lesson(question, place, None)
    found = executed(right[int(np.random.default_rng(seed).integers(len(right)))], scene)
    trace = Trace(found.rule, found.key, found.matched, order)
    return Lesson(question, place, Answer(looked_for(trace, scene, names), trace))

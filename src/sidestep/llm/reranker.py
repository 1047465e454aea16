"""A taught language model as `recommenders.reranked.Reranker`."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.llm.adapter import Adapter
from sidestep.llm.chat import Answer, Question
from sidestep.llm.model import ChatModel
from sidestep.recommenders.reranked import Reordering
from sidestep.rerankers import words
from sidestep.rerankers.evidence import Evidence
from sidestep.rerankers.scenes import scenes_of


class LanguageReranker:
    """Asks the model for the likeliest answer and takes its order; what is no answer leaves the list as it is."""

    def __init__(self, evidence: Evidence, adapter: Adapter) -> None:
        self._evidence, self._adapter = evidence, adapter

    @cached_property
    def _model(self) -> ChatModel:
        config = self._adapter.config
        return self._adapter.onto(ChatModel.load(config.model, config.dtype))

    @torch.no_grad()
    def __call__(
        self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"], explain: bool = False
    ) -> Reordering:
        device = self._evidence.counts.device
        places = torch.arange(items.shape[1]).repeat(len(items), 1)
        questions = questions_of(self._adapter, self._evidence, batch.to(device), items.to(device), scores.to(device))
        answers = answered(self._model, self._adapter, questions)
        reasons, names = [], words.Names(self._adapter.labels)
        for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            count = len(question.scene)
            if answer is not None:
                places[row, :count] = torch.tensor(answer.trace.order, dtype=torch.int64)
            of_row = words.of_trace(answer.trace if answer else None, question.scene, names)
            if answer is not None and answer.explanation:
                of_row = [
                    [*reason, f"in the model's words: {answer.explanation}"] if reason else [] for reason in of_row
                ]
            reasons.append(words.moved(of_row, places[row, :count].tolist()))
        return Reordering(places, reasons if explain else None)


def questions_of(
    adapter: Adapter, evidence: Evidence, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"]
) -> list[Question]:
    """A question for each row."""
    scenes = scenes_of(evidence, batch, items, evidence(batch, items, scores), adapter.config.history).scenes()
    rows = zip(batch.history.tolist(), items.tolist(), scenes, strict=True)
    return [
        adapter.chat.question(
            [item for item in history if item >= 0][-adapter.config.history :], candidates[: len(scene)], scene
        )
        for history, candidates, scene in rows
    ]


def answered(model: ChatModel, adapter: Adapter, questions: list[Question]) -> list[Answer | None]:
    """The likeliest answer to each question; None where it is none."""
    prompts = [model.prompt(adapter.chat.messages(question)) for question in questions]
    written = model.write(prompts, adapter.config.max_tokens)
    return [
        adapter.chat.read(model.text(tokens), question) for tokens, question in zip(written, questions, strict=True)
    ]

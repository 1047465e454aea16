"""The courses of a language model: traces of a teacher, learning from them, and reinforcement; each resumes."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from sidestep import artifact
from sidestep.encoders.language_models import quiet
from sidestep.errors import DataError
from sidestep.llm import mid_training
from sidestep.llm.adapter import Adapter
from sidestep.llm.chat import Answer
from sidestep.llm.model import ChatModel, Local
from sidestep.llm.reranker import answered
from sidestep.llm.sampling import Lesson, Sampling, by_rules
from sidestep.llm.teacher import Answers, Endpoint, Teacher
from sidestep.llm.training import Asked, learn, reinforce, supervise
from sidestep.progress import meter
from sidestep.rerankers.cases import CandidateCases
from sidestep.rerankers.language import Language
from sidestep.rerankers.policy import Outputs, Weights, doubts, in_words, supervised
from sidestep.rerankers.scenes import Scenes
from sidestep.rerankers.traces import KINDS, RULES
from sidestep.rerankers.words import Names

ANSWERS = "answers.jsonl"


Say = Callable[[str], object]


class Teaching:
    """Teaches the model of an adapter, and gives the adapter what was learnt.

    hits: to learn from, and valid: to report on, each with its scenes.
    """

    def __init__(
        self, adapter: Adapter, hits: tuple[CandidateCases, Scenes], valid: tuple[CandidateCases, Scenes], seed: int
    ) -> None:
        self._adapter, self._config, self._seed = adapter, adapter.config, seed
        self._hits = _drawn(*hits, self._config.cases, seed)
        self._valid = _drawn(*valid, self._config.valid_cases, seed)
        self._model: ChatModel | None = None

    def mid_train(self, folder: Path, say: Say) -> None:
        """Codes as tokens, and what they stand for."""
        if self._taken_up(folder):
            return
        model, (cases, _), (valid, _) = self._loaded(), self._hits, self._valid
        asked = mid_training.asked(valid.cases, self._adapter.chat, self._config.history)
        with quiet():
            before = mid_training.nats(model, asked)
            readings = mid_training.Readings(model, self._adapter.chat, cases.cases, self._config, self._seed)
            course = self._config.mid_steps, self._config.mid_batch, self._config.mid_lr
            learn(model, readings, "llm-mid", course, self._config, folder, self._seed)
            after = mid_training.nats(model, asked)
        self._keep(folder)
        say(
            f"llm-mid: {len(self._adapter.tokens):,} codes are tokens; a token of what was taken next costs "
            f"{after:.2f} nats, {before:.2f} before ({len(asked):,} validation hits)"
        )

    def supervise(self, folder: Path, say: Say) -> None:
        """Traces, and the learning from them. Lines of the teacher's answers are kept beside `folder`."""
        if self._taken_up(folder):
            return
        model = self._loaded()  # before a teacher is asked at length
        lessons = self._lessons(self._asked(*self._hits), folder.parent)
        written = [lesson.answer for lesson in lessons if lesson.answer is not None]
        if not written:
            raise DataError(
                f"No trace of the teacher puts what was taken first, of {len(lessons):,} cases; ask for more with "
                "llm.cases and llm.tries, take llm.traces=targeted, or another teacher"
            )
        say(f"traces: {len(written):,} of {len(lessons):,} cases; {_described(written)}")
        with quiet():
            supervise(model, self._adapter.chat, lessons, self._config, folder, self._seed)
        self._keep(folder)
        self._report("llm-sft", say)

    def reinforce(self, folder: Path, say: Say) -> None:
        """DAPO from where the adapter stands."""
        if self._taken_up(folder):
            return
        chat = self._adapter.chat
        asked = {
            chat.messages(question)[-1]["content"]: (question, place) for question, place in self._asked(*self._hits)
        }
        model = self._loaded()
        with quiet():
            reinforce(model, chat, asked, self._config, folder, self._seed)
        self._keep(folder)
        self._report("llm-rl", say)

    def _loaded(self) -> ChatModel:
        if self._model is None:
            torch.manual_seed(self._seed)
            self._model = self._adapter.onto(ChatModel.load(self._config.model, self._config.dtype))
        return self._model

    def _taken_up(self, folder: Path) -> bool:
        """Whether the course is done already; then its adapter is taken."""
        if not artifact.exists(folder / "adapter"):
            return False
        saved = artifact.load(folder / "adapter", "adapter").tensors
        self._adapter.tensors = {name: torch.from_numpy(value) for name, value in saved.items()}
        return True

    def _keep(self, folder: Path) -> None:
        assert self._model is not None
        self._adapter.tensors = self._model.adapter()
        tensors = {name: tensor.numpy() for name, tensor in self._adapter.tensors.items()}
        artifact.save(folder / "adapter", "adapter", tensors=tensors)

    def _lessons(self, asked: Sequence[Asked], place: Path) -> list[Lesson]:
        config, names = self._config, Names(self._adapter.labels)
        if config.teacher == "rules" or config.traces == "none":
            return [
                by_rules(question, taken, config.traces, names, [self._seed, number])
                for number, (question, taken) in enumerate(asked)
            ]
        teacher, parallel = self._teacher(), config.parallel if config.teacher == "endpoint" else 1
        answers = Answers(config.answers or place / ANSWERS)
        with meter("traces", len(asked)) as shown:
            sampling = Sampling(config.traces, config.tries, parallel)
            return sampling.lessons(teacher, answers, self._adapter.chat, asked, shown.update)

    def _teacher(self) -> Teacher:
        config = self._config
        name, heat, most = config.teacher_model, config.temperature, config.max_tokens
        if config.teacher == "endpoint":
            return Endpoint(config.endpoint, name, heat, most, os.environ.get(config.key_env))
        return Local(ChatModel.load(name, config.dtype), name, heat, most)

    def _asked(self, cases: CandidateCases, scenes: Scenes) -> list[Asked]:
        chat, found = self._adapter.chat, []
        for case, (scene, rank) in enumerate(zip(scenes.scenes(), cases.ranks.tolist(), strict=True)):
            history = cases.cases.history(case).tolist()[-self._config.history :]
            found.append((chat.question(history, cases.items[case, : len(scene)].tolist(), scene), rank - 1))
        return found

    def _report(self, name: str, say: Say) -> None:
        """What the model answers to validation hits: how many read, whether they copy, whether traces are so."""
        cases, scenes = self._valid
        asked, adapter = self._asked(cases, scenes), self._adapter
        answers = answered(self._loaded(), adapter, [question for question, _ in asked])
        rows = [row for row, answer in enumerate(answers) if answer is not None]
        line = f"{name}, of {len(answers):,} validation hits: {len(rows) / max(len(answers), 1):.1%} read as answers"
        if not rows:
            say(f"{line}; the others leave the list as it is")
            return
        outputs = _outputs(adapter, scenes, cases, answers)
        gain = float((1 / torch.log2(1 + outputs.ranks.float())).sum())
        say(f"{line}; of these {in_words(outputs)}; NDCG of these {gain / len(rows):.3f}")
        for doubt in doubts(outputs):
            say(f"warning: {doubt}")


def _outputs(adapter: Adapter, scenes: Scenes, cases: CandidateCases, answers: Sequence[Answer | None]) -> Outputs:
    """Answers that read, as what is said of a policy."""
    sizes = {kind: len(getattr(adapter.labels, kind)) for kind in KINDS}
    language = Language(scenes.real.shape[1], sizes, adapter.config.traces != "none")
    places = torch.from_numpy(cases.ranks - 1)
    known = supervised(scenes, places, language, Weights(0.0, 1.0, 0.0), list(RULES), 0)
    texts = [(row, language.write(answer.trace)) for row, answer in enumerate(answers) if answer is not None]
    words = torch.tensor([[*text, *[0] * (language.longest - len(text))] for _, text in texts])
    return Outputs.of(language, known.take(torch.tensor([row for row, _ in texts])), words)


def _described(answers: Sequence[Answer]) -> str:
    """How many copy, and which rules they name."""
    kept = sum(answer.trace.order == tuple(range(len(answer.trace.order))) for answer in answers)
    rules = Counter(answer.trace.rule or "none" for answer in answers)
    named = ", ".join(f"{rule} {count / len(answers):.0%}" for rule, count in rules.most_common())
    return f"left as it was {kept / len(answers):.1%}; rules: {named}"


def _drawn(cases: CandidateCases, scenes: Scenes, most: int, seed: int) -> tuple[CandidateCases, Scenes]:
    """So many cases, drawn once."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(cases))[:most])
    return cases.take(chosen), scenes.take(torch.from_numpy(chosen))

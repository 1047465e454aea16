"""Teaching a language model: accepted traces with separate weights (SFT), then DAPO on its own answers (GR2)."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sidestep.llm.chat import Answer, Chat, Messages, Question, spans
from sidestep.llm.config import LLMConfig
from sidestep.llm.model import ChatModel
from sidestep.llm.sampling import Lesson
from sidestep.losses import reranking
from sidestep.progress import meter
from sidestep.rerankers import rewards
from sidestep.rerankers.traces import is_true

UNPARSABLE = -1.0
"""The reward of a text that is no answer (Diffusion-GR2)."""
AT_ONCE = 4
"""Lessons in memory at once; more of a step are accumulated."""
Asked = tuple[Question, int]
"""A question, and the place of what was taken, from 0."""


def worth(answer: Answer | None, question: Question, place: int, alpha: float) -> float:
    """GR2's conditional reward of one answer, `rewards.conditional`; `UNPARSABLE` for none."""
    if answer is None:
        return UNPARSABLE
    trace, before = answer.trace, torch.tensor(place + 1)
    formed = bool(trace.rule) and trace.followed and is_true(trace, question.scene)
    after = torch.tensor(1 + trace.order.index(place))
    found = rewards.conditional(before, after, torch.tensor(formed), alpha, len(trace.order))
    return float(found)


def example(model: ChatModel, chat: Chat, lesson: Lesson, config: LLMConfig) -> dict[str, list[Any]]:
    """The tokens of a lesson, and the weight of each as something to be learnt: 0 for the question."""
    assert lesson.answer is not None
    text = chat.write(lesson.answer, lesson.question)
    found = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    shares = {"trace": config.trace_weight, "first": 1.0, "rest": config.rest_weight, "end": 1.0}
    weights = [shares[span] for span in spans(text, found["offset_mapping"])]
    prompt = model.prompt(chat.messages(lesson.question))
    tokens = [*prompt, *found["input_ids"], model.tokenizer.eos_token_id]
    return {"input_ids": tokens, "weights": [*([0.0] * len(prompt)), *weights, 1.0]}


def stacked(examples: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Tensor]:
    """Examples of any length, padded on the left with what is not seen and weighs nothing."""
    width = max(len(each["input_ids"]) for each in examples)
    columns: dict[str, list[list[Any]]] = {"input_ids": [], "attention_mask": [], "weights": []}
    for each in examples:
        short = width - len(each["input_ids"])
        columns["input_ids"].append([pad] * short + each["input_ids"])
        columns["attention_mask"].append([0] * short + [1] * len(each["input_ids"]))
        columns["weights"].append([0.0] * short + each["weights"])
    kinds = {"input_ids": torch.int64, "attention_mask": torch.int64, "weights": torch.float32}
    return {name: torch.tensor(column, dtype=kinds[name]) for name, column in columns.items()}


def weighted_loss(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """`losses.reranking.words` of the tokens that weigh something (GR2: l_r for the trace, l_o for the ranking)."""
    weights = inputs["weights"][:, 1:]
    first = int((weights > 0).any(0).int().argmax())  # what is before is the question in all rows
    kept = weights.shape[1] - first
    logits = model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=kept + 1
    ).logits[:, :-1]
    wanted = inputs["input_ids"][:, 1 + first :]
    logs = torch.log_softmax(logits.float(), -1).gather(2, wanted[:, :, None])[:, :, 0]
    return reranking.words(logs, weights[:, first:])


def supervise(
    model: ChatModel, chat: Chat, lessons: Sequence[Lesson], config: LLMConfig, folder: Path, seed: int
) -> None:
    """Learn from lessons that have an answer."""
    examples = [example(model, chat, lesson, config) for lesson in lessons if lesson.answer is not None]
    size = config.sft_batch
    learn(model, examples, "llm-sft", (config.sft_steps, size, config.sft_lr), config, folder, seed)


def learn(
    model: ChatModel,
    examples: Sequence[Mapping[str, Any]],
    name: str,
    course: tuple[int, int, float],
    config: LLMConfig,
    folder: Path,
    seed: int,
) -> None:
    """Next-token loss on weighted tokens. course: steps, examples of each, and the rate."""
    from transformers import Trainer, TrainingArguments

    steps, size, lr = course

    class Weighted(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            loss = weighted_loss(model, inputs)
            return (loss, None) if return_outputs else loss

    at_once = min(AT_ONCE, size)
    arguments = TrainingArguments(
        **_shared(config, folder, seed),
        max_steps=steps,
        learning_rate=lr,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=-(-size // at_once),
        remove_unused_columns=False,
    )
    trainer = Weighted(
        model.model, arguments, train_dataset=_Listed(examples), data_collator=lambda part: stacked(part, model.pad)
    )
    trainer.model_accepts_loss_kwargs = False  # its loss is a mean: that of accumulated batches is their mean
    _train(trainer, name, steps)
    rows = [row for row in trainer.state.log_history if "loss" in row]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def reinforce(
    model: ChatModel, chat: Chat, asked: Mapping[str, Asked], config: LLMConfig, folder: Path, seed: int
) -> None:
    """DAPO on groups of the model's own answers, by TRL, with a rollout that draws again where a group is dull.

    asked: questions by what the user says in their chats, by which answers are known to belong to them.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    chats = [chat.messages(question) for question, _ in asked.values()]
    arguments = GRPOConfig(
        **_shared(config, folder, seed),
        max_steps=config.rl_steps,
        learning_rate=config.rl_lr,
        per_device_train_batch_size=config.group,
        gradient_accumulation_steps=config.rl_cases,
        num_generations=config.group,
        max_completion_length=config.max_tokens,
        temperature=1.0,
        beta=0.0,
        loss_type="dapo",
        epsilon=config.epsilon_low,
        epsilon_high=config.epsilon_high,
    )
    trainer = GRPOTrainer(
        model.model,
        reward_funcs=[rank_reward],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": messages} for messages in chats]),
        processing_class=model.tokenizer,
        rollout_func=Rollout(model, chat, asked, config, folder / LOG),
    )
    _train(trainer, "llm-rl", config.rl_steps)


def rank_reward(worth: list[float], **_: Any) -> list[float]:
    """What the rollout has found its answers to be worth. It reads tokens, where TRL's text lacks the special ones."""
    return worth


LOG = "rollouts.jsonl"


class Rollout:
    """`rollout_func` of TRL: answers to chats that come `group` times each in a row. A group whose answers are all
    worth the same teaches nothing, and is drawn again (DAPO's dynamic sampling, which TRL has not).
    """

    def __init__(self, model: ChatModel, chat: Chat, known: Mapping[str, Asked], config: LLMConfig, log: Path) -> None:
        self._model, self._chat, self._known, self._config, self._log = model, chat, known, config, log

    def __call__(self, chats: list[Messages], trainer: Any) -> dict[str, list[Any]]:
        from trl.models.utils import unwrap_model_for_generation

        prompts = [self._model.prompt(messages) for messages in chats]
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as unwrapped:

            def draw(rows: list[int]) -> list[list[int]]:
                part = [prompts[row] for row in rows]
                return self._model.write(part, self._config.max_tokens, 1.0, unwrapped)

            written, found = self.drawn(chats, draw)
        return {"prompt_ids": prompts, "completion_ids": written, "logprobs": None, "worth": found}  # type: ignore[dict-item]

    def drawn(
        self, chats: Sequence[Messages], draw: Callable[[list[int]], list[list[int]]]
    ) -> tuple[list[list[int]], list[float]]:
        """Tokens and worth of an answer to each chat. draw: tokens of answers to the chats of these rows."""
        group, every = self._config.group, list(range(len(chats)))
        written, answers, found = list[list[int]](), list[Answer | None](), list[float]()
        for turn in range(1 + self._config.redraws):
            rows = every
            if turn:
                dull = [begin for begin in every[::group] if len(set(found[begin : begin + group])) == 1]
                rows = [row for begin in dull for row in every[begin : begin + group]]
            if not rows:
                break
            fresh = draw(rows)
            if not turn:
                written, answers, found = [[]] * len(every), [None] * len(every), [0.0] * len(every)
            for row, tokens in zip(rows, fresh, strict=True):
                question, place = self._known[_user(chats[row])]
                answer = self._chat.read(self._model.text(tokens), question)
                written[row], answers[row] = tokens, answer
                found[row] = worth(answer, question, place, self._config.alpha)
        self._tell(answers, found)
        return written, found

    def _tell(self, answers: Sequence[Answer | None], found: Sequence[float]) -> None:
        """A line of the log: what the step has drawn."""
        group, read = self._config.group, [answer for answer in answers if answer is not None]
        groups = [found[begin : begin + group] for begin in range(0, len(found), group)]
        kept = [answer.trace.order == tuple(range(len(answer.trace.order))) for answer in read]
        row = {
            "reward": sum(found) / len(found),
            "informative": sum(len(set(each)) > 1 for each in groups) / len(groups),
            "valid": len(read) / len(answers),
            "kept": sum(kept) / max(len(kept), 1),
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _user(messages: Messages) -> str:
    return messages[-1]["content"]


def _shared(config: LLMConfig, folder: Path, seed: int) -> dict[str, Any]:
    """Arguments of both trainers. No checkpoints: theirs are pickled; what a course has learnt is kept at its end."""
    return {
        "output_dir": str(folder / "trainer"),
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": seed,
        "bf16": config.dtype == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }


def _train(trainer: Any, name: str, steps: int) -> None:
    """Train, with our progress in place of the library's lines."""
    from transformers import PrinterCallback, TrainerCallback

    with meter(name, steps) as shown:

        class Shown(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                shown.update(state.global_step)

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Shown())
        trainer.train()


class _Listed(torch.utils.data.Dataset[Any]):
    def __init__(self, examples: Sequence[Any]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: int) -> Any:
        return self._examples[place]

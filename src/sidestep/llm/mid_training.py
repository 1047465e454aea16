"""GR2's mid-training: codes of semantic IDs are tokens, and the model learns what follows what in histories of IDs,
which words belong to an ID, and which ID to words (arXiv 2602.07774). Its persona texts and general text are not here:
no log or catalogue has any.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sidestep.data.interactions import Ints
from sidestep.data.splits import Cases, TrainingInteractions
from sidestep.llm.chat import Chat
from sidestep.llm.config import LLMConfig
from sidestep.llm.model import ChatModel
from sidestep.llm.training import AT_ONCE, stacked, weighted_loss

TAKEN = "Taken one after the other: "
Example = Mapping[str, Any]


class Readings(Sequence[Example]):
    """As many readings as all steps take: two of four are histories, one says the words of an ID, one the ID of words.
    A pure function of the seed.

    cases: what is taught later. A history ends before the first of a user's answers there: a model that has read them
    would remember, where it is to reason.
    """

    def __init__(self, model: ChatModel, chat: Chat, cases: Cases, config: LLMConfig, seed: int) -> None:
        self._model, self._chat, self._most, self._seed = model, chat, config.history + 1, seed
        self._histories = histories(cases)
        self._items = np.unique(cases.interactions.items)
        self._count = config.mid_steps * config.mid_batch

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self._count:
            raise IndexError(number)
        rng = np.random.default_rng([self._seed, number])
        if number % 4 < 2 and self._histories:
            history = self._histories[rng.integers(len(self._histories))].tolist()
            end = int(rng.integers(2, len(history) + 1))
            return reading(self._model, TAKEN, " ".join(map(self._chat.sid, history[:end][-self._most :])), False)
        item = int(rng.choice(self._items))
        sid, words = self._chat.sid(item), self._chat.line(item)
        given, said = (f"{sid} is ", words) if number % 2 else (f"{words} is ", sid)
        return reading(self._model, given, said, True)


def histories(cases: Cases) -> list[Ints]:
    """The training histories of at least two items, each up to the first answer of its user among the cases."""
    train = cases.interactions
    assert isinstance(train, TrainingInteractions)
    ends = train.offsets[1:].copy()
    np.minimum.at(ends, cases.users, cases.rows)
    starts = train.offsets[:-1]
    return [train.items[begin:end] for begin, end in zip(starts, ends, strict=True) if end - begin > 1]


def asked(cases: Cases, chat: Chat, history: int) -> list[tuple[str, str]]:
    """The history of each case as it is read, and the ID of what was taken next."""
    before = (cases.history(case).tolist()[-history:] for case in range(len(cases)))
    texts = ["".join(f"{chat.sid(item)} " for item in items) for items in before]
    return [(TAKEN + text, chat.sid(int(target))) for text, target in zip(texts, cases.targets, strict=True)]


def reading(model: ChatModel, given: str, said: str, ends: bool) -> Example:
    """The tokens of a text, and the weight of each as something to be learnt: 0 where it is given, 1 where it is said.
    ends: whether the text ends there.
    """
    first, then = (model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (given, said))
    then = [*then, model.tokenizer.eos_token_id] if ends else then
    return {"input_ids": [*first, *then], "weights": [0.0] * len(first) + [1.0] * len(then)}


@torch.no_grad()
def nats(model: ChatModel, asked: Sequence[tuple[str, str]]) -> float:
    """What a token costs of what is said after what is given, on average; nan where nothing is."""
    total, count = 0.0, 0.0
    for begin in range(0, len(asked), AT_ONCE):
        part = [reading(model, given, said, False) for given, said in asked[begin : begin + AT_ONCE]]
        batch = {name: column.to(model.model.device) for name, column in stacked(part, model.pad).items()}
        weight = float(batch["weights"].sum())
        total, count = total + weight * float(weighted_loss(model.model, batch)), count + weight
    return total / count if count else float("nan")

"""A filter of pairs that asks a language model whether two items belong together (QARM V2, arXiv 2602.08559, its step
before alignment), where the filters of `vectors.denoise` ask none.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import rankdata

from sidestep.data.splits import TrainingInteractions
from sidestep.encoders.language_models import SMOLLM2
from sidestep.errors import ConfigError, TeacherError, brief
from sidestep.llm.chat import Messages
from sidestep.llm.model import AT_ONCE, ChatModel
from sidestep.llm.teacher import Answers, Endpoint, in_parallel
from sidestep.vectors.denoise import Denoiser, Scores
from sidestep.vectors.pairs import Pairs, num_users_of
from sidestep.vectors.tuning import TuneConfig

LONGEST = 240
"""Characters of an item's text that are shown."""
LIKELIEST = 20
"""First tokens that a server is asked for; most give no more."""
SPELLED = {"yes": ("Yes", " Yes", "yes", " yes", "YES"), "no": ("No", " No", "no", " no", "NO")}
PART = 64
"""Pairs between two looks at the file of margins."""
TRIED, JOINED, FEWEST = 60, 4, 20
"""Pairs of which the AUC is computed before all are judged; users who took both items of one; with fewer, none is."""
CLUELESS = 0.6
"""An AUC below this, which is two standard errors above chance with so many pairs, may be chance."""
MOST_UNDECIDED = 0.1


@runtime_checkable
class Judge(Protocol):
    """Says how much rather it would answer Yes than No."""

    @property
    def settings(self) -> dict[str, Any]:
        """What its margins depend on besides the chat."""
        ...

    def margins(self, chats: Sequence[Messages]) -> list[float | None]:
        """log P(Yes) - log P(No) of the first token of each answer; None where neither is among the likeliest."""
        ...


@dataclass(frozen=True)
class LocalJudge:
    """A model that runs here. name: as in `ChatModel.load`."""

    chat_model: ChatModel
    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"local": self.name}

    @torch.no_grad()
    def margins(self, chats: Sequence[Messages]) -> list[float | None]:
        """Raises:
        ConfigError: a tokenizer that does not tell Yes from No.
        """
        yes, no = self._tokens()
        model, margins = self.chat_model.model, list[float | None]()
        prompts = [self.chat_model.prompt(chat) for chat in chats]
        for begin in range(0, len(prompts), AT_ONCE):
            ids, mask = (each.to(model.device) for each in self.chat_model.padded(prompts[begin : begin + AT_ONCE]))
            places = (mask.cumsum(1) - 1).clamp(min=0)
            answer = model(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=1)
            logits = answer.logits[:, -1].float()
            margins += (logits[:, yes].logsumexp(1) - logits[:, no].logsumexp(1)).tolist()
        return margins

    def _tokens(self) -> tuple[list[int], list[int]]:
        """The tokens that begin Yes, and those that begin No."""
        tokenizer = self.chat_model.tokenizer
        yes, no = (
            {tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words} for words in SPELLED.values()
        )
        if not yes - no or not no - yes:
            raise ConfigError(
                f"tune.judge = {self.name!r} begins Yes and No with the same token, so that its first token says "
                "nothing; take another model"
            )
        return sorted(yes - no), sorted(no - yes)


@dataclass(frozen=True)
class RemoteJudge:
    """A server with OpenAI's interface that gives log-probabilities. parallel: requests at once."""

    endpoint: Endpoint
    parallel: int

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.endpoint.model, "first tokens": LIKELIEST}

    def margins(self, chats: Sequence[Messages]) -> list[float | None]:
        """As `Judge.margins`; a word that is not among the likeliest counts as the last of them, an upper bound.

        Raises:
            TeacherError: as `Endpoint.first_tokens`.
        """
        return list(in_parallel(self._margin, chats, self.parallel))

    def _margin(self, chat: Messages) -> float | None:
        tokens = self.endpoint.first_tokens(chat, LIKELIEST)
        of_word = {
            word: [value for token, value in tokens.items() if token.strip().lower() == word] for word in SPELLED
        }
        if not any(of_word.values()):
            return None
        least = min(tokens.values())
        yes, no = (float(logsumexp(of_word[word] or [least])) for word in SPELLED)
        return yes - no


def judge_of(config: TuneConfig) -> Judge:
    """The judge that a configuration names.

    Raises:
        MissingExtraError: as `ChatModel.load`. ConfigError: as there, or no such folder.
    """
    if config.judge_endpoint:
        endpoint = Endpoint(config.judge_endpoint, config.judge, 0.0, 1, os.environ.get(config.key_env))
        return RemoteJudge(endpoint, config.parallel)
    if config.judge != SMOLLM2 and not Path(config.judge).expanduser().is_dir():
        raise ConfigError(
            f"tune.judge = {config.judge!r} is no local folder, and nothing is downloaded unasked; download the model "
            f"and name its folder, take {SMOLLM2!r} of the package index, or name a server in tune.judge_endpoint"
        )
    dtype = "bf16" if torch.cuda.is_available() else "fp32"
    return LocalJudge(ChatModel.load(config.judge, dtype, "tune.judge", "tune.denoise = 'llm'"), config.judge)


def question(first: str, second: str) -> Messages:
    """What a judge is asked about two items, of which it sees the texts."""
    asked = (
        f"Item 1: {brief(first, LONGEST)}\nItem 2: {brief(second, LONGEST)}\n"
        "Do the two belong together for a customer: used together, bought one after the other, or each in the place of "
        "the other? Answer with Yes or No alone."
    )
    return [{"role": "user", "content": asked}]


def by_model(
    judge: Judge, answers: Answers, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None
) -> Denoiser:
    """The margin of Yes over No. What is in `answers` is not asked again; a pair that a judge leaves open has 0.

    texts: of the items, `[N]`. progress: called with the number of pairs that are judged.

    Raises, when it is called:
        As the judge. TeacherError: it leaves more than a tenth open.
    """

    def judged(pairs: Pairs) -> Scores:
        scores, undecided = np.zeros(len(pairs)), 0
        for begin in range(0, len(pairs), PART):
            ends = zip(pairs.first[begin : begin + PART], pairs.second[begin : begin + PART], strict=True)
            chats = [question(texts[first], texts[second]) for first, second in ends]
            kept = [answers.known(judge.settings, chat, 0) for chat in chats]
            missing = [place for place, text in enumerate(kept) if text is None]
            margins = judge.margins([chats[place] for place in missing]) if missing else []
            for place, margin in zip(missing, margins, strict=True):
                kept[place] = "" if margin is None else repr(margin)
                answers.keep(judge.settings, chats[place], 0, kept[place] or "")
            undecided += sum(not text for text in kept)
            scores[begin : begin + len(chats)] = [float(text or 0) for text in kept]
            progress(begin + len(chats))
        if undecided > MOST_UNDECIDED * len(pairs):
            raise TeacherError(
                f"Of {len(pairs):,} pairs the judge answers {undecided:,} with neither Yes nor No; expected a model "
                "that follows instructions and does not think aloud first; name another in tune.judge"
            )
        return scores

    return judged


def auc(denoiser: Denoiser, interactions: TrainingInteractions, pairs: Pairs, num_items: int, seed: int) -> float:
    """The area under the ROC curve of a filter that sees no users: how often a pair that at least `JOINED` users took
    has a higher score than two items drawn at random. .5 is chance; NaN where there are too few such pairs.
    """
    rng = np.random.default_rng(seed)
    certain = np.flatnonzero(num_users_of(interactions, num_items, pairs) >= JOINED)
    if len(certain) < FEWEST:
        return float("nan")
    certain = np.sort(rng.permutation(certain)[:TRIED])
    items = np.union1d(pairs.first, pairs.second)
    drawn = np.sort(rng.choice(items, (4 * TRIED, 2)), axis=1)
    known = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    strange = [(one, other) for one, other in drawn.tolist() if one < other and (one, other) not in known][:TRIED]
    if len(strange) < FEWEST:
        return float("nan")
    first, second = np.array(strange).T
    ranks = rankdata([*denoiser(pairs.take(certain)), *denoiser(Pairs(first, second, np.ones(len(first))))])
    n = len(certain)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(strange)))

"""How the reasoner learns: to execute rules, from accepted traces, and from the rank that its own orders give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.losses import reranking
from sidestep.rerankers import rewards
from sidestep.rerankers.language import RANK, Language
from sidestep.rerankers.reasoner import Reasoner
from sidestep.rerankers.rewards import Reward
from sidestep.rerankers.scenes import Scenes, Taught, found_by_rules
from sidestep.rerankers.traces import RULES, Trace, accepted, executed, justifying

REDRAWS = 3
"""How often a group is drawn again whose outputs are all worth the same."""
LEAST_ENTROPY, MOST_KEPT, LEAST_TRUE = 0.3, 0.9, 0.5
"""Nats of the rules' shares below which one rule serves nearly all, the share of orders left as they were above which a
policy copies, and the share of true traces below which its reasons are seldom so.
"""
Traces = Literal["rejection", "targeted", "none"]


@dataclass(frozen=True)
class Weights:
    """Of supervised words: those of the trace, the first of the order, and the rest of the order."""

    trace: float
    first: float
    rest: float


def supervised(
    scenes: Scenes,
    places: Int[Tensor, " n"],
    language: Language,
    weights: Weights,
    rules: Sequence[str],
    seed: int,
    traces: Traces = "rejection",
) -> Taught:
    """Of each hit a trace that speaks for the answer, drawn once; then the answer, and the others in the first order.
    Where no rule does, the trace weighs nothing.

    rules: that may be taken. traces: "rejection" takes rules that put the answer first, "targeted" all that match it.
    """
    speaking = justifying if traces == "targeted" else accepted
    rng, texts = np.random.default_rng(seed), []
    for scene, answer in zip(scenes.scenes(), places.tolist(), strict=True):
        right = [rule for rule in speaking(scene, answer) if rule in rules or rule == "keep"]
        trace = executed(right[rng.integers(len(right))] if right else "keep", scene)
        rest = [place for place in range(len(scene)) if place != answer]
        words = language.write(Trace(trace.rule, trace.key, trace.matched, (answer, *rest)))
        texts.append(_weighed(words, weights, counts=bool(right) and language.traced))
    return _taught(scenes, places, texts, language)


def exercises(scenes: Scenes, places: Int[Tensor, " n"], language: Language, seed: int) -> Taught:
    """Mid-training: of each hit any rule that changes the order, executed to the letter; all words weigh the same."""
    rng, texts = np.random.default_rng(seed), []
    for scene in scenes.scenes():
        moving = [trace for rule in RULES if (trace := executed(rule, scene)).order != tuple(range(len(scene)))]
        chosen = moving[rng.integers(len(moving))] if moving else executed("keep", scene)
        texts.append(_weighed(language.write(chosen), Weights(1.0, 1.0, 1.0), counts=True))
    return _taught(scenes, places, texts, language)


def taught_words(model: nn.Module, batch: Taught) -> dict[str, Tensor]:
    """Supervised traces: `total = words` (GR2's SFT loss)."""
    assert isinstance(model, Reasoner)
    return {"total": reranking.words(model.log_probs(batch.scenes, batch.words), batch.weights)}


@dataclass(frozen=True)
class Reinforced:
    """The objective of reinforcement: DAPO on the model's own outputs, `group` of each case.

    reward: "conditional" is GR2's; "unconditional" pays alpha wherever a trace is true and followed; "rank" and "ndcg"
    look at the order alone, and so do all where no trace is written. low, high: of the clip.
    """

    reward: Reward
    group: int
    alpha: float
    low: float
    high: float

    def __call__(self, model: nn.Module, batch: Taught) -> dict[str, Tensor]:
        """`total = dapo`, and how the outputs are: the means of `Outputs`."""
        assert isinstance(model, Reasoner)
        drawn, outputs, worth = self._drawn(model, batch)
        new = model.log_probs(drawn.scenes, outputs.words)
        gains = rewards.advantages(worth.view(-1, self.group)).flatten()
        total = reranking.dapo(new, new.detach(), gains, outputs.words > 0, self.low, self.high)
        return {"total": total, "reward": worth.mean(), "informative": (gains != 0).float().mean(), **outputs.means()}

    def _drawn(self, model: Reasoner, batch: Taught) -> tuple[Taught, "Outputs", Float[Tensor, " n"]]:
        """A group of outputs for every case; those that are worth the same are drawn again."""
        drawn = batch.take(torch.arange(len(batch), device=batch.places.device).repeat_interleave(self.group))
        outputs = Outputs.of(model.language, drawn, model.written(drawn.scenes, draw=True))
        worth = self.worth(drawn, outputs)
        for _ in range(REDRAWS):
            groups = worth.view(-1, self.group)
            dull = (groups.amax(1) - groups.amin(1) < 1e-6).repeat_interleave(self.group).nonzero()[:, 0]
            if not len(dull):
                break
            again = outputs.words.clone()
            again[dull] = model.written(drawn.scenes.take(dull), draw=True)
            outputs = Outputs.of(model.language, drawn, again)
            worth = self.worth(drawn, outputs)
        return drawn, outputs, worth

    def worth(self, batch: Taught, outputs: "Outputs") -> Float[Tensor, " n"]:
        before, candidates = batch.places + 1, batch.scenes.real.shape[1]
        if self.reward == "conditional":
            return rewards.conditional(before, outputs.ranks, outputs.formed, self.alpha, candidates)
        if self.reward == "ndcg":
            return rewards.ndcg(outputs.ranks)
        ranked = rewards.rank(before, outputs.ranks, candidates)
        return rewards.unconditional(ranked, outputs.formed, self.alpha) if self.reward == "unconditional" else ranked


@dataclass(frozen=True)
class Outputs:
    """What a model has written for some hits.

    ranks: of the answer in the new order, from 1. kept: whether that is the first order. true: whether the trace says
    what its rule finds. followed: whether the order puts in front what the trace matched. rules: by number; -1 where
    there is no trace, which is neither true nor followed.
    """

    words: Int[Tensor, "n L"]
    ranks: Int[Tensor, " n"]
    kept: Bool[Tensor, " n"]
    true: Bool[Tensor, " n"]
    followed: Bool[Tensor, " n"]
    rules: Int[Tensor, " n"]

    @classmethod
    def of(cls, language: Language, batch: Taught, words: Int[Tensor, "n L"]) -> "Outputs":
        real = batch.scenes.real
        slot = words - language.first_slot
        is_slot = (slot >= 0) & (slot < language.candidates)
        behind = (words == RANK).cumsum(1) > 0
        order = slot.masked_fill(~(is_slot & behind), -1)
        place = (order >= 0).cumsum(1)  # of each word of the order, from 1
        ranks = (place * (order == batch.places[:, None])).sum(1)
        first = torch.where(order >= 0, place - 1, -1)
        matched = torch.zeros_like(real).scatter_reduce(
            1, slot.clamp(0, language.candidates - 1), is_slot & ~behind, "amax"
        )
        said = words[:, 0] != RANK
        rules = torch.where(said, words[:, 0] - language.first_rule, -1)
        keys = _keys(language, words[:, 1])
        rows = torch.arange(len(words), device=words.device)
        looked_up = batch.keys[rows, rules.clamp(min=0)], batch.matched[rows, rules.clamp(min=0)]
        true = said & (keys == looked_up[0]) & (matched == looked_up[1]).all(1)
        count = matched.sum(1)
        front = (matched.gather(1, order.clamp(min=0)) & (order >= 0) & (place <= count[:, None])).sum(1)
        kept = (order == first).all(1)
        followed = said & torch.where(rules == list(RULES).index("keep"), kept, front == count)
        return cls(words, ranks, kept, true, followed, rules)

    @property
    def formed(self) -> Bool[Tensor, " n"]:
        """What the format reward is paid for, as every output is a trace and an order: the first true, and followed."""
        return self.true & self.followed

    @property
    def used(self) -> Float[Tensor, " R"]:
        """The share of each rule."""
        said = self.rules[self.rules >= 0]
        return torch.bincount(said, minlength=len(RULES)).float() / max(len(self.rules), 1)

    def means(self) -> dict[str, Tensor]:
        shares, used = {"kept": self.kept, "true": self.true, "followed": self.followed}, self.used
        entropy = (used * (1 / used.clamp(min=1e-9)).log()).sum()  # not -0 for one rule
        return {**{name: share.float().mean() for name, share in shares.items()}, "rule_entropy": entropy}


@torch.no_grad()
def likeliest(model: Reasoner, data: Taught, at_once: int = 512) -> Outputs:
    """What the model writes without drawing."""
    model.eval()
    parts = []
    for begin in range(0, len(data), at_once):
        batch = data.take(torch.arange(begin, min(begin + at_once, len(data))))
        parts.append(Outputs.of(model.language, batch, model.written(batch.scenes)))
    return Outputs(*(torch.cat([vars(part)[name] for part in parts]) for name in Outputs.__dataclass_fields__))


def in_words(outputs: Outputs) -> str:
    """The shares that tell whether a policy copies or reasons."""
    if not outputs.used.any():
        return f"left as it was {float(outputs.kept.float().mean()):.1%}; no traces"
    means = {name: float(value) for name, value in outputs.means().items()}
    rules = sorted(zip(RULES, outputs.used.tolist(), strict=True), key=lambda each: -each[1])
    named = ", ".join(f"{rule} {share:.0%}" for rule, share in rules if share >= 0.005)
    return (
        f"left as it was {means['kept']:.1%}, trace true {means['true']:.1%}, followed {means['followed']:.1%}; "
        f"rules: {named} ({means['rule_entropy']:.2f} nats)"
    )


def doubts(outputs: Outputs) -> list[str]:
    """What to warn of: a policy that copies, that has one rule for all, or whose traces are seldom true."""
    means, warnings = {name: float(value) for name, value in outputs.means().items()}, []
    if means["kept"] > MOST_KEPT:
        warnings.append(
            f"{means['kept']:.0%} of the orders are the first ones: it copies, and its reasons explain nothing"
        )
    if outputs.used.any() and means["true"] < LEAST_TRUE:
        warnings.append(f"{means['true']:.0%} of the traces are true: its reasons are seldom those of its orders")
    if outputs.used.any() and means["rule_entropy"] < LEAST_ENTROPY:
        most = list(RULES)[int(outputs.used.argmax())]
        warnings.append(
            f"one rule for nearly all ({most!r} in {float(outputs.used.max()):.0%} of the traces, "
            f"{means['rule_entropy']:.2f} nats, under {LEAST_ENTROPY:g}); which rule when is not learnt"
        )
    return warnings


def ranks_of(outputs: Outputs) -> Ints:
    ranks: Ints = outputs.ranks.cpu().numpy()
    return ranks


def _weighed(words: list[int], weights: Weights, counts: bool) -> tuple[list[int], list[float]]:
    """A text with the weight of each word. counts: whether the trace counts; the order always does."""
    cut = words.index(RANK) + 1
    trace = [weights.trace if counts else 0.0] * cut
    return words, [*trace, weights.first, *[weights.rest] * (len(words) - cut - 1)]


def _taught(
    scenes: Scenes, places: Int[Tensor, " n"], texts: list[tuple[list[int], list[float]]], language: Language
) -> Taught:
    words = torch.zeros(len(scenes), language.longest, dtype=torch.int64)
    weights = torch.zeros(len(scenes), language.longest)
    for row, (text, weighed) in enumerate(texts):
        words[row, : len(text)], weights[row, : len(text)] = torch.tensor(text), torch.tensor(weighed)
    return Taught(scenes, places, *found_by_rules(scenes), words, weights)


def _keys(language: Language, words: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The label numbers of key words; 0 for none."""
    keys = torch.zeros_like(words)
    for first in language.first_key.values():
        keys = torch.where(words >= first, words - first + 1, keys)
    return keys

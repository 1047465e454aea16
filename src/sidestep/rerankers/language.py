"""The closed language of traces: a rule, what it looks for, the candidates that have it, then all in their order."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.rerankers.traces import KIND_OF, KINDS, RULES, Trace

PAD, RANK, NOTHING = 0, 1, 2
"""Padding; the word before the order; the key of a rule that looks for no label, or found none to look for."""
_RULES = tuple(RULES)


class Language:
    """Words as numbers: `[rule] [key] [matched slots ...] RANK [all slots in the new order]`.

    candidates: slots, one for each place of the first order. labels: how many numbers each kind of label has, with 0.
    traced: whether there is a trace; without one a text is `RANK [all slots in the new order]`.
    """

    def __init__(self, candidates: int, labels: Mapping[str, int], traced: bool = True) -> None:
        self.candidates, self.traced = candidates, traced
        self.first_slot = 3
        self.first_rule = self.first_slot + candidates
        place, self.first_key = self.first_rule + len(_RULES), dict[str, int]()
        for kind in KINDS:
            self.first_key[kind] = place
            place += labels[kind] - 1
        self._labels, self.num_words = dict(labels), place
        self.longest = 3 + 2 * candidates

    def write(self, trace: Trace) -> list[int]:
        """A trace as words."""
        if not self.traced:
            return [RANK, *(self.first_slot + place for place in trace.order)]
        kind = KIND_OF.get(trace.rule)
        key = self.first_key[kind] + trace.key - 1 if kind is not None and trace.key else NOTHING
        slots = [[self.first_slot + place for place in places] for places in (trace.matched, trace.order)]
        return [self.first_rule + _RULES.index(trace.rule), key, *slots[0], RANK, *slots[1]]

    def read(self, words: Sequence[int], count: int) -> Trace | None:
        """The trace that words say of `count` candidates; None where they say none: cut, doubled or foreign slots, a
        key of another kind, or an order that leaves one out.
        """
        words = list(words)
        while words and words[-1] == PAD:
            words.pop()
        if not self.traced:
            order = tuple(word - self.first_slot for word in words[1:])
            return Trace("", 0, (), order) if words[:1] == [RANK] and sorted(order) == list(range(count)) else None
        if len(words) < 3 or words.count(RANK) != 1 or not 0 <= words[0] - self.first_rule < len(_RULES):
            return None
        rule, cut = _RULES[words[0] - self.first_rule], words.index(RANK)
        key = self._key(rule, words[1])
        matched, order = (tuple(word - self.first_slot for word in part) for part in (words[2:cut], words[cut + 1 :]))
        if key is None or cut < 2 or len(set(matched)) != len(matched) or sorted(order) != list(range(count)):
            return None
        return Trace(rule, key, matched, order) if all(0 <= place < count for place in matched) else None

    def _key(self, rule: str, word: int) -> int | None:
        if word == NOTHING:
            return 0
        kind = KIND_OF.get(rule)
        if kind is None:
            return None
        key = word - self.first_key[kind] + 1
        return key if 1 <= key < self._labels[kind] else None

    @cached_property
    def keys_of_rules(self) -> Bool[Tensor, "R V"]:
        """Which words may follow each rule as its key."""
        found = torch.zeros(len(_RULES), self.num_words, dtype=torch.bool)
        found[:, NOTHING] = True
        for number, rule in enumerate(_RULES):
            if (kind := KIND_OF.get(rule)) is not None:
                found[number, self.first_key[kind] : self.first_key[kind] + self._labels[kind] - 1] = True
        return found


class Grammar:
    """Which words may come next, for many texts at once. A text that takes only such words reads as a trace.

    real: where there is a candidate, `[B, C]`.
    """

    def __init__(self, language: Language, real: Bool[Tensor, "B C"]) -> None:
        self._language, self._real = language, real
        self._keys = language.keys_of_rules.to(real.device)
        rows = len(real)
        self._stage = torch.zeros(rows, dtype=torch.int64, device=real.device)  # rule, key, matched, order, done
        self._rule = torch.zeros_like(self._stage)
        self._used = torch.zeros_like(real)
        if not language.traced:  # a trace that is complete and names nothing
            self._stage, self._used = self._stage + 2, real.clone()

    @property
    def ranking(self) -> Bool[Tensor, " B"]:
        """Where the order is being written."""
        return self._stage == 3

    @property
    def done(self) -> bool:
        return bool((self._stage == 4).all())

    def allowed(self) -> Bool[Tensor, "B V"]:
        language, stage = self._language, self._stage[:, None]
        mask = torch.zeros(len(stage), language.num_words, dtype=torch.bool, device=stage.device)
        slots = slice(language.first_slot, language.first_slot + language.candidates)
        mask[:, slots] = self._real & ~self._used & ((stage == 2) | (stage == 3))
        mask[:, RANK] = self._stage == 2
        mask[:, PAD] = self._stage == 4
        mask[:, language.first_rule : language.first_rule + len(_RULES)] = stage == 0
        return mask | (self._keys[self._rule] & (stage == 1))

    def advance(self, words: Int[Tensor, " B"]) -> None:
        """Take one word for each text, out of `allowed`."""
        language, stage = self._language, self._stage
        self._rule = torch.where(stage == 0, (words - language.first_rule).clamp(0, len(_RULES) - 1), self._rule)
        slot = words - language.first_slot
        chosen = torch.arange(language.candidates, device=words.device) == slot[:, None]
        self._used = (self._used | (chosen & (stage >= 2)[:, None])) & ~((stage == 2) & (words == RANK))[:, None]
        full = (self._used == self._real).all(1) & (stage == 3)
        after = torch.where(stage < 2, stage + 1, torch.where((stage == 2) & (words == RANK), 3, stage))
        self._stage = torch.where(full, 4, after)

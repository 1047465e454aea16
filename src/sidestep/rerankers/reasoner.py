"""A small model that reasons about candidates in the language of traces, and then puts them in order (GR2 in small)."""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.layers.state import KeysValues, additive
from sidestep.rerankers.evidence import Standardized
from sidestep.rerankers.language import Grammar, Language
from sidestep.rerankers.rewards import Reward
from sidestep.rerankers.scenes import Scenes
from sidestep.rerankers.traces import KINDS
from sidestep.scorers.blocks import Stack
from sidestep.scorers.sequential import BaselineConfig

Rule = Literal["last", "frequent", "brand", "aisle", "next", "similar", "popular", "keep"]


class ReasonerConfig(Section):
    """The small model that writes traces, and its three courses: executing any rule, accepted traces, and reinforcement
    by the rank of its own orders.

    width, num_layers, num_heads: of its transformer; without layers it is the list-wise control. history: how many of
    the last items it reads.
    rules: that a trace may follow.
    traces: "rejection" learns traces whose rule puts the answer first, "targeted" those whose rule matches it, be it
    behind others; "none" writes the order alone.
    mid_epochs: of executing any rule that changes the order; 0 leaves it out.
    sft_epochs, batch_size, lr: of accepted traces; lr also of mid_epochs. trace_weight, rest_weight: of the words of a
    trace, and of the order behind the answer, beside 1 for the answer.
    rl_steps: of reinforcement; 0 leaves it out. rl_lr, rl_cases: its learning rate, and cases in a step. group: outputs
    of a case.
    reward: "conditional" is GR2's; "unconditional" pays `alpha` wherever a trace is true and followed; "rank" and
    "ndcg" look at the order alone. alpha: what such a trace is worth.
    epsilon_low, epsilon_high: of DAPO's clip.
    """

    width: int = Field(64, ge=4)
    num_layers: int = Field(2, ge=0)
    num_heads: int = Field(4, ge=1)
    history: int = Field(10, ge=1)
    rules: tuple[Rule, ...] = get_args(Rule)
    traces: Literal["rejection", "targeted", "none"] = "rejection"
    mid_epochs: int = Field(0, ge=0)
    sft_epochs: int = Field(6, ge=1)
    batch_size: int = Field(128, ge=1)
    lr: float = Field(2e-3, gt=0)
    trace_weight: float = Field(0.5, ge=0)
    rest_weight: float = Field(0.0, ge=0)
    rl_steps: int = Field(60, ge=0)
    rl_lr: float = Field(5e-4, gt=0)
    rl_cases: int = Field(32, ge=1)
    group: int = Field(8, ge=2)
    reward: Reward = "conditional"
    alpha: float = Field(0.2, ge=0)
    epsilon_low: float = Field(0.2, gt=0, lt=1)
    epsilon_high: float = Field(0.28, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> "ReasonerConfig":
        if self.width % self.num_heads:
            raise ValueError(f"width = {self.width} cannot be divided among num_heads = {self.num_heads}")
        if self.traces == "none" and self.mid_epochs:
            raise ValueError(
                f"mid_epochs = {self.mid_epochs} drills rules, and traces = 'none' writes none; leave one out"
            )
        return self


class Context(NamedTuple):
    """What was read before the first word.

    kept: keys and values of every layer. seen: `[B, S]`. offered: what a candidate's slot is read as, `[B, C, D]`.
    states: of the candidates. standard: their evidence.
    """

    kept: list[KeysValues]
    seen: Tensor
    offered: Tensor
    states: Tensor
    standard: Tensor


class Reasoner(Standardized):
    """A transformer over the history's items, the candidates, and the words written so far.

    An item is one position: the sum of embeddings of its labels, of its age or slot, and for a candidate a linear map
    of its evidence. Items see all items; a word sees all items and the words before it. A slot's logit is the product
    of the state with the candidate's state, plus evidence weighted by `w + W state` (with other `w` for matching and
    for the order); all other words have logits of their own. A slot that was written is read back as its candidate.
    Words that the grammar does not allow are never written and have no probability.
    """

    def __init__(self, language: Language, num_labels: list[int], num_features: int, config: ReasonerConfig) -> None:
        super().__init__(num_features)
        self.config, self.language, width = config, language, config.width
        shape = {"width": width, "num_heads": config.num_heads, "num_layers": config.num_layers, "inner": 2 * width}
        self.labels = nn.ModuleList(nn.Embedding(count, width) for count in num_labels)
        self.place = nn.Embedding(config.history + language.candidates, width)
        self.word = nn.Embedding(language.num_words, width)
        for table in (*self.labels, self.place, self.word):
            nn.init.normal_(table.weight, std=0.02)
        self.seen_evidence = nn.Linear(num_features, width)
        self.stack: Stack | None = None
        if config.num_layers:
            blocks = BaselineConfig.model_validate({**shape, "dropout": 0.0})
            self.stack = Stack(blocks, "pre-norm", nn.GELU())
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, language.num_words)
        self.point = nn.Linear(width, width, bias=False)
        self.weigh = nn.Linear(width, num_features, bias=False)
        self.weights = nn.Parameter(torch.zeros(2, num_features))
        for linear in (self.point, self.weigh):
            nn.init.zeros_(linear.weight)

    def read(self, scenes: Scenes) -> Context:
        """Read histories and candidates."""
        standard = self.standard(scenes.features) * scenes.real[:, :, None]
        history, count = scenes.taken.shape[1], scenes.offered.shape[1]
        taken, offered = self._labelled(scenes.taken), self._labelled(scenes.offered)
        age = (scenes.history.sum(1, keepdim=True) - 1 - torch.arange(history, device=taken.device)).clamp(min=0)
        slots = torch.arange(self.config.history, self.config.history + count, device=taken.device)
        offered = offered + self.seen_evidence(standard)
        x = torch.cat([taken + self.place(age), offered + self.place(slots)], dim=1)
        seen = torch.cat([scenes.history, scenes.real], dim=1)
        x, kept = self._attend(x, seen[:, None].expand(-1, x.shape[1], -1), [])
        return Context(kept, seen, offered, self.norm(x)[:, history:], standard)

    def write(
        self, context: Context, words: Int[Tensor, "B L"], ranking: Bool[Tensor, "B L"], past: list[KeysValues]
    ) -> tuple[Float[Tensor, "B L V"], list[KeysValues]]:
        """Logits of the word after each of `words`, and what is remembered with them.

        ranking: where the word after is one of the order. past: of the context, and of the words before.
        """
        before = past[0][0].shape[2] - context.seen.shape[1] if past else 0
        length = words.shape[1]
        back = torch.ones(before + length, before + length, dtype=torch.bool, device=words.device).tril()[before:]
        seen = torch.cat([context.seen[:, None].expand(-1, length, -1), back.expand(len(words), -1, -1)], dim=2)
        slot = words - self.language.first_slot
        is_slot = (slot >= 0) & (slot < self.language.candidates)
        chosen = context.offered.gather(
            1, slot.clamp(0, self.language.candidates - 1)[:, :, None].expand(-1, -1, context.offered.shape[2])
        )
        x, kept = self._attend(self.word(words) + chosen * is_slot[:, :, None], seen, past)
        state = self.norm(x)
        logits = self.out(state)
        weights = self.weights[ranking.long()] + self.weigh(state)
        pointed = self.point(state) @ context.states.transpose(1, 2) * self.config.width**-0.5
        slots = slice(self.language.first_slot, self.language.first_slot + self.language.candidates)
        logits[:, :, slots] = pointed + weights @ context.standard.transpose(1, 2)
        return logits, kept

    def log_probs(self, scenes: Scenes, words: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """The log-probability of every word, given those before it; 0 for padding."""
        allowed, ranking = self._masks(scenes, words)
        context = self.read(scenes)
        begun = torch.cat([torch.zeros_like(words[:, :1]), words[:, :-1]], dim=1)
        logits, _ = self.write(context, begun, ranking, context.kept)
        logs = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
        return logs.gather(2, words[:, :, None])[:, :, 0] * (words > 0)

    @torch.no_grad()
    def written(self, scenes: Scenes, draw: bool = False) -> Int[Tensor, "B L"]:
        """Texts, word by word: drawn, or the likeliest words. Each reads as a trace."""
        grammar, context = Grammar(self.language, scenes.real), self.read(scenes)
        past, word, texts = context.kept, torch.zeros(len(scenes), 1, dtype=torch.int64, device=scenes.real.device), []
        while not grammar.done:
            logits, past = self.write(context, word, grammar.ranking[:, None], past)
            logits = logits[:, 0].masked_fill(~grammar.allowed(), -torch.inf)
            word = torch.multinomial(logits.softmax(1), 1) if draw else logits.argmax(1, keepdim=True)
            grammar.advance(word[:, 0])
            texts.append(word)
        found = torch.cat(texts, dim=1) if texts else torch.zeros(len(scenes), 0, dtype=torch.int64)
        return torch.nn.functional.pad(found, (0, self.language.longest - found.shape[1]))

    def _masks(self, scenes: Scenes, words: Int[Tensor, "B L"]) -> tuple[Bool[Tensor, "B L V"], Bool[Tensor, "B L"]]:
        """Which words may stand at each place, and where the order is written."""
        grammar, allowed, ranking = Grammar(self.language, scenes.real), [], []
        for word in words.unbind(1):
            allowed.append(grammar.allowed())
            ranking.append(grammar.ranking)
            grammar.advance(word)
        return torch.stack(allowed, dim=1), torch.stack(ranking, dim=1)

    def _attend(
        self, x: Float[Tensor, "B Q D"], seen: Bool[Tensor, "B Q S"], past: list[KeysValues]
    ) -> tuple[Float[Tensor, "B Q D"], list[KeysValues]]:
        return (x, past) if self.stack is None else self.stack(x, additive(seen), past)

    def _labelled(self, labels: Int[Tensor, "B S K"]) -> Float[Tensor, "B S D"]:
        return torch.stack([self.labels[kind](labels[:, :, kind]) for kind in range(len(KINDS))]).sum(0)

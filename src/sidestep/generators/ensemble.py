"""Several generators that answer together, each with semantic IDs of its own for the same items."""

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from sidestep.config import HomePath, Section
from sidestep.data.reads import Reads
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.sids.semantic_ids import SemanticIds

MOST_MEMBERS = 4


class EnsembleConfig(Section):
    """Which generators answer together.

    members: run folders of two to four generators with the same settings, trained on the same log with tokenizers of
        other seeds. The first one's semantic IDs are those that this run's own settings give, and its paths explain.
    candidates: items that each member proposes; what any of them proposes is scored by all.
    """

    idle = frozenset({"members"})  # the trained weights count, not where they lie

    members: tuple[HomePath, ...] = ()
    candidates: int = Field(50, ge=1)

    @field_validator("members")
    @classmethod
    def _several(cls, members: tuple[HomePath, ...]) -> tuple[HomePath, ...]:
        if members and not 2 <= len(members) <= MOST_MEMBERS:
            raise ValueError(f"ensemble.members names {len(members)} runs; expected 2 to {MOST_MEMBERS}")
        if len({member.resolve() for member in members}) < len(members):
            raise ValueError("ensemble.members names a run twice; every member counts once")
        return members


class Ensemble(nn.Module):
    """Generators of one shape. An item's score is the mean of its log-probabilities,

        s(v) = 1/n sum_i log p_i(ID_i(v) | history),

    with ID_i the semantic IDs that member i was trained on: what one tokenizer puts far apart, another puts together.

    How many there are comes with the weights, as do the codes of all members but the first, `codes_i` `[N, L]`.
    Memory: n generators, 4 bytes for each of these codes.
    """

    def __init__(self, sids: SemanticIds, config: GeneratorConfig, thinking: ThinkingConfig) -> None:
        super().__init__()
        self.config, self._first, self._thinking = config, sids, thinking
        self.members = nn.ModuleList([Thinking(sids, config, thinking)])
        self.register_load_state_dict_pre_hook(_a_member_for_every_table)  # type: ignore[no-untyped-call]

    @property
    def reads(self) -> Reads:
        """What every member reads of a history."""
        return Reads(self.config.max_history)

    @property
    def every_position(self) -> bool:
        return self.config.encoder != "bidirectional"

    def sids(self, number: int) -> SemanticIds:
        """The semantic IDs of a member, from 0; codewords and clusters are the first one's."""
        if not number:
            return self._first
        codes: Tensor = getattr(self, f"codes_{number}")
        return replace(self._first, codes=codes.long().cpu().numpy())

    def hold(self, tables: list[Tensor]) -> None:
        """One further, untrained member for every table of codes `[N, L]`, in place of those it has."""
        device = next(self.parameters()).device
        del self.members[1:]
        for number, codes in enumerate(tables, 1):
            self.register_buffer(f"codes_{number}", codes.to(device, torch.int32))
            self.members.append(Thinking(self.sids(number), self.config, self._thinking).to(device))


def _a_member_for_every_table(model: Ensemble, tensors: dict[str, Any], prefix: str, *_: Any) -> None:
    count = sum(name.startswith(f"{prefix}codes_") for name in tensors)
    model.hold([tensors[f"{prefix}codes_{number}"] for number in range(1, count + 1)])

"""What the reasoner reads: histories and candidates by their labels, with evidence, and what every rule finds there."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.rerankers.cases import CandidateCases
from sidestep.rerankers.evidence import FEATURES, MOST_HISTORY, Evidence
from sidestep.rerankers.traces import KINDS, RULES, Scene

TEXT, POPULAR = FEATURES.index("text_best"), FEATURES.index("popular")


@dataclass(frozen=True)
class Scenes:
    """taken: label numbers of the history's last items, oldest first, `[n, T, K]`, padded on the right with 0; history:
    where there is one. offered: those of the candidates. features: their evidence. real: where there is a candidate.
    next_leaf: as in `traces.Scene`.
    """

    taken: Int[Tensor, "n T K"]
    history: Bool[Tensor, "n T"]
    offered: Int[Tensor, "n C K"]
    features: Float[Tensor, "n C F"]
    real: Bool[Tensor, "n C"]
    next_leaf: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.real)

    def take(self, rows: Int[Tensor, " m"]) -> "Scenes":
        return Scenes(*(getattr(self, each.name)[rows] for each in fields(self)))

    def to(self, device: torch.device) -> "Scenes":
        return Scenes(*(getattr(self, each.name).to(device) for each in fields(self)))

    def scenes(self) -> list[Scene]:
        """Each as the rules look at it."""
        taken, offered = self.taken.tolist(), self.offered.tolist()
        lengths, counts = self.history.sum(1).tolist(), self.real.sum(1).tolist()
        text, popular = self.features[:, :, TEXT].tolist(), self.features[:, :, POPULAR].tolist()
        return [
            Scene(
                {kind: [item[k] for item in taken[n][: lengths[n]]] for k, kind in enumerate(KINDS)},
                {kind: [item[k] for item in offered[n][: counts[n]]] for k, kind in enumerate(KINDS)},
                text[n][: counts[n]],
                popular[n][: counts[n]],
                int(self.next_leaf[n]),
            )
            for n in range(len(self))
        ]


def scenes_of(
    evidence: Evidence, batch: SequenceBatch, items: Int[Tensor, "B C"], features: Float[Tensor, "B C F"], history: int
) -> Scenes:
    """features: what `evidence` gives for the candidates. history: how many of the last items are read."""
    recent = batch.latest(Reads(history))
    real, taken = recent.history >= 0, evidence.labels[:, recent.history.clamp(min=0)].permute(1, 2, 0)
    offered = evidence.labels[:, items.clamp(min=0)].permute(1, 2, 0)
    last = taken[:, :, 0].gather(1, (recent.lengths - 1).clamp(min=0)[:, None])[:, 0]
    wide = history - real.shape[1]
    return Scenes(
        torch.nn.functional.pad(taken * real[:, :, None], (0, 0, 0, wide)),
        torch.nn.functional.pad(real, (0, wide)),
        offered * (items >= 0)[:, :, None],
        features,
        items >= 0,
        evidence.next_leaf[last],
    )


@dataclass(frozen=True)
class Taught:
    """Hits with what is known of them.

    places: of the answer, from 0. keys, matched: what each rule finds, as in `traces.Match`, by the number of the rule.
    words: the supervised text, and weights: of each of its words.
    """

    scenes: Scenes
    places: Int[Tensor, " n"]
    keys: Int[Tensor, "n R"]
    matched: Bool[Tensor, "n R C"]
    words: Int[Tensor, "n L"]
    weights: Float[Tensor, "n L"]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: Int[Tensor, " m"]) -> "Taught":
        return Taught(self.scenes.take(rows), *(getattr(self, each.name)[rows] for each in fields(self)[1:]))

    def to(self, device: torch.device) -> "Taught":
        return Taught(self.scenes.to(device), *(getattr(self, each.name).to(device) for each in fields(self)[1:]))


def gathered_scenes(cases: CandidateCases, evidence: Evidence, history: int) -> Scenes:
    """The scenes of cases."""
    parts = []
    for batch, items, scores in cases.portions(MOST_HISTORY, evidence.counts.device):
        scenes = scenes_of(evidence, batch, items, evidence(batch, items, scores), history)
        parts.append(scenes.to(torch.device("cpu")))
    return joined(parts)


def joined(parts: Sequence[Scenes]) -> Scenes:
    return Scenes(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Scenes)))


def found_by_rules(scenes: Scenes) -> tuple[Int[Tensor, "n R"], Bool[Tensor, "n R C"]]:
    """What every rule finds in every scene: its key, and which candidates have it."""
    keys = torch.zeros(len(scenes), len(RULES), dtype=torch.int64)
    matched = torch.zeros(len(scenes), len(RULES), scenes.real.shape[1], dtype=torch.bool)
    for n, scene in enumerate(scenes.scenes()):
        for number, rule in enumerate(RULES.values()):
            found = rule(scene)
            keys[n, number] = found.key
            matched[n, number, list(found.matched)] = True
    return keys, matched

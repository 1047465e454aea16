"""Scorers: methods that give every item a score by its number and need no semantic IDs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.interactions import Ints
from sidestep.errors import ConfigError
from sidestep.layers.item_rows import RowShards
from sidestep.methods.assembling import begin_from
from sidestep.methods.method import FinishedRun, Materials, Method, Needs
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.methods.time import TimeConfig
from sidestep.objectives import scoring
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import Servable
from sidestep.scorers.bert4rec import BERT4Rec
from sidestep.scorers.caser import Caser
from sidestep.scorers.content import ContentSASRec
from sidestep.scorers.gru4rec import GRU4Rec
from sidestep.scorers.rearec import ReaRec
from sidestep.scorers.sasrec import SASRec
from sidestep.scorers.sequential import BaselineConfig, SequentialBaseline
from sidestep.scorers.towers import TwoTowers
from sidestep.training.loop import Objective

Build = Callable[[Materials, BaselineConfig], nn.Module]
Loss = Callable[..., dict[str, Tensor]]


@dataclass(frozen=True)
class Scoring(Method):
    """model: of the materials and [baseline]. loss: its objective, which also takes [baseline]. reads_vectors: whether
    the model reads the items' vectors. whole_catalogue: whether its losses are over all items, so that no other
    `baseline.loss` suits it.
    """

    model: Build | None = None
    loss: Loss = scoring.next_item
    reads_vectors: bool = False
    whole_catalogue: bool = False

    sections: ClassVar[Mapping[str, type[Section]]] = {"baseline": BaselineConfig}
    validation: ClassVar[frozenset[str]] = frozenset({"valid_users"})
    ranking: ClassVar[frozenset[str]] = frozenset({"k"})

    @property
    def needs(self) -> Needs:
        return Needs(vectors=self.reads_vectors)

    @property
    def shards_items(self) -> bool:
        """ReaRec's divergence needs every item's probability in one process."""
        return isinstance(self.model, OfNumbers) and self.loss is not scoring.rearec_erl

    def check(self, recipe: Recipe) -> None:
        loss = recipe.section(BaselineConfig).loss
        if self.whole_catalogue and loss != "ce":
            raise ConfigError(
                f"baseline.loss = {loss!r} does not suit method {recipe.method!r}, whose losses are over "
                "the whole catalogue; leave it at 'ce'"
            )

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        assert self.model is not None
        return self.model(materials, recipe.section(BaselineConfig))

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        return partial(self.loss, baseline=recipe.section(BaselineConfig))

    def begin(self, model: nn.Module, own: FinishedRun, start: FinishedRun) -> None:
        begin_from(model, own, start)

    def recommender(self, model: Any, recipe: Recipe, plan: SearchPlan) -> Servable:
        return ItemwiseRecommender(model.score, len(plan.popularity), model.reads)

    def training_of_its_own(self, defaults: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """A scorer needs other steps than a generator, in whose recipe a study trains it."""
        return {
            "train": {**defaults, **self.parts.get("train", {})},
            "baseline": dict(self.parts.get("baseline", {})),
        }


class TimedScoring(Scoring):
    """A SASRec, which can be told times."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**Scoring.sections, "time": TimeConfig}

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        time = self.time(recipe)
        if time.request and not time.history:
            raise ConfigError(
                f"time.request = true without time.history does not suit method {recipe.method!r}: the requests of its "
                "earlier positions are the times of its items; set both"
            )

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        model = super().build(materials, recipe)
        assert isinstance(model, SASRec)
        model.clock = self.time(recipe).clock(model.config.width)
        return model


@dataclass(frozen=True)
class OfNumbers:
    """Builds a model that knows items by their numbers alone."""

    model: Callable[[Ints, BaselineConfig, RowShards | None], SequentialBaseline]

    def __call__(self, materials: Materials, config: BaselineConfig) -> nn.Module:
        return self.model(materials.popularity, config, materials.shards)


def content_sasrec(materials: Materials, config: BaselineConfig) -> ContentSASRec:
    return ContentSASRec(materials.popularity, config, torch.from_numpy(materials.item_vectors))


def two_towers(materials: Materials, config: BaselineConfig) -> TwoTowers:
    return TwoTowers(materials.popularity, config, torch.from_numpy(materials.item_vectors))


_ITEMWISE: Mapping[str, Any] = {
    "batch_size": 2048,
    "lr": 1e-3,
    "warmup_steps": 100,
    "weight_decay": 0.0,
    "clip": 0.0,
    "patience": 10,
}
_FULL: Mapping[str, Any] = {**_ITEMWISE, "batch_size": 1024, "lr": 2e-3, "warmup_steps": 200, "epochs": 30}
_CE = {"baseline": {"loss": "ce"}, "train": _FULL}
_REASONING = {"baseline": {"loss": "ce", "num_heads": 2}, "train": {**_ITEMWISE, "epochs": 60}}
_SASREC = "Kang & McAuley 2018, arXiv 1808.09781"
_REAREC = "Tang et al. 2025, arXiv 2503.22675"

METHODS: dict[str, Method] = {
    "sasrec-towers": Scoring(
        "two SASRecs, one on item numbers, one on vectors too; their mean",
        "ours",
        _CE,
        two_towers,
        scoring.next_items,
        reads_vectors=True,
    ),
    "sasrec-vectors": TimedScoring(
        "SASRec with full cross-entropy, items a free part and their vectors",
        "ours, after Hou et al. 2022, arXiv 2206.05941",
        _CE,
        content_sasrec,
        reads_vectors=True,
    ),
    "sasrec-ce": TimedScoring(
        "SASRec with full cross-entropy",
        f"{_SASREC}; Klenitskiy & Vasilev 2023, arXiv 2309.07602",
        _CE,
        OfNumbers(SASRec),
    ),
    "sasrec-clock": TimedScoring(
        "SASRec with full cross-entropy that is told the hour and the day of the history and of the request",
        f"{_SASREC}; ours",
        {**_CE, "time": {"history": True, "request": True}},
        OfNumbers(SASRec),
    ),
    "sasrec-bce": TimedScoring(
        "SASRec with its own loss, one sampled negative",
        _SASREC,
        {"baseline": {"loss": "bce"}, "train": {**_ITEMWISE, "epochs": 150}},
        OfNumbers(SASRec),
    ),
    "sasrec-sampled": TimedScoring(
        "SASRec with sampled cross-entropy, for large catalogues",
        f"{_SASREC}; Bengio & Senecal 2008",
        {"baseline": {"loss": "sampled", "negatives": 2048}, "train": _FULL},
        OfNumbers(SASRec),
    ),
    "gru4rec": Scoring(
        "a recurrent network",
        "Hidasi et al. 2016, arXiv 1511.06939",
        {"baseline": {"loss": "bce", "num_layers": 1, "inner": 128}, "train": {**_ITEMWISE, "epochs": 150}},
        OfNumbers(GRU4Rec),
    ),
    "caser": Scoring(
        "convolutions over the last five items",
        "Tang & Wang 2018, arXiv 1809.07426",
        {"baseline": {"loss": "bce", "negatives": 2}, "train": {**_ITEMWISE, "epochs": 150, "lr": 5e-4}},
        OfNumbers(Caser),
    ),
    "bert4rec": Scoring(
        "masked items filled in, looking both ways",
        "Sun et al. 2019, arXiv 1904.06690",
        {
            "baseline": {"loss": "ce", "num_heads": 4, "dropout": 0.2, "mask_share": 0.2},
            "train": {**_ITEMWISE, "epochs": 300, "batch_size": 4096, "lr": 5e-3, "weight_decay": 1e-4, "patience": 20},
        },
        OfNumbers(BERT4Rec),
    ),
    "rearec-erl": Scoring(
        "latent reasoning steps behind the history, all of them answer",
        _REAREC,
        _REASONING,
        OfNumbers(partial(ReaRec, ensemble=True)),
        scoring.rearec_erl,
        whole_catalogue=True,
    ),
    "rearec-prl": Scoring(
        "latent reasoning steps behind the history, the last one answers",
        _REAREC,
        _REASONING,
        OfNumbers(partial(ReaRec, ensemble=False)),
        scoring.rearec_prl,
        whole_catalogue=True,
    ),
}

"""THE table: what each method is made of, and the whole recipe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from sidestep.config import Section
from sidestep.data.interactions import Ints
from sidestep.data.sources import DataConfig
from sidestep.data.splits import SplitConfig
from sidestep.errors import did_you_mean
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.fused import Fused, FusionConfig
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.objectives import generating, scoring
from sidestep.objectives.fused import fused as train_both
from sidestep.scorers.bert4rec import BERT4Rec
from sidestep.scorers.caser import Caser
from sidestep.scorers.content import ContentSASRec
from sidestep.scorers.gru4rec import GRU4Rec
from sidestep.scorers.rearec import ReaRec
from sidestep.scorers.sasrec import SASRec
from sidestep.scorers.sequential import BaselineConfig
from sidestep.scorers.towers import TwoTowers
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.tokenizer import TokenizerConfig
from sidestep.training.loop import Objective
from sidestep.training.optim import TrainConfig
from sidestep.vectors.choosing import EmbedConfig
from sidestep.vectors.graph import GraphConfig
from sidestep.vectors.item_vectors import ItemVectors


class EvaluateConfig(Section):
    """How a model is searched and judged.

    num_beams: beams at test; raised to k where it is below. valid_beams, valid_users: the same for the validation
        that picks the epoch, on one fixed sample of users. k: length of the ranked lists. at: the K of the metrics
        that are shown, none above k. batch_size: users at once. precision: of the trained model's projections at test
        and when it recommends; bf16 is faster where the processor has it, and moves near answers past each other.
    """

    num_beams: int = Field(50, ge=1)
    valid_beams: int = Field(20, ge=1)
    valid_users: int = Field(2000, ge=1)
    k: int = Field(20, ge=10)
    at: tuple[Annotated[int, Field(ge=1)], ...] = Field((5, 10), min_length=1)
    batch_size: int = Field(128, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"

    @model_validator(mode="after")
    def _long_enough(self) -> "EvaluateConfig":
        if max(self.at) > self.k:
            raise ValueError(f"at = {max(self.at)} asks for more than the k = {self.k} items that are ranked; raise k")
        return self


class Recipe(Section):
    """Everything that decides a run; a recipe file sets what differs from these defaults."""

    method: str = "s2gr"
    seed: int = Field(0, ge=0, lt=2**20)
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    embed: EmbedConfig = EmbedConfig()
    graph: GraphConfig = GraphConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    generator: GeneratorConfig = GeneratorConfig()
    thinking: ThinkingConfig = ThinkingConfig()
    baseline: BaselineConfig = BaselineConfig()
    fusion: FusionConfig = FusionConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(f"there is no such method{did_you_mean(name, METHODS)}; `sidestep methods` lists them")
        return name

    @model_validator(mode="after")
    def _thoughts_to_teach(self) -> "Recipe":
        if METHODS[self.method].objective is _s2gr and not self.thinking.thoughts:
            raise ValueError(
                f"thinking.thoughts = false leaves method {self.method!r} nothing to supervise; "
                "use method = 's2gr-no-reason'"
            )
        return self

    @model_validator(mode="after")
    def _as_much_to_score_by(self) -> "Recipe":
        reads, shown = self.baseline.max_history, self.generator.max_history
        if METHODS[self.method].kind == "fused" and reads < shown:
            raise ValueError(
                f"baseline.max_history = {reads} is less than generator.max_history = {shown}; a fused model's scorer "
                "reads at least as much"
            )
        return self

    @model_validator(mode="after")
    def _states_to_tell_apart(self) -> "Recipe":
        if METHODS[self.method].objective in (_rearec_erl, _rearec_prl) and self.baseline.loss != "ce":
            raise ValueError(
                f"baseline.loss = {self.baseline.loss!r} does not suit method {self.method!r}, whose losses are over "
                "the whole catalogue; leave it at 'ce'"
            )
        return self


@dataclass(frozen=True)
class Materials:
    """What a run has made by the time a model is built, of its N items.

    popularity: occurrences in training, `[N]`. sids, vectors: None where the method does without them.
    """

    popularity: Ints
    sids: SemanticIds | None = None
    vectors: ItemVectors | None = None

    @property
    def ids(self) -> SemanticIds:
        assert self.sids is not None
        return self.sids


Build = Callable[[Materials, Recipe], nn.Module]
Teach = Callable[[Materials, Recipe], Objective]
Kind = Literal["generator", "baseline", "fused"]


@dataclass(frozen=True)
class Method:
    """A row: what it is, where it stands in the literature, and the parts it is made of.

    parts: recipe values that make the method what it is, laid under the recipe file's own; a baseline's tell how it is
        trained, too.
    kind: a generator says semantic IDs; a baseline scores items by their numbers and needs no IDs; a fused one does
        both.
    uses_vectors: whether the model itself reads the items' vectors, as they are before the graph.
    """

    summary: str
    paper: str
    build: Build
    objective: Teach
    parts: Mapping[str, Mapping[str, Any]]
    kind: Kind = "generator"
    uses_vectors: bool = False

    @property
    def thinks(self) -> bool:
        """Whether its model is one that can think, so that [thinking] counts."""
        return self.build in (_thinking, _fused)

    @property
    def stages(self) -> tuple[str, ...]:
        """What must be done, in order, before the method is trained, and that."""
        if self.kind != "baseline":
            return STAGE_NAMES
        return ("prepare", "embed", "train") if self.uses_vectors else ("prepare", "train")

    @property
    def sections(self) -> set[str]:
        """The sections of the recipe that its training hangs on."""
        own = {
            "generator": {"generator", "thinking"},
            "baseline": {"baseline"},
            "fused": {"generator", "thinking", "baseline", "fusion"},
        }
        return {"split", "train", *own[self.kind]}


STAGE_NAMES = ("prepare", "embed", "propagate", "tokenize", "train")


def _encoder_decoder(materials: Materials, recipe: Recipe) -> nn.Module:
    return EncoderDecoder(materials.ids, recipe.generator)


def _thinking(materials: Materials, recipe: Recipe) -> nn.Module:
    return Thinking(materials.ids, recipe.generator, recipe.thinking)


def _tiger(materials: Materials, recipe: Recipe) -> Objective:
    return partial(generating.tiger, smoothing=recipe.generator.smoothing)


def _s2gr(materials: Materials, recipe: Recipe) -> Objective:
    clusters = [torch.from_numpy(cluster) for cluster in materials.ids.clusters]
    smoothing = recipe.generator.smoothing
    return partial(generating.s2gr, thinking=recipe.thinking, clusters=clusters, smoothing=smoothing)


def _baseline(model: Callable[[Ints, BaselineConfig], nn.Module]) -> Build:
    return lambda materials, recipe: model(materials.popularity, recipe.baseline)


def _content_sasrec(materials: Materials, recipe: Recipe) -> ContentSASRec:
    assert materials.vectors is not None
    return ContentSASRec(materials.popularity, recipe.baseline, torch.from_numpy(materials.vectors.values))


def _towers(materials: Materials, recipe: Recipe) -> TwoTowers:
    assert materials.vectors is not None
    return TwoTowers(materials.popularity, recipe.baseline, torch.from_numpy(materials.vectors.values))


def _fused(materials: Materials, recipe: Recipe) -> nn.Module:
    scorer = _towers(materials, recipe)
    return Fused(materials.ids, recipe.generator, recipe.thinking, scorer, recipe.fusion)


def _both(materials: Materials, recipe: Recipe) -> Objective:
    codes = _s2gr(materials, recipe) if recipe.thinking.thoughts else _tiger(materials, recipe)
    return partial(train_both, codes=codes, baseline=recipe.baseline)


def _next_items(materials: Materials, recipe: Recipe) -> Objective:
    return partial(scoring.next_items, baseline=recipe.baseline)


def _next_item(materials: Materials, recipe: Recipe) -> Objective:
    return partial(scoring.next_item, baseline=recipe.baseline)


def _rearec_erl(materials: Materials, recipe: Recipe) -> Objective:
    return partial(scoring.rearec_erl, baseline=recipe.baseline)


def _rearec_prl(materials: Materials, recipe: Recipe) -> Objective:
    return partial(scoring.rearec_prl, baseline=recipe.baseline)


_PLAIN: Mapping[str, Mapping[str, Any]] = {"tokenizer": {"kind": "rq-vae", "epochs": 60}, "graph": {"enabled": False}}
_COBA: Mapping[str, Mapping[str, Any]] = {"tokenizer": {"kind": "coba-rq-vae"}, "graph": {"enabled": True}}


def _s2gr_with(summary: str, **thinking: Any) -> Method:
    """S2GR with other settings of its thoughts."""
    return Method(summary, f"{_S2GR}; ours", _thinking, _s2gr, {**_COBA, "thinking": thinking})


_ITEMWISE: Mapping[str, Any] = {
    "batch_size": 2048,
    "lr": 1e-3,
    "warmup_steps": 100,
    "weight_decay": 0.0,
    "clip": 0.0,
    "patience": 10,
}
_FULL: Mapping[str, Any] = {**_ITEMWISE, "batch_size": 1024, "lr": 2e-3, "warmup_steps": 200, "epochs": 30}
_SASREC = "Kang & McAuley 2018, arXiv 1808.09781"
_REAREC = "Tang et al. 2025, arXiv 2503.22675"
_TIGER = "Rajput et al. 2023, arXiv 2305.05065"
_S2GR = "Guo et al. 2026, arXiv 2601.18664"

METHODS: dict[str, Method] = {
    "tiger": Method(
        "three codes of a plain RQ-VAE, no thoughts", f"{_TIGER}, sec. 3", _encoder_decoder, _tiger, _PLAIN
    ),
    "s2gr": Method("a supervised thought before each code", f"{_S2GR}, sec. 4", _thinking, _s2gr, _COBA),
    "s2gr-no-coba": Method("S2GR on a plain RQ-VAE", f"{_S2GR}, table 2", _thinking, _s2gr, _PLAIN),
    "s2gr-no-reason": Method("CoBa codes, no thoughts", f"{_S2GR}, table 2", _encoder_decoder, _tiger, _COBA),
    "s2gr-no-think-loss": Method("thoughts without supervision", f"{_S2GR}, table 2", _thinking, _tiger, _COBA),
    "tiger-4": Method(
        "TIGER with a fourth code that tells items of one ID apart",
        f"{_TIGER}, sec. 3.1",
        _encoder_decoder,
        _tiger,
        {**_PLAIN, "tokenizer": {**_PLAIN["tokenizer"], "collisions": "extra"}},
    ),
    "s2gr-no-interest": _s2gr_with("no vector of the whole interest: without eqs 19-21", interest=False),
    "s2gr-codebook": _s2gr_with(
        "eq. 18 to the letter: centroids are those of the frozen codebook", centroids="codebook"
    ),
    "s2gr-projected": _s2gr_with("the same centroids through a learnt linear map", centroids="projected"),
    "s2gr-front": _s2gr_with("all thoughts before the first code", placement="front"),
    "s2gr-misaligned": _s2gr_with("a control: thoughts taught to name shuffled clusters", clusters="shuffled"),
    "s2gr-latent": Method(
        "two thoughts before each code, none of them taught",
        "ours",
        _thinking,
        _tiger,
        {**_COBA, "thinking": {"per_level": 2, "interest": False}},
    ),
    "s2gr-fused": Method(
        "S2GR with an item-level scorer beside it",
        "ours; S2GR eq. 19 trains an interest vector and drops it",
        _fused,
        _both,
        {**_COBA, "baseline": {"loss": "ce"}},
        "fused",
        uses_vectors=True,
    ),
    "sasrec-towers": Method(
        "two SASRecs, one on item numbers, one on vectors too; their mean",
        "ours",
        _towers,
        _next_items,
        {"baseline": {"loss": "ce"}, "train": _FULL},
        "baseline",
        uses_vectors=True,
    ),
    "sasrec-vectors": Method(
        "SASRec with full cross-entropy, items a free part and their vectors",
        "ours, after Hou et al. 2022, arXiv 2206.05941",
        _content_sasrec,
        _next_item,
        {"baseline": {"loss": "ce"}, "train": _FULL},
        "baseline",
        uses_vectors=True,
    ),
    "sasrec-ce": Method(
        "SASRec with full cross-entropy",
        f"{_SASREC}; Klenitskiy & Vasilev 2023, arXiv 2309.07602",
        _baseline(SASRec),
        _next_item,
        {"baseline": {"loss": "ce"}, "train": _FULL},
        "baseline",
    ),
    "sasrec-bce": Method(
        "SASRec with its own loss, one sampled negative",
        _SASREC,
        _baseline(SASRec),
        _next_item,
        {"baseline": {"loss": "bce"}, "train": {**_ITEMWISE, "epochs": 150}},
        "baseline",
    ),
    "sasrec-sampled": Method(
        "SASRec with sampled cross-entropy, for large catalogues",
        f"{_SASREC}; Bengio & Senecal 2008",
        _baseline(SASRec),
        _next_item,
        {"baseline": {"loss": "sampled", "negatives": 2048}, "train": _FULL},
        "baseline",
    ),
    "gru4rec": Method(
        "a recurrent network",
        "Hidasi et al. 2016, arXiv 1511.06939",
        _baseline(GRU4Rec),
        _next_item,
        {"baseline": {"loss": "bce", "num_layers": 1, "inner": 128}, "train": {**_ITEMWISE, "epochs": 150}},
        "baseline",
    ),
    "caser": Method(
        "convolutions over the last five items",
        "Tang & Wang 2018, arXiv 1809.07426",
        _baseline(Caser),
        _next_item,
        {"baseline": {"loss": "bce", "negatives": 2}, "train": {**_ITEMWISE, "epochs": 150, "lr": 5e-4}},
        "baseline",
    ),
    "bert4rec": Method(
        "masked items filled in, looking both ways",
        "Sun et al. 2019, arXiv 1904.06690",
        _baseline(BERT4Rec),
        _next_item,
        {
            "baseline": {"loss": "ce", "num_heads": 4, "dropout": 0.2, "mask_share": 0.2},
            "train": {**_ITEMWISE, "epochs": 300, "batch_size": 4096, "lr": 5e-3, "weight_decay": 1e-4, "patience": 20},
        },
        "baseline",
    ),
    "rearec-erl": Method(
        "latent reasoning steps behind the history, all of them answer",
        _REAREC,
        _baseline(partial(ReaRec, ensemble=True)),
        _rearec_erl,
        {"baseline": {"loss": "ce", "num_heads": 2}, "train": {**_ITEMWISE, "epochs": 60}},
        "baseline",
    ),
    "rearec-prl": Method(
        "latent reasoning steps behind the history, the last one answers",
        _REAREC,
        _baseline(partial(ReaRec, ensemble=False)),
        _rearec_prl,
        {"baseline": {"loss": "ce", "num_heads": 2}, "train": {**_ITEMWISE, "epochs": 60}},
        "baseline",
    ),
}
NON_NEURAL = ("popularity", "item-knn", "item-knn-recent")
"""Baselines without training, in every evaluation. In the last one an item counts half as much as the one after it."""


def with_parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values over the parts of its method."""
    method = METHODS.get(str(values.get("method", Recipe.model_fields["method"].default)))
    merged: dict[str, Any] = dict(values)
    for section, parts in (method.parts if method else {}).items():
        own = values.get(section, {})
        merged[section] = {**parts, **own} if isinstance(own, Mapping) else own
    return merged


def rows() -> Sequence[tuple[str, str, str]]:
    """Name, summary and paper of every method."""
    return [(name, method.summary, method.paper) for name, method in METHODS.items()]

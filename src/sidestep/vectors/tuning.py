"""Vectors that learn from behaviour: a map of the items' own vectors, tuned on pairs that users make."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import HomePath, Section
from sidestep.data.catalog import Catalog
from sidestep.data.labels import labels
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError, DataError
from sidestep.vectors.denoise import Denoiser, Filter, at_random, by_category, by_lift, by_text, by_users, kept
from sidestep.vectors.graph import Graph, spectral_vectors
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.pairs import Pairs, cooccurring, swing, together, u2i

PairKind = Literal["swing", "cooccurring", "u2i"]
BEHAVIOUR_WIDTH = 64
"""Of the spectral vectors that say which earlier item is most like a target."""


OF_KIND: Mapping[str, Mapping[str, Any]] = {
    "encoder": {"steps": 40, "batch_size": 128, "lr": 1e-4},
    "lm": {"steps": 200, "batch_size": 16, "lr": 1e-4, "rank": 16},
}
"""Defaults of a kind where they are not those of all."""


_KEYS_OF = {
    ("model", "tokens"): ("encoder", "lm"),
    ("layers",): ("encoder",),
    ("emb_tokens", "qa", "qa_path", "qa_weight", "qa_tokens", "anneal", "at_once"): ("lm",),
}


class TuneConfig(Section):
    """Item vectors tuned on pairs of items that belong together for users (QARM V2, arXiv 2602.08559).

    kind: "none"; "map", a linear map of the vectors, which starts as the identity; "encoder", the last layers of a
        text model, whose vectors of the items' texts take the place of others; or "lm", a causal language model, whose
        vectors do likewise. New items go through it, too.
    pairs: where pairs come from, each kind with the same share: "swing"; "cooccurring", all items of a history; or
        "u2i", a target with the most similar item before it. Training interactions only.
    denoise, drop: a filter of the pairs, and the share of lowest scores that it drops: by "users" in common,
        "popularity" (lift), cosine of the vectors before tuning ("text"), shared categories ("category"), or what a
        language model says of their texts ("llm"); "random" is the control.
    judge: of denoise = "llm", the model that is asked: a local folder, "smollm2", or the name that a server calls it
        by. judge_endpoint: the address of that server, with OpenAI's interface; without it the model runs here.
        key_env: the environment variable with the server's key. parallel: requests at once. judged: the file that keeps
        what was said; the run's own by default.
    tau: temperature. steps, batch_size, lr: of the training; with 0 steps, vectors stay as they are. An encoder has 40
        steps of 128 pairs at 1e-4, a language model 200 of 16.
    rank: of the difference between the map and the identity; 0 for a full matrix. Of a language model, of the matrices
        that are trained in its linear maps (16); 0 trains all of it.
    model: a local folder; none is all-MiniLM-L6-v2 for an encoder, and SmolLM2-135M for a language model, both from the
        package index.
    layers: of the encoder, the number of its last layers that are tuned. tokens: longer texts are cut.
    emb_tokens: of the language model, the places behind a text whose mean state is its vector.
    qa, qa_path, qa_weight: what the language model learns to say from an item's vector: "templates" asks about the
        catalogue's columns, a file of JSON lines with item, question and answer takes their place, "none" asks nothing;
        and its weight beside the contrast.
    qa_tokens: longer questions and answers are cut. anneal: the share of the steps in which they still see the item,
        less and less.
    at_once: texts of a language model in memory at once; a larger batch is read in parts.
    fewest: with fewer pairs, nothing is tuned and the run is refused.
    """

    idle = frozenset({"key_env", "parallel", "judged"})

    kind: Literal["none", "map", "encoder", "lm"] = "none"
    pairs: tuple[PairKind, ...] = Field(("swing",), min_length=1)
    denoise: Filter = "none"
    drop: float = Field(0.0, ge=0, lt=1)
    judge: str = ""
    judge_endpoint: str = ""
    key_env: str = "OPENAI_API_KEY"
    parallel: int = Field(8, ge=1)
    judged: HomePath | None = None
    tau: float = Field(0.05, gt=0)
    steps: int = Field(1_000, ge=0)
    batch_size: int = Field(512, ge=2)
    lr: float = Field(1e-3, gt=0)
    rank: int = Field(0, ge=0)
    fewest: int = Field(1_000, ge=1)
    model: str | None = None
    layers: int = Field(2, ge=1)
    tokens: int = Field(40, ge=2)
    emb_tokens: int = Field(3, ge=1)
    qa: Literal["none", "templates"] = "templates"
    qa_path: HomePath | None = None
    qa_weight: float = Field(1.0, ge=0)
    qa_tokens: int = Field(64, ge=1)
    anneal: float = Field(0.5, ge=0, le=1)
    at_once: int = Field(8, ge=1)

    @property
    def reads_texts(self) -> bool:
        """Whether what is tuned reads texts instead of vectors."""
        return self.kind in ("encoder", "lm")

    @property
    def uses_graph(self) -> bool:
        """Whether the co-occurrence graph is needed."""
        return "u2i" in self.pairs

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, values: Any) -> Any:
        return {**OF_KIND.get(str(values.get("kind")), {}), **values} if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _consistent(self) -> "TuneConfig":
        if self.rank and self.kind == "encoder":
            raise ValueError(f"rank = {self.rank} is of a map, and kind = {self.kind!r} has none; leave it out")
        for names, kinds in _KEYS_OF.items():
            given = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
            if given and self.kind not in kinds:
                are, them = ("is", "it") if len(given) == 1 else ("are", "them")
                raise ValueError(
                    f"{' and '.join(given)} {are} of kind = {' or '.join(map(repr, kinds))}, not of {self.kind!r}; "
                    f"leave {them} out"
                )
        if (self.denoise == "none") != (self.drop == 0):
            raise ValueError(
                f"denoise = {self.denoise!r} and drop = {self.drop:g} contradict each other: a filter drops a share of "
                "the pairs, as in denoise = 'popularity' with drop = 0.3"
            )
        return self

    @model_validator(mode="after")
    def _a_judge_can_be_asked(self) -> "TuneConfig":
        if self.denoise == "llm" and not self.judge:
            raise ValueError(
                "denoise = 'llm' asks a model without a name; set judge to a local folder, or to the model that "
                "judge_endpoint serves"
            )
        if self.denoise != "llm" and (self.judge or self.judge_endpoint or self.judged):
            raise ValueError(f"judge is of denoise = 'llm', not of {self.denoise!r}; leave it out")
        return self


class VectorMap(nn.Module):
    """A linear map of vectors `[n, D]` that keeps their lengths: `x -> |x| unit(W x)`, with W = I at the start.

    rank: 0 for a free W; otherwise W = I + B A with A `[rank, D]` and B `[D, rank]`.
    """

    def __init__(self, width: int, rank: int = 0) -> None:
        super().__init__()
        self.inner = nn.Linear(width, rank, bias=False) if rank else None
        self.outer = nn.Linear(rank or width, width, bias=False)
        with torch.no_grad():
            self.outer.weight.copy_(torch.zeros(width, rank) if rank else torch.eye(width))

    def forward(self, vectors: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        mapped = self.outer(vectors) if self.inner is None else vectors + self.outer(self.inner(vectors))
        return F.normalize(mapped, dim=1) * vectors.norm(dim=1, keepdim=True)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "VectorMap":
        """The map with these weights."""
        width, inner = weights["outer.weight"].shape
        model = cls(width, inner if "inner.weight" in weights else 0)
        model.load_state_dict(dict(weights))
        return model.eval()

    def apply_to(self, vectors: ItemVectors) -> ItemVectors:
        """The vectors of any items after the map.

        Raises:
            DataError: vectors of another width.
        """
        if vectors.width != self.outer.out_features:
            raise DataError(
                f"The vectors have {vectors.width} dimensions, and the map was tuned for {self.outer.out_features}; "
                "give vectors of the encoder that the run used"
            )
        with torch.no_grad():
            return ItemVectors(self(torch.from_numpy(vectors.values)).numpy())


def training_pairs(
    train: TrainingInteractions,
    catalog: Catalog,
    vectors: ItemVectors,
    config: TuneConfig,
    seed: int,
    graph: Graph | None = None,
    judge: Denoiser | None = None,
) -> Pairs:
    """The pairs to tune on, after the filter.

    graph: of co-occurrence, whose spectral vectors say what is alike for "u2i"; no other kind of pairs needs it. judge:
    the filter that a configuration by a language model names; no other needs it.

    Raises:
        DataError: too few of them. ConfigError: a filter by categories over a catalogue without any.
    """
    num_items = len(catalog)
    groups = []
    for kind in dict.fromkeys(config.pairs):
        if kind == "u2i":
            assert graph is not None
            groups.append(u2i(train, spectral_vectors(graph, BEHAVIOUR_WIDTH, seed).values))
        else:
            groups.append((swing if kind == "swing" else cooccurring)(train, num_items))
    pairs = together(groups, num_items)
    if config.denoise != "none":
        denoiser = judge or _denoiser(config.denoise, train, catalog, vectors, seed)
        pairs = kept(pairs, denoiser, config.drop, seed)
    if len(pairs) < config.fewest:
        raise DataError(
            f"Training interactions make {len(pairs):,} pairs of items (tune.pairs = {', '.join(config.pairs)}), too "
            f"few to tune vectors on: expected {config.fewest:,} or more; use tune.pairs=cooccurring, drop fewer, "
            "lower tune.fewest, or set tune.kind=none"
        )
    return pairs


def _denoiser(kind: Filter, train: TrainingInteractions, catalog: Catalog, vectors: ItemVectors, seed: int) -> Denoiser:
    if kind == "users":
        return by_users(train, len(catalog))
    if kind == "popularity":
        return by_lift(train, len(catalog))
    if kind == "text":
        return by_text(vectors.values)
    if kind == "random":
        return at_random(seed)
    categories = labels(catalog, "category")
    if categories is None or not any(categories):
        raise ConfigError("tune.denoise = 'category' needs a column of categories, and the catalogue has none")
    return by_category(categories)

"""Vectors that learn from behaviour: a map of the items' own vectors, tuned on pairs that users make."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import Section
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


OF_KIND: Mapping[str, Mapping[str, Any]] = {"encoder": {"steps": 40, "batch_size": 128, "lr": 1e-4}}
"""Defaults of a kind where they are not those of all."""


class TuneConfig(Section):
    """Item vectors tuned on pairs of items that belong together for users (QARM V2, arXiv 2602.08559).

    kind: "none"; "map", a linear map of the vectors, which starts as the identity; or "encoder", the last layers of a
        text model, whose vectors of the items' texts take the place of others. New items go through it, too.
    pairs: where pairs come from, each kind with the same share: "swing"; "cooccurring", all items of a history; or
        "u2i", a target with the most similar item before it. Training interactions only.
    denoise, drop: a filter of the pairs, and the share of lowest scores that it drops: by "users" in common,
        "popularity" (lift), cosine of the vectors before tuning ("text"), or shared categories ("category"); "random"
        is the control.
    tau: temperature. steps, batch_size, lr: of the training; with 0 steps, vectors stay as they are. An encoder has 40
        steps of 128 pairs at 1e-4.
    rank: of the difference between the map and the identity; 0 for a full matrix.
    model: of the encoder, a local folder; none is all-MiniLM-L6-v2 from the package index.
    layers: of the encoder, the number of its last layers that are tuned. tokens: longer texts are cut.
    fewest: with fewer pairs, nothing is tuned and the run is refused.
    """

    kind: Literal["none", "map", "encoder"] = "none"
    pairs: tuple[PairKind, ...] = Field(("swing",), min_length=1)
    denoise: Filter = "none"
    drop: float = Field(0.0, ge=0, lt=1)
    tau: float = Field(0.05, gt=0)
    steps: int = Field(1_000, ge=0)
    batch_size: int = Field(512, ge=2)
    lr: float = Field(1e-3, gt=0)
    rank: int = Field(0, ge=0)
    fewest: int = Field(1_000, ge=1)
    model: str | None = None
    layers: int = Field(2, ge=1)
    tokens: int = Field(40, ge=2)

    @property
    def reads_texts(self) -> bool:
        """Whether what is tuned reads texts instead of vectors."""
        return self.kind == "encoder"

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
        if self.rank and self.reads_texts:
            raise ValueError(f"rank = {self.rank} is of a map, and kind = {self.kind!r} has none; leave it out")
        if not self.reads_texts and (self.model is not None or self.layers != 2 or self.tokens != 40):
            raise ValueError(f"model, layers and tokens are of kind = 'encoder', not of {self.kind!r}; leave them out")
        if (self.denoise == "none") != (self.drop == 0):
            raise ValueError(
                f"denoise = {self.denoise!r} and drop = {self.drop:g} contradict each other: a filter drops a share of "
                "the pairs, as in denoise = 'popularity' with drop = 0.3"
            )
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
) -> Pairs:
    """The pairs to tune on, after the filter.

    graph: of co-occurrence, whose spectral vectors say what is alike for "u2i"; no other kind of pairs needs it.

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
        pairs = kept(pairs, _denoiser(config.denoise, train, catalog, vectors, seed), config.drop, seed)
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

"""The settings of a tokenizer."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sidestep.config import HomePath, Section
from sidestep.sids.collisions import Collisions
from sidestep.sids.kinds import END_TO_END, TRAINED, Kind
from sidestep.sids.labels import AUTO


class UnifiedConfig(Section):
    """How kind "unisid" (UniSID, arXiv 2602.10445) gives an item its codes, and what teaches it.

    encoder: "tokens", a causal transformer over an item's vector, its categories and brand, a query for each level and
        one for the embedding; or "mlp", one network whose output all levels read.
    width, layers: dimensions of a query's output, and blocks of the transformer.
    levels: what makes two items alike at each level: "categories" (the whole path), "categories:n" (its first n steps),
        "brand", another column, several joined by "+", or "item", two noisy views of one item. "auto" is the item at
        the last level, whole categories before it, and shorter paths further up.
    images: a Parquet file, beside the data or in the working directory, with a vector of the image of each `item_id`;
        items may be missing.
    hide, noise: in training, the probability that categories and brand are hidden (1 never reads them), the same for
        images, and noise of the vector in standard deviations.
    tau: temperature of the contrasts. embed_weight: of the contrast of an item's embedding and a co-purchased one's.
    rec, rec_weight: reconstruction of the words of title, categories and brand, from the queries' outputs ("words") or
        through the codes ("codes", a control), and its weight.
    balance: weight of the divergence of the mean softmax of each level from uniform.
    turn: number of first levels whose logits are turned after the training, which changes no loss: their codes then
        agree with the classes. More levels agree more, with each other too, and more items share an ID.
    sinkhorn: smoothing of the balanced assignment in standard deviations of the logits; 0 takes the largest logit.
    """

    encoder: Literal["tokens", "mlp"] = "tokens"
    width: int = Field(128, ge=4)
    layers: int = Field(2, ge=1)
    levels: tuple[str, ...] = Field((AUTO,), min_length=1)
    images: HomePath | None = None
    hide: float = Field(0.3, ge=0, le=1)
    noise: float = Field(0.35, ge=0)
    tau: float = Field(0.07, gt=0)
    embed_weight: float = Field(1.0, ge=0)
    rec: Literal["words", "codes"] = "words"
    rec_weight: float = Field(0.1, ge=0)
    balance: float = Field(0.0, ge=0)
    turn: int = Field(1, ge=0)
    sinkhorn: float = Field(0.05, ge=0)


OF_KIND: Mapping[str, Mapping[str, Any]] = {END_TO_END: {"collisions": "nearest", "epochs": 20, "batch_size": 512}}
"""Defaults of a kind where they are not those of all."""


class TokenizerConfig(Section):
    """Settings of the tokenizer, which gives items their semantic IDs.

    kind: trained: rq-vae (TIGER), coba-rq-vae (S2GR: the same with the uniformity loss and the load-balanced
        assignment), unisid (UniSID: an encoder gives the codes itself, see [tokenizer.unified]). Fitted on the vectors
        themselves: rq-kmeans, res-kmeans-fsq (QARM V2: the last level is bits), pq and opq (blocks of dimensions,
        without hierarchy: the control). Plug-ins add further ones, see `sids/kinds.py`.
    num_levels: codes of an ID. codebook_size: number of codes of each level, one number for all levels or one for each;
        with fewer distinct vectors, a level has as many codes as there are distinct vectors.
    train_items: number of items, drawn at random, to learn from; 0 takes all. Every item gets an ID in any case.
    random_levels: number of last levels whose codes are drawn from those unused under the same prefix (GR2).
    collisions: treatment of items that share an ID: "keep" (ranking expands the ID), an "extra" code (TIGER), or move
        all but one to the "nearest" free path, which is the default of unisid.
    num_clusters: clusters of each level's codes, which thoughts are aligned with (eq. 18); "auto" chooses by level.
    clusters: "balanced" gives all clusters the same number of codes, "plain" is the paper's k-means.
    size_balanced: rq-kmeans and res-kmeans-fsq only: clusters of equal size while fitting.
    learnt_bits: res-kmeans-fsq only: learn the bits' directions by gradient instead of PCA and ITQ; "mlp" with a hidden
        layer before them.
    one_hot: length, beside vectors of length 1, of a one-hot of the whole category; 0 leaves it out. A control of
        unisid, which is told categories.

    The remaining settings belong to the trained kinds.
    code_width, hidden: dimensions of a codeword and of the encoder's hidden layers; the decoder mirrors them.
    commitment: weight of ||r - sg(e)||^2 against ||e - sg(r)||^2 in eq. 9. S2GR has 1, TIGER 0.25.
    uniformity: weight of eq. 12. dmax: delta_max of eq. 13. Only coba-rq-vae has these two.
    codebooks: how codewords learn, by gradient or as moving averages (ema). ema_decay: of these averages.
    estimator: gradient estimator of the quantiser. start: codewords from k-means, or at random.
    dead_codes: "revive" every epoch the codes that are nearest to no item; "reset" those that were idle for
        `idle_batches` to the batch's input of largest error (GR2); or "leave" them. idle_batches: see there.
    diversity, contrastive: weights of GR2's losses; the second needs the co-occurrence graph.
    epochs, batch_size, lr, weight_decay, warmup_steps: of the training. With more epochs, CoBa trades ICR for purity.
        Batches of a small catalogue are smaller; see `VectorBatches`. unisid has 20 epochs and batches of 512 items.
    """

    kind: Kind = "coba-rq-vae"
    num_levels: int = Field(3, ge=1, le=10)
    codebook_size: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] = 256
    train_items: int = Field(0, ge=0)
    random_levels: int = Field(0, ge=0)
    collisions: Collisions = "keep"
    num_clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = 32
    clusters: Literal["balanced", "plain"] = "balanced"
    size_balanced: bool = False
    learnt_bits: bool | Literal["mlp"] = False
    code_width: int = Field(32, ge=1)
    hidden: tuple[int, ...] = (512, 256, 128)
    commitment: float = Field(1.0, ge=0)
    uniformity: float = Field(0.1, ge=0)
    dmax: float = Field(0.2, ge=0, lt=1)
    codebooks: Literal["gradient", "ema"] = "gradient"
    ema_decay: float = Field(0.99, ge=0, lt=1)
    estimator: Literal["straight-through", "rotation"] = "straight-through"
    start: Literal["kmeans", "random"] = "kmeans"
    dead_codes: Literal["revive", "reset", "leave"] = "revive"
    idle_batches: int = Field(20, ge=1)
    diversity: float = Field(0.0, ge=0)
    contrastive: float = Field(0.0, ge=0)
    epochs: int = Field(40, ge=1)
    batch_size: int = Field(1024, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(50, ge=0)
    one_hot: float = Field(0.0, ge=0)
    unified: UnifiedConfig = UnifiedConfig()

    @property
    def trained(self) -> bool:
        """Whether the kind is a quantiser behind an encoder that is trained with it."""
        return self.kind in TRAINED

    @property
    def end_to_end(self) -> bool:
        """Whether an encoder gives the codes itself."""
        return self.kind == END_TO_END

    @property
    def uses_interactions(self) -> bool:
        """Whether the interactions are needed: for partners, and for the most popular item of a shared ID."""
        return self.uses_partners or self.collisions != "keep"

    @property
    def uses_partners(self) -> bool:
        """Whether items are trained beside those they co-occur with."""
        return self.unified.embed_weight > 0 if self.end_to_end else self.contrastive > 0

    @property
    def uses_labels(self) -> bool:
        """Whether the catalogue's labels are needed beside the vectors."""
        return self.end_to_end or self.one_hot > 0

    @property
    def num_learnt(self) -> int:
        """Levels that are learnt and not drawn."""
        return self.num_levels - self.random_levels

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes at each level, as configured."""
        size = self.codebook_size
        return size if isinstance(size, tuple) else (size,) * self.num_levels

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, values: Any) -> Any:
        return {**OF_KIND.get(str(values.get("kind")), {}), **values} if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _consistent(self) -> "TokenizerConfig":
        if len(self.sizes) != self.num_levels:
            raise ValueError(
                f"codebook_size names {len(self.sizes)} levels and num_levels = {self.num_levels}; make them agree"
            )
        if self.random_levels >= self.num_levels:
            raise ValueError(
                f"random_levels = {self.random_levels} of num_levels = {self.num_levels} leaves no level to learn"
            )
        if math.prod(self.sizes[self.num_levels - self.random_levels :]) >= 2**62:
            raise ValueError(
                f"random_levels = {self.random_levels} has too many paths to draw from; 7 of 256 are enough"
            )
        if self.kind == "coba-rq-vae" and self.codebooks == "ema" and self.uniformity:
            raise ValueError(
                "the uniformity loss moves codewords by gradient, and with codebooks = 'ema' they have none; set "
                "uniformity = 0, or codebooks = 'gradient'"
            )
        if self.random_levels and self.collisions == "nearest":
            raise ValueError(
                "random_levels and collisions = 'nearest' both separate items that share a prefix, at random and by "
                "distance; use only one of them"
            )
        bits = self.sizes[self.num_levels - self.random_levels - 1]
        if self.kind == "res-kmeans-fsq" and bits & (bits - 1):
            raise ValueError(f"the last level of res-kmeans-fsq is bits: its size must be a power of 2, not {bits}")
        taught = self.unified.levels
        if self.end_to_end and taught != (AUTO,) and len(taught) != self.num_learnt:
            raise ValueError(
                f"unified.levels names {len(taught)} levels, and {self.num_learnt} are learnt (num_levels - "
                "random_levels); name as many, or set unified.levels = ['auto']"
            )
        self._refuse_unused_options()
        return self

    def _refuse_unused_options(self) -> None:
        """Refuse options that this kind would silently ignore. (Widths and training steps are accepted, since a recipe
        keeps them for every kind it is run with.)
        """
        own = dict.fromkeys(_OF_TRAINED, self.trained)
        own["uniformity"] = own["dmax"] = self.kind == "coba-rq-vae"
        own["ema_decay"] = self.codebooks == "ema"
        own["idle_batches"] = self.dead_codes == "reset"
        own["size_balanced"] = self.kind in ("rq-kmeans", "res-kmeans-fsq")
        own["learnt_bits"] = self.kind == "res-kmeans-fsq"
        own["unified"], own["one_hot"] = self.end_to_end, not self.end_to_end
        for name, belongs in own.items():
            value = getattr(self, name)
            if not belongs and value != type(self).model_fields[name].default:
                shown = f"[tokenizer.{name}]" if isinstance(value, Section) else f"{name} = {value!r}"
                raise ValueError(f"{shown} has no effect with {self._reason(name)}; leave it out")

    def _reason(self, name: str) -> str:
        needed = {"ema_decay": "codebooks", "idle_batches": "dead_codes"}.get(name, "kind")
        return f"{needed} = {getattr(self, needed)!r}"


_OF_TRAINED = ("codebooks", "estimator", "start", "dead_codes", "diversity", "contrastive")

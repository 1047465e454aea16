"""Requests and responses of the HTTP API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]

At = Annotated[int, Field(strict=True, ge=-(10**15), le=10**15)] | Annotated[str, StringConstraints(max_length=64)]

Iso = Annotated[str, StringConstraints(min_length=1, max_length=64)]

MAX_HISTORY, MAX_LISTED, MAX_NAMES = 1_000, 10_000, 100
"""Maximum length of a request's history, of its lists of items, and of its lists of categories or sets."""
MAX_REQUESTS, MAX_EVENTS = 64, 1_000
MAX_K, MAX_BEAMS = 100, 200


class Strict(BaseModel):
    """A model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class HistoryItem(Strict):
    item_id: Id
    time: Annotated[float, Field(ge=-1e11, le=1e11)] | Iso | None = Field(
        None, description="Seconds since 1970, or ISO 8601. If all items have a time, they are sorted by it."
    )


class Range(Strict):
    """Numbers from min to max, both included; one of them may be left out."""

    min: float | None = None
    max: float | None = None


Value = bool | float | Annotated[str, StringConstraints(max_length=512)]


class Filters(Strict):
    """The items that may be recommended: of any of the categories, in every one of the sets, meeting every condition,
    and not excluded.
    """

    exclude_seen: bool = Field(True, description="Exclude the items of the history.")
    allow: list[Id] | None = Field(None, max_length=MAX_LISTED, description="Only these items.")
    deny: list[Id] = Field([], max_length=MAX_LISTED, description="None of these items.")
    categories: list[Name] | None = Field(
        None, max_length=MAX_NAMES, description="Categories, or prefixes of their paths: 'Beauty > Makeup'."
    )
    sets: list[Name] = Field([], max_length=MAX_NAMES, description="Named sets of the server, such as in-stock.")
    where: dict[Name, Range | Value | Annotated[list[Value], Field(max_length=MAX_NAMES)]] = Field(
        {},
        max_length=MAX_NAMES,
        description="Conditions on the catalogue's columns: a value, a list of values, or {'min': 5, 'max': 20}.",
    )

    @property
    def conditions(self) -> dict[str, Any]:
        return {name: each.model_dump() if isinstance(each, Range) else each for name, each in self.where.items()}


class RecommendRequest(Strict):
    model: Name | None = None
    history: list[Id | HistoryItem] | None = Field(None, max_length=MAX_HISTORY, description="Oldest first.")
    user_id: Id | None = Field(None, description="A user with stored events, instead of a history.")
    at: At | None = Field(
        None,
        description="When the answer is wanted: ISO 8601 (UTC where no zone is named), or milliseconds since 1970. "
        "Unknown where it is not given; models that read no times answer the same.",
    )
    k: int = Field(10, ge=1, le=MAX_K, strict=True)
    beams: int | None = Field(None, ge=1, le=MAX_BEAMS, strict=True, description="The search uses at least k beams.")
    filters: Filters = Filters()
    explain: bool = Field(False, description="Return the path of every recommendation.")
    deadline_ms: int | None = Field(None, ge=1, le=60_000, strict=True)

    @model_validator(mode="after")
    def _one_history(self) -> "RecommendRequest":
        if self.history is not None and self.user_id is not None:
            raise ValueError("both history and user_id are given; expected one of them, or neither")
        return self


class BatchRequest(Strict):
    requests: list[RecommendRequest] = Field(min_length=1, max_length=MAX_REQUESTS)


class Card(BaseModel):
    item_id: str
    title: str
    category: str | None


class NamedCluster(BaseModel):
    """name, num_items: of what the cluster leaves of the items that the codes before it allow."""

    cluster: int
    name: str
    probability: float
    num_items: int


class ThinksOf(BaseModel):
    """What a thought holds likely: the fewest clusters with half of its probability, of that of all clusters that leave
    any of the items that the codes before it allow.

    name: of what they leave of these items; null where that is half of them or more, so that the thought is undecided.
    probability: theirs. num_items: how many items they leave. clusters: their numbers, most likely first. possible: how
    many clusters leave any.
    """

    name: str | None
    probability: float
    num_items: int
    clusters: list[int]
    possible: int


class Step(BaseModel):
    """One level of a path. thought: the clusters nearest to the thought, in order; empty for a model without thoughts.
    thinks_of: what the thought holds likely; null without thoughts, or if the bundle is of an older release.

    looked_up: the items before the model's window that it read before it took the code, the last first.
    probability: of the code, given those before it. name, num_items: of what it leaves of the items that the codes
    before it allow. decides: false where it leaves all of them.
    """

    level: int
    code: int
    probability: float
    name: str
    num_items: int
    decides: bool
    thought: list[NamedCluster]
    thinks_of: ThinksOf | None = None
    looked_up: list[Card] = []


class Recommendation(Card):
    score: float = Field(description="Comparable within one response only.")
    path: list[Step] | None = None
    reasons: list[str] | None = Field(None, description="Why a second look put it at its place.")


class RecommendResponse(BaseModel):
    """by: the source of the items; popularity if the history has no known item. unknown: ids that were skipped."""

    model: str
    bundle: str
    by: Literal["model", "popularity"]
    history: list[Card]
    unknown: list[str]
    recommendations: list[Recommendation]


class ErrorBody(BaseModel):
    code: str
    message: str


class ErrorResponse(BaseModel):
    error: ErrorBody


class BatchResponse(BaseModel):
    responses: list[RecommendResponse]


class ReadsInfo(BaseModel):
    """recent: the last items of a history. long: items before these. times: whether it reads when they were taken."""

    recent: int
    long: int
    times: bool


class ModelInfo(BaseModel):
    name: str
    method: str
    bundle: str
    num_items: int
    num_levels: int
    codebook_sizes: list[int]
    thinks: bool
    reads: ReadsInfo = Field(description="What the model reads of a history.")
    max_history: int = Field(description="As reads.recent.")
    beams: int | None
    version: int = Field(description="Of the catalogue and its semantic IDs.")
    slice: int | None = Field(
        description="Where IDs follow content: when the last slice of time begins, in milliseconds since 1970."
    )


class ModelsResponse(BaseModel):
    models: list[ModelInfo]
    default: str


class ItemsResponse(BaseModel):
    items: list[Card]


class ItemResponse(Card):
    popularity: int = Field(description="Occurrences in training.")
    semantic_id: list[int] | None
    fields: dict[str, Any]


class Neighbour(Card):
    shared: int = Field(description="Length of the common prefix in codes.")


class SemanticIdResponse(BaseModel):
    item_id: str
    title: str
    semantic_id: list[int]
    bundle: str
    version: int
    neighbours: list[Neighbour]


class Branch(BaseModel):
    code: int
    name: str
    num_items: int
    examples: list[str]


class TreeResponse(BaseModel):
    """children: the largest first; empty at the last level, which has items instead."""

    prefix: list[int]
    name: str
    num_items: int
    children: list[Branch]
    items: list[Card]


class Counted(BaseModel):
    name: str
    num_items: int


class ColumnInfo(BaseModel):
    """kind: of its values. num_items: with a value. min, max: of numbers. values: of text that repeats, the most
    frequent first.
    """

    name: str
    kind: Literal["number", "truth", "text"]
    num_items: int
    min: float | None
    max: float | None
    values: list[Counted]


class ColumnsResponse(BaseModel):
    columns: list[ColumnInfo]


class CategoriesResponse(BaseModel):
    categories: list[Counted]


class SetsResponse(BaseModel):
    sets: list[Counted]


class SetRequest(Strict):
    items: list[Id] = Field(max_length=10_000_000)


class SetResponse(BaseModel):
    name: str
    num_items: int
    unknown: int = Field(description="Number of ids that are not in the catalogue; they apply once a bundle has them.")


class EventBody(Strict):
    user_id: Id
    item_id: Id
    time: Annotated[float, Field(ge=0, le=1e11)] | Iso | None = Field(
        None, description="Seconds since 1970, or ISO 8601; by default now."
    )
    event_id: Id | None = Field(None, description="Events with the same id count once.")


class EventsRequest(Strict):
    events: list[EventBody] = Field(min_length=1, max_length=MAX_EVENTS)


class EventsResponse(BaseModel):
    accepted: int
    duplicates: int
    unknown: list[str] = Field(description="Items that are in no catalogue of this server; stored nevertheless.")


class StoredItem(Card):
    time: float


class UserResponse(BaseModel):
    user_id: str
    history: list[StoredItem]


class ForgottenResponse(BaseModel):
    forgotten: int


class ReloadResponse(BaseModel):
    reloaded: dict[str, str] = Field(description="The short digests of the bundles in service, by model.")


class HealthResponse(BaseModel):
    status: str

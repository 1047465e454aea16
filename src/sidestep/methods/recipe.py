"""The whole recipe: what every run has, and the sections that methods add."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, create_model, model_validator

from sidestep.config import Section
from sidestep.data.sources import DataConfig
from sidestep.data.splits import SplitConfig
from sidestep.sids.settings import TokenizerConfig
from sidestep.training.optim import TrainConfig
from sidestep.vectors.behaviour import BehaviourConfig
from sidestep.vectors.blend import SlicesConfig
from sidestep.vectors.choosing import EmbedConfig
from sidestep.vectors.graph import GraphConfig
from sidestep.vectors.tuning import TuneConfig

S = TypeVar("S", bound=Section)


class EvaluateConfig(Section):
    """How a model is searched and judged.

    num_beams: beams at test; raised to k where it is below. valid_beams, valid_users: the same for the validation
        that picks the epoch, on one fixed sample of users, or on "all". k: length of the ranked lists. at: the K of the
        metrics that are shown, none above k. batch_size: users at once. precision: of the trained model's projections
        at test and when it recommends; bf16 is faster where the processor has it, and moves near answers past each
        other.
    """

    idle = frozenset({"at", "batch_size"})

    num_beams: int = Field(50, ge=1)
    valid_beams: int = Field(20, ge=1)
    valid_users: Annotated[int, Field(ge=1)] | Literal["all"] = 2000
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
    """Everything that decides a run; a recipe file sets what differs from these defaults.

    The sections that methods read, such as [generator], are further fields (`table.RECIPE`).

    method: the name of the method; `sidestep methods` lists them. seed: of all random numbers.
    """

    method: str = "s2gr"
    seed: int = Field(0, ge=0, lt=2**20)
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    embed: EmbedConfig = EmbedConfig()
    tune: TuneConfig = TuneConfig()
    behaviour: BehaviourConfig = BehaviourConfig()
    graph: GraphConfig = GraphConfig()
    slices: SlicesConfig = SlicesConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def section(self, kind: type[S]) -> S:
        """The section of a method, by its class."""
        return next(value for _, value in self if type(value) is kind)


def recipe_with(sections: Mapping[str, type[Section]]) -> type[Recipe]:
    """The recipe with further sections, by their names in a recipe file; all their keys need defaults."""
    fields: dict[str, Any] = {name: (kind, kind()) for name, kind in sections.items()}
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, **fields)

"""Sidestep: semantic IDs, one thoughtful step at a time.

From a log of interactions to a generative recommender, in Python:

    import sidestep

    model = sidestep.fit("log.csv", "items.csv")           # or frames; recipe="tiger", "sasrec-ce", ...
    answer = model.recommend(["an item id"], k=10)         # recommend_many(...).to_polars() for many histories
    model.evaluate()                                       # HR, NDCG and MRR beside popularity and item-kNN
    model.semantic_ids, model.item_vectors, model.module   # what was learnt
    model.save("bundle")                                   # one folder; sidestep.load("bundle") reads it

example           the log and the items of a made-up shop, to try everything on
fit               train on tables, and return the model
load              a model from a run folder or a bundle
from_pretrained   a model from a bundle's folder, or from the Hugging Face Hub
save_pretrained   a run folder as a bundle
recipe            a built-in recipe, or a file's, with `key=value` overrides
Recipe            everything that decides a run
Model             what fit and load return
SidestepError     the base of every error that a user can mend

The command line does the same and more: `sidestep --help`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidestep.data.sources.example import example
    from sidestep.errors import SidestepError
    from sidestep.methods.recipe import Recipe
    from sidestep.pipeline.fitting import fit
    from sidestep.pipeline.models import Model, from_pretrained, load, save_pretrained
    from sidestep.recipes import read as recipe

    __version__: str

__all__ = [
    "Model",
    "Recipe",
    "SidestepError",
    "__version__",
    "example",
    "fit",
    "from_pretrained",
    "load",
    "recipe",
    "save_pretrained",
]

_PLACES = {
    "Model": ("pipeline.models", "Model"),
    "Recipe": ("methods.table", "RECIPE"),
    "SidestepError": ("errors", "SidestepError"),
    "example": ("data.sources.example", "example"),
    "fit": ("pipeline.fitting", "fit"),
    "from_pretrained": ("pipeline.models", "from_pretrained"),
    "load": ("pipeline.models", "load"),
    "recipe": ("recipes", "read"),
    "save_pretrained": ("pipeline.models", "save_pretrained"),
}
"""Module and name of what the package offers; importing torch takes seconds, and `sidestep --help` passes here."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sidestep")
    if name in _PLACES:
        module, inside = _PLACES[name]
        return getattr(import_module(f"sidestep.{module}"), inside)
    raise AttributeError(f"module 'sidestep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

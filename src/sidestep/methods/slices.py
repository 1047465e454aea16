"""[slices]: which settings go together with semantic IDs that follow content."""

from collections.abc import Iterator

from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.methods.method import Method
from sidestep.methods.recipe import Recipe


def check(recipe: Recipe, method: Method) -> None:
    """Refuse what contradicts slices; nothing without them.

    Raises:
        ConfigError: the first contradiction, and what to set instead.
    """
    if recipe.slices.kind == "none":
        return
    for problem in _problems(recipe, method):
        raise ConfigError(f"slices.kind = {recipe.slices.kind!r} {problem}")


def _problems(recipe: Recipe, method: Method) -> Iterator[str]:
    data, tokenizer = recipe.data, recipe.tokenizer
    if data.source == "planted":
        if recipe.slices.path is not None:
            yield "on the planted streams brings its windows along; leave slices.path out"
        if not data.planted.streams:
            yield "needs a planted world whose content moves; set data.planted.streams"
    elif recipe.slices.path is None:
        yield "needs windows; name their file in slices.path"
    if method.needs.cases:
        yield f"is not for method {recipe.method!r}, which puts another's candidates in a new order"
    if not method.needs.ids:
        return
    if not method.follows_content:
        yield f"is not for method {recipe.method!r}, whose model reads one semantic ID an item; use tiger or onelive"
    if recipe.graph.enabled:
        yield "has no graph to spread windows over; set graph.enabled=false"
    if recipe.behaviour.source != "none":
        yield "blends behaviour into the vectors by itself; set behaviour.source=none"
    if tokenizer.collisions != "keep" or tokenizer.random_levels:
        yield (
            "lets items share an ID, so that one that is still keeps its own; set tokenizer.collisions=keep and "
            "tokenizer.random_levels=0"
        )
    if tokenizer.uses_labels or tokenizer.end_to_end:
        yield f"needs a tokenizer of vectors alone, and tokenizer.kind = {tokenizer.kind!r} reads more; set rq-kmeans"
    if any(type(value) is GeneratorConfig and value.softmax == "trie" for _, value in recipe):
        yield "has another trie in every slice, and its softmax is over the codebook; set generator.softmax=codebook"

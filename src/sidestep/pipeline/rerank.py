"""A second look at a finished run's answers, as a run of its own."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sidestep import artifact, config, durable
from sidestep.errors import ConfigError
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import RECIPE, new_recipe
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import CASES, stages_of

METHOD = "reranked"


def rerank_recipe(over: Path, overrides: Sequence[str] = ()) -> Recipe:
    """All settings of a finished run, whose first candidates are to be put in a new order.

    overrides: `key=value`, as in `reranker.candidates=20`.

    Raises:
        ArtifactError: no run there. ConfigError: a run that is itself a second look, or a bad override.
    """
    first = Run.open(over).recipe
    if first.method == METHOD:
        raise ConfigError(f"{str(over)!r} is a second look already; name the run that it is over")
    values = first.model_dump(mode="json", exclude_unset=True)
    values |= {"method": METHOD, "reranker": {"base": first.method, "over": str(over)}}
    return new_recipe(config.merge(values, overrides, RECIPE))


def take_over(run: Run, over: Path) -> None:
    """Copy what a finished run has made before its training, where the second look would make the same again. What
    does not fit is refused or made again by its stage, as ever.
    """
    run.keep_recipe()
    names = [name for stage in stages_of(run.recipe) if stage.name != CASES.name for name in stage.makes]
    for name in names:
        if name != "model" and artifact.exists(over / name) and not artifact.exists(run.path(name)):
            with durable.replacing(run.path(name)) as staging:
                shutil.copytree(over / name, staging, dirs_exist_ok=True)

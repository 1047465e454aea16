"""What is wrong with a run folder or a bundle, and what to do. Everything is read, nothing is changed."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from sidestep import artifact, bundle, durable, lock
from sidestep.errors import ArtifactError, SidestepError
from sidestep.evaluation.ranking import Seen
from sidestep.methods.table import NON_NEURAL
from sidestep.pipeline import lineage, versions
from sidestep.pipeline.evaluate import rank_stage
from sidestep.pipeline.run import LOCK, Run, checkpoint_problem
from sidestep.pipeline.stage import STAGES, stages_of

Check = Callable[[], object]


def examine(folder: Path) -> list[str]:
    """A line for every problem, with the way out; none where all is well.

    Raises:
        ArtifactError: neither a run nor a bundle.
    """
    if bundle.is_bundle(folder):
        return _problems([partial(bundle.read, folder)])
    run = Run.open(folder)
    return [*_writers(run), *_problems([*_checks(run), partial(_versions, run)]), *_trainings(run), *_missing(run)]


def _problems(checks: Iterable[Check]) -> list[str]:
    """The messages of the checks that fail, each once."""
    found = []
    for check in checks:
        try:
            check()
        except (SidestepError, OSError) as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _checks(run: Run) -> Iterator[Check]:
    made = [name for stage in STAGES for name in stage.makes if _there(run, name)]
    for name in made:
        yield partial(artifact.verify, run.path(name))
    for name in made:
        yield partial(lineage.check, run, name)
    for method in (*NON_NEURAL, run.recipe.method):
        for seen in get_args(Seen):
            yield partial(_ranks, run, method, seen)


def _there(run: Run, name: str) -> bool:
    """Whether an artifact is there, be it damaged."""
    try:
        return artifact.exists(run.path(name))
    except ArtifactError:
        return True


def _versions(run: Run) -> None:
    newest = versions.newest(run)
    for number in range(2, newest + 1):
        for part in versions.PARTS:
            artifact.verify(versions.folder(run, number) / part)
    if newest > 1:
        versions.manifest(run, newest)


def _ranks(run: Run, method: str, seen: Seen) -> None:
    name = f"evaluation/{method}-{seen}"
    if artifact.exists(run.path(name)):
        made, parents = artifact.verify(run.path(name)).parents, rank_stage(run, method).parents(run)
        if not parents.items() <= {**parents, **made}.items():
            raise ArtifactError(
                f"{str(run.path(name))!r} ranks another model or log than the folder now holds; run `sidestep evaluate "
                f"{run.folder} --force`"
            )


def _writers(run: Run) -> list[str]:
    if (writer := lock.holder(run.path(LOCK))) is not None:
        return [f"{str(run.folder)!r} is being written by {writer}; what follows may be about to change"]
    if left := durable.left_behind(run.folder):
        return [
            f"a killed command has left {len(left)} unfinished files, such as {str(left[0])!r}; the next command that "
            "writes there clears them away"
        ]
    return []


def _trainings(run: Run) -> list[str]:
    found = [problem for folder in run.trainings if (problem := checkpoint_problem(folder))]
    way_out = f"`sidestep run {run.folder} --force` removes these checkpoints, and trains anew what is not finished"
    return [f"{problem}; {way_out}" for problem in found]


def _missing(run: Run) -> list[str]:
    stages = [stage for stage in stages_of(run.recipe) if not all(_there(run, name) for name in stage.makes)]
    names = ", ".join(stage.name for stage in stages)
    return [f"not done yet: {names}; go on with `sidestep run {run.folder}`"] if stages else []

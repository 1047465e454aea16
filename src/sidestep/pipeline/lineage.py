"""Whether what lies in a run folder belongs together. Every artifact names the digests of those it was made from;
manifests alone are read, so that a check costs milliseconds.
"""

from sidestep import artifact
from sidestep.errors import ArtifactError
from sidestep.pipeline.run import Run
from sidestep.pipeline.settings import changes
from sidestep.pipeline.stage import STAGES


def check(run: Run, *names: str) -> None:
    """Compare artifacts of a run, those that were published with them, and all that they were made from, with what the
    folder holds. One that is gone is passed over: nothing is read of it.

    Raises:
        ArtifactError: two that do not belong together, or one that was made with other settings than the recipe's.
    """
    maker = {name: stage for stage in STAGES for name in stage.makes}
    waiting, known = [*names], set[str]()
    while waiting:
        name = waiting.pop()
        if name in known or not artifact.exists(run.path(name)):
            continue
        known.add(name)
        stage, manifest = maker[name], artifact.read_manifest(run.path(name))
        if changed := changes(manifest.config, stage.settings(run.recipe)):
            raise ArtifactError(_message(run, name, f"with other settings ({'; '.join(changed[:3])})"))
        parents = (*stage.reads(run.recipe), *stage.before(name))
        for parent in filter(lambda parent: artifact.exists(run.path(parent)), parents):
            digest = run.digest(parent)
            if manifest.parents.get(parent, digest) != digest:  # earlier releases name fewer parents
                raise ArtifactError(_message(run, name, f"with another {str(run.path(parent))!r}"))
        waiting += [*parents, *stage.makes]


def _message(run: Run, name: str, why: str) -> str:
    return (
        f"{str(run.path(name))!r} was made {why} than the folder now holds; put back what belongs to it, or make again "
        f"what differs with `sidestep run {run.folder} --force`"
    )

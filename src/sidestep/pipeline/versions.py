"""Versions of a run's catalogue and semantic IDs: version 1 is what its generator was trained with, and each further
one continues the one before.

RUN/catalog, RUN/sids     version 1
RUN/versions/2/catalog, RUN/versions/2/sids     version 2, and so on
"""

from pathlib import Path

from sidestep import artifact
from sidestep.errors import ArtifactError
from sidestep.pipeline.run import Run

VERSIONS = "versions"
PARTS = ("catalog", "sids")
"""The artifacts of a version."""


def newest(run: Run) -> int:
    """The number of the run's newest version."""
    number = 1
    while artifact.exists(folder(run, number + 1) / "sids"):
        number += 1
    return number


def folder(run: Run, version: int) -> Path:
    """Where a version's `catalog` and `sids` lie."""
    return run.folder if version == 1 else run.path(VERSIONS) / str(version)


def manifest(run: Run, version: int) -> artifact.Manifest:
    """The manifest of a version's semantic IDs, after checking that every version continues the one before.

    Raises:
        ArtifactError: no such version (they count from 1), or the run's semantic IDs were made again after something
            was appended.
    """
    if version < 1:
        raise ArtifactError(f"{str(run.folder)!r} has no version {version}; versions count from 1")
    before: dict[str, str] = {}
    for number in range(1, version + 1):
        place = folder(run, number) / "sids"
        if number > 1 and not artifact.exists(place):
            raise ArtifactError(f"{str(run.folder)!r} has no version {version}; its newest is {newest(run)}")
        found, catalog = (artifact.read_manifest(folder(run, number) / part) for part in ("sids", "catalog"))
        if number > 1:
            _refuse_others(run, number, found, catalog, before)
        before = {"sids": found.digest, "catalog": catalog.digest}
    return found


def _refuse_others(
    run: Run, number: int, sids: artifact.Manifest, catalog: artifact.Manifest, before: dict[str, str]
) -> None:
    wanted = {"sids": before["sids"], "catalog": catalog.digest}
    if artifact.exists(run.path("tokenizer")):
        wanted["tokenizer"] = run.digest("tokenizer")
    problem = ""
    if sids.parents.get("sids") != before["sids"]:
        problem = "continues other semantic IDs than the run folder now holds"
    elif catalog.parents.get("catalog") != before["catalog"]:
        problem = "continues another catalogue than the run folder now holds"
    elif not wanted.items() <= {**wanted, **sids.parents}.items():
        problem = "has semantic IDs of another catalogue or tokenizer than the run folder now holds"
    if problem:
        raise ArtifactError(
            f"{str(folder(run, number))!r} {problem}; remove the folder {str(run.path(VERSIONS))!r} and append the "
            "items again"
        )

"""Trained models as Python holds them: loaded from a run folder or a bundle, judged, looked into, and saved."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from sidestep import artifact, bundle, durable
from sidestep.bundle import Bundle
from sidestep.data.interactions import Interactions
from sidestep.errors import ArtifactError, MissingExtraError
from sidestep.pipeline import versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.evaluate import Evaluation
from sidestep.pipeline.evaluate import evaluate as judge
from sidestep.pipeline.exporting import check, export, module_and_recommender
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import vectors_of
from sidestep.recommenders.trained import TrainedModel
from sidestep.vectors.item_vectors import ItemVectors


@dataclass(frozen=True, repr=False)
class Model(TrainedModel):
    """What `sidestep.fit` and `sidestep.load` return: a trained model with its catalogue, and where both come from.

    module: the trained `nn.Module`, in evaluation mode. source: its run, or the bundle that it was read from.
    """

    module: nn.Module = field(kw_only=True)
    source: RunContents | Bundle = field(kw_only=True)

    @property
    def method(self) -> str:
        """The name of its method."""
        return str(self.source.meta["method"]) if isinstance(self.source, Bundle) else self.source.recipe.method

    @property
    def folder(self) -> Path:
        """The run folder, or the bundle's."""
        return self.source.folder

    @property
    def item_vectors(self) -> ItemVectors | None:
        """The items' vectors as the run made and tuned them, before the graph. None where none are kept: the method
        needs none, or the model comes from a bundle and does not read them.
        """
        if isinstance(self.source, Bundle):
            held = bundle.VECTORS in self.source.manifest.files
            return ItemVectors(self.source.tensors(bundle.VECTORS)["values"]) if held else None
        return self.source.vectors if artifact.exists(self.source.run.path(vectors_of(self.source.recipe))) else None

    def evaluate(self, at: Sequence[int] = ()) -> Evaluation:
        """HR, NDCG and MRR at item level on the test cases of its run, beside popularity and item-kNN; the same as
        `sidestep evaluate`. What is ranked already is read.

        at: the K of the metrics; none takes the recipe's.

        Raises:
            ArtifactError: a bundle, which has no test cases. ConfigError: a K below 1 or above the lists' length.
        """
        if isinstance(self.source, Bundle):
            raise ArtifactError(
                f"{str(self.folder)!r} is a bundle and has no test cases; load the run folder that it was exported from"
            )
        return judge(self.source.run, at)

    def save(self, folder: str | Path) -> Path:
        """Write a bundle: one folder that needs nothing else, which `sidestep.load` reads and `sidestep serve` serves.

        Raises:
            ArtifactError: the folder holds something that is no bundle.
        """
        place = Path(folder)
        if not isinstance(self.source, Bundle):
            export(self.source.run, place)
        elif place.resolve() != self.folder.resolve():
            if place.exists() and not bundle.is_bundle(place) and (not place.is_dir() or any(place.iterdir())):
                raise ArtifactError(f"{str(place)!r} is there and is no bundle; name a new folder, or remove it")
            with durable.replacing(place) as staging:
                shutil.copytree(self.folder, staging, dirs_exist_ok=True)
        return place

    def __repr__(self) -> str:
        return self._line(self.method, str(self.folder))


def load(folder: str | Path) -> Model:
    """A trained model from a run folder, ready to recommend from the newest version of its catalogue; or from a bundle.

    Raises:
        ArtifactError: neither is there, a stage is not done yet, or altered bytes.
    """
    place = Path(folder)
    return _of_bundle(bundle.read(place)) if bundle.is_bundle(place) else of_run(Run.open(place))


def of_run(run: Run) -> Model:
    """The trained model of a run.

    Raises:
        ArtifactError: a stage is not done yet, or altered bytes.
    """
    contents = RunContents(run, versions.newest(run), later=True)
    model = contents.model()
    return Model(
        model.recommender, model.catalog, model.interactions, model.sids, model.make_names,
        module=contents.module, source=contents,
    )  # fmt: skip


def from_pretrained(name: str | Path, revision: str | None = None) -> Model:
    """A trained model from a bundle's folder, or from a repository of the Hugging Face Hub (extra `hub`), which is
    fetched once and then kept in the Hub's cache.

    Raises:
        ArtifactError: no bundle there, or altered bytes. MissingExtraError: a repository, without `huggingface_hub`.
    """
    if Path(name).is_dir():
        return load(name)
    if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
        raise ArtifactError(f"No bundle in {str(name)!r}; expected a folder, or a repository as in 'owner/name'")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            f"{str(name)!r} is no folder, and fetching a repository needs `pip install 'sidestep[hub]'`"
        ) from None
    try:
        return _of_bundle(bundle.read(Path(snapshot_download(str(name), revision=revision))))
    except OSError as error:
        raise ArtifactError(f"Cannot fetch {str(name)!r}: {str(error).splitlines()[0]}") from None


def save_pretrained(run: str | Path, folder: str | Path, fields: list[str] | None = None) -> Path:
    """`exporting.export` for those who hold a path: a trained run's folder as a bundle, which `from_pretrained` opens
    and `huggingface_hub.upload_folder` publishes.

    Raises:
        As `exporting.export`.
    """
    export(Run.open(Path(run)), Path(folder), fields)
    return Path(folder)


def _of_bundle(found: Bundle) -> Model:
    module, recommender = module_and_recommender(found)
    check(found, recommender)
    nobody = Interactions([], np.zeros(1, np.int64), np.zeros(0, np.int64), absolute_times=found.absolute_times)
    names = lambda: found.path_names  # noqa: E731
    return Model(recommender, found.catalog, nobody, found.sids, names, module=module, source=found)

"""Semantic IDs that follow content: windows read, vectors blended from them, and IDs slice by slice through codebooks
that no longer change. See `vectors.blend` and `sids.timeline`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidestep import artifact
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import NO_TIME, Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import TrainingSequences
from sidestep.data.sources.streams import StreamsWorld
from sidestep.data.sources.windows import read_windows
from sidestep.data.sources.worlds import planted_world
from sidestep.data.splits import TrainingInteractions
from sidestep.data.windows import Windows, shown
from sidestep.errors import ArtifactError, DataError
from sidestep.methods.recipe import Recipe
from sidestep.objectives.aligning import two_towers
from sidestep.pipeline.run import Run
from sidestep.sids import tokenizer
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.timeline import Timeline
from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig
from sidestep.vectors.blend import Blend, Sightings, SlicesConfig, TwoTowers
from sidestep.vectors.files import located
from sidestep.vectors.item_vectors import ItemVectors

SEED_APART = 2**17
"""Added to the run's seed, so that no batch of the run is drawn as those of the towers."""
WARMUP = 20
LATER = "slices"
"""The artifact with the slices that were added to a finished run, and what was seen up to the last of them."""


def windows_file(recipe: Recipe) -> Path | None:
    """Where the user's windows lie; None for the planted streams."""
    path = recipe.slices.path
    return None if path is None else located(path, recipe.data.path, Path.is_file)


def read(recipe: Recipe, catalog: Catalog) -> Windows:
    """The windows that [slices] describes.

    Raises:
        DataError: see `read_windows`.
    """
    if (path := windows_file(recipe)) is not None:
        return read_windows(path, catalog)
    world = planted_world(recipe.data.planted, recipe.seed)
    assert isinstance(world, StreamsWorld)
    return world.windows


def trained_blend(
    train: TrainingInteractions, windows: Windows, static: ItemVectors, config: SlicesConfig, seed: int, folder: Path
) -> Blend:
    """The blend of `windows` and the items' own vectors, trained by two towers on `train` alone.

    windows: of the training's time; later ones could not be known. folder: for checkpoints.
    """
    torch.manual_seed((seed + SEED_APART) % 2**20)
    values = torch.from_numpy(static.values)
    blend = Blend(values, windows.width, config.width, config.hidden, config.id_dropout)
    blend.standardise_by(torch.from_numpy(windows.values))
    model = TwoTowers(blend, windows)
    settings = TrainConfig(
        epochs=config.epochs, batch_size=config.batch_size, lr=config.lr, warmup_steps=WARMUP, weight_decay=0.0,
        clip=1.0, patience=0,
    )  # fmt: skip
    objective = partial(two_towers, tau=config.tau)
    fit(model, objective, Stretches(train, config, seed), settings, seed=seed, folder=folder, title="blend")
    return blend.eval()


class Stretches:
    """Training histories with their times, for the towers."""

    def __init__(self, train: TrainingInteractions, config: SlicesConfig, seed: int) -> None:
        reads = Reads(config.recent, times=True)
        self._sequences, self._size, self._seed = TrainingSequences(train, reads, True), config.batch_size, seed

    def batches(self, epoch: int) -> list[Any]:
        return self._sequences.batches(self._size, self._seed, epoch)

    def load(self, index: Any) -> Any:
        return self._sequences.batch(index)


@dataclass(frozen=True)
class RunSlices:
    """What a run with slices holds of them.

    path: where an artifact of it lies. later: whether slices count that were added to the finished run.
    """

    run: Run
    path: Callable[[str], Path]
    later: bool

    @cached_property
    def windows(self) -> Windows:
        """What was seen of the items."""
        return Windows.load(self.path("windows"))

    @cached_property
    def slicer(self) -> "Slicer":
        """What makes the IDs of a slice."""
        blend, books = (
            {key: torch.from_numpy(value) for key, value in artifact.load(self.path(name), "weights").tensors.items()}
            for name in ("blend", "tokenizer")
        )
        return Slicer.of(blend, books, self.run.recipe, SemanticIds.load(self.path("sids")))

    @cached_property
    def sliced(self) -> tuple[Timeline, Sightings]:
        """The IDs of every slice, with what was seen up to the last of them; of a method that says IDs."""
        found, place = load(self.path("timeline")), self.run.path(LATER)
        if not self.later or not artifact.exists(place):
            return found
        further = load(place)
        if not further[0].continues(found[0]):
            raise ArtifactError(
                f"{str(place)!r} continues other slices than the run folder now holds; remove it, and add them again"
            )
        return further


@dataclass(frozen=True)
class Slicer:
    """What makes the IDs of a slice: the blend and the tokenizer, both frozen."""

    blend: Blend
    tokenizer: tokenizer.Tokenizer

    @classmethod
    def of(
        cls, blend: Mapping[str, Tensor], books: Mapping[str, Tensor], recipe: Recipe, sids: SemanticIds
    ) -> "Slicer":
        """The slicer with these weights. sids: any IDs with the codebooks."""
        made = Blend.of(blend)
        width, most = made.outer.out_features, max(sids.codebook_sizes)
        config = recipe.tokenizer.model_copy(update={"codebook_size": sids.codebook_sizes, "train_items": 0})
        anything = np.random.default_rng(0).standard_normal((most, width)).astype(np.float32)  # distinct: all codes
        model = tokenizer.build(ItemVectors(anything), config, recipe.seed)
        model.load_state_dict(dict(books))
        return cls(made, model.eval())

    def as_tensors(self) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """The weights of both, as a bundle keeps them."""
        parts = {"blend": self.blend, "tokenizer": self.tokenizer}
        return {
            f"{name}.{key}": value.cpu().numpy()
            for name, part in parts.items()
            for key, value in part.state_dict().items()
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], recipe: Recipe, sids: SemanticIds) -> "Slicer":
        """That of a bundle."""
        parts: dict[str, dict[str, Tensor]] = {"blend": {}, "tokenizer": {}}
        for name, value in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = value
        return cls.of(parts["blend"], parts["tokenizer"], recipe, sids)

    def codes(self, content: Sightings, items: Ints) -> Ints:
        """The IDs of some items with what was seen of them, `[n, L]`."""
        found: Ints = self.tokenizer.assign(torch.from_numpy(self.blend.vectors(content, items))).cpu().numpy()
        return found

    def begun(self) -> tuple[Timeline, Sightings]:
        """The slice before any window."""
        count = self.blend.num_items
        content = Sightings.nothing(count, self.blend.window_width)
        codes = self.codes(content, np.arange(count)).astype(np.int32)
        return Timeline(np.array([NO_TIME]), codes[None], np.ones((1, count), dtype=np.bool_)), content

    def with_windows(self, timeline: Timeline, content: Sightings, windows: Windows) -> tuple[Timeline, Sightings]:
        """One slice after the other, in each of which the items with a window are on air, with an ID of their own. The
        others keep theirs, since nothing new is known of them.

        Raises:
            DataError: windows of another width, or a slice that does not follow the last one.
        """
        if windows.width != self.blend.window_width:
            raise DataError(
                f"The windows have {windows.width} dimensions, and the blend was trained on "
                f"{self.blend.window_width}; give vectors of the same encoder"
            )
        for number in range(len(windows)):
            rows = windows.rows(number)
            items, start = windows.items[rows], int(windows.starts[number])
            content = content.after(items, windows.values[rows])
            timeline = timeline.with_slice(start, items, self.codes(content, items))
        return timeline, content


def moving_vectors(blend: Blend, windows: Windows) -> tuple[ItemVectors, ItemVectors]:
    """Blended vectors: of every item before its first window and of all windows, for the tokenizer to learn from, and
    of every item as the last slice leaves it.
    """
    everyone = np.arange(blend.num_items)
    content = Sightings.nothing(blend.num_items, windows.width)
    rows = [blend.vectors(content, everyone)]
    for number in range(len(windows)):
        items = windows.items[windows.rows(number)]
        content = content.after(items, windows.values[windows.rows(number)])
        rows.append(blend.vectors(content, items))
    return ItemVectors(np.concatenate(rows)), ItemVectors(blend.vectors(content, everyone))


def until_trained(windows: Windows, train: TrainingInteractions) -> Windows:
    """The slices that begin before the last training interaction.

    Raises:
        DataError: times that no slice can be told by, or no slice in the training's time.
    """
    if not train.absolute_times or train.times is None:
        raise DataError(
            "slices.kind = 'windows' needs a log with absolute times, to know in which slice something was taken; name "
            "their column in data.time"
        )
    last = int(train.times.max())
    found = windows.before(last)
    if not len(found):
        raise DataError(
            f"The first slice begins on {shown(int(windows.starts[0]))}, after the last training interaction, on "
            f"{shown(last)}; give windows of the log's time"
        )
    return found


def on_air(windows: Windows, num_items: int) -> Timeline:
    """What is on air in every slice, with IDs of no codes."""
    air = np.zeros((len(windows) + 1, num_items), dtype=np.bool_)
    air[0] = True
    for number in range(len(windows)):
        air[number + 1, windows.items[windows.rows(number)]] = True
    codes = np.zeros((*air.shape, 0), dtype=np.int32)
    return Timeline(np.append(NO_TIME, windows.starts), codes, air)


def as_tensors(timeline: Timeline, content: Sightings) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Slices, and what was seen up to the last of them, as a folder keeps them."""
    return {**timeline.as_tensors(), "latest": content.latest, "mean": content.mean, "count": content.count}


def content_of(tensors: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> Sightings:
    return Sightings(tensors["latest"], tensors["mean"], tensors["count"])


def save(run: Run, name: str, timeline: Timeline, content: Sightings, **origin: Any) -> None:
    artifact.save(run.path(name), "timeline", tensors=as_tensors(timeline, content), **origin)


def load(folder: Path) -> tuple[Timeline, Sightings]:
    tensors = artifact.load(folder, "timeline").tensors
    return Timeline.of_tensors(tensors), content_of(tensors)

"""The stages of semantic IDs that follow content: window, blend, slice. What they do is in `slicing.py`."""

from collections.abc import Callable

from sidestep.methods.method import Say
from sidestep.pipeline import slicing
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run, inputs
from sidestep.pipeline.stage import BLEND, SLICE, WINDOW, Stage, static_of
from sidestep.pipeline.weights import save_weights
from sidestep.vectors.item_vectors import ItemVectors


def window(run: Run, say: Say) -> None:
    """Read what was seen of the items in every slice of time."""
    contents, recipe = RunContents(run), run.recipe
    windows, path = slicing.read(recipe, contents.catalog), slicing.windows_file(recipe)
    meta = inputs([path]) if path is not None else None
    windows.save(run.path("windows"), config=WINDOW.settings(recipe), parents=WINDOW.parents(run), meta=meta)
    say(f"windows: {len(windows)} slices, {len(windows.items):,} windows x {windows.width}")


def blend(run: Run, say: Say) -> None:
    """Blend windows, their mean and the items' own vectors, trained by two towers on training interactions."""
    contents, recipe, settings, parents = RunContents(run), run.recipe, BLEND.settings(run.recipe), BLEND.parents(run)
    train, static = contents.split.train, ItemVectors.load(contents.path(static_of(recipe)))
    windows = slicing.until_trained(contents.slices.windows, train)
    folder = run.training_folder("blend-train", settings, parents)
    model = slicing.trained_blend(train, windows, static, recipe.slices, recipe.seed, folder)
    moving, blended = slicing.moving_vectors(model, windows)
    save_weights(run, "blend", model, settings, parents)
    moving.save(run.path("moving"), config=settings, parents=BLEND.origin(run, "moving"))
    blended.save(run.path("blended"), config=settings, parents=BLEND.origin(run, "blended"))
    say(f"blend: {len(windows)} slices before training ends, {len(moving):,} vectors x {moving.width}")


def slice_(run: Run, say: Say) -> None:
    """Give every item an ID in every slice, through the frozen blend and codebooks."""
    contents = RunContents(run)
    slicer = contents.slices.slicer
    timeline, content = slicer.with_windows(*slicer.begun(), contents.slices.windows)
    slicing.save(run, "timeline", timeline, content, config=SLICE.settings(run.recipe), parents=SLICE.parents(run))
    codes, air = timeline.codes[1:], timeline.on_air[1:]
    moved = (codes[1:] != codes[:-1]).any(axis=2)[air[1:]].mean() if len(codes) > 1 else 0.0
    say(f"slices: {len(codes)}, {air.mean():.1%} of the items on air in each, {moved:.1%} of them with a new ID")


STAGES: dict[Stage, Callable[[Run, Say], None]] = {WINDOW: window, BLEND: blend, SLICE: slice_}

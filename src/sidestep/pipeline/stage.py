"""A stage of a run: the artifacts it writes, those it reads, and the settings that decide them, in one place.

Skipping, refusing, `--force`, the identity of a cell and the export of a model read it here. The work of each stage is
in `stages.py`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sidestep.config import Keys, decisive
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import method_of
from sidestep.pipeline.run import Run

Parents = dict[str, str]


def _nothing_else(run: Run) -> Parents:
    return {}


@dataclass(frozen=True)
class Stage:
    """name: the verb of the command line. makes: the artifacts it writes, folders of the run, in the order of their
    publication; each also names the digests of those before it, so that halves of two results are told apart.

    keys: those of a recipe that decide its result. reads: the artifacts of earlier stages that it depends on. further:
    digests of what it depends on outside the run. prolonged: whether more epochs go on from its last checkpoint.
    """

    name: str
    makes: tuple[str, ...]
    keys: Callable[[Recipe], Keys]
    reads: Callable[[Recipe], tuple[str, ...]]
    further: Callable[[Run], Parents] = _nothing_else
    prolonged: bool = False

    def settings(self, recipe: Recipe) -> dict[str, Any]:
        """The values that decide its result, as its artifacts keep them."""
        return decisive(recipe, self.keys(recipe))

    def parents(self, run: Run) -> Parents:
        """The digests of what it depends on.

        Raises:
            ArtifactError: an earlier stage is not done.
        """
        return {name: run.digest(name) for name in self.reads(run.recipe)} | self.further(run)

    def before(self, name: str) -> tuple[str, ...]:
        """Those of its artifacts that are published before one of them."""
        return self.makes[: self.makes.index(name)]

    def origin(self, run: Run, name: str) -> Parents:
        """The digests that one of its artifacts names: `parents`, and those of what is published before it."""
        return self.parents(run) | {other: run.digest(other) for other in self.before(name)}

    def done(self, run: Run) -> bool:
        """Whether its artifacts are there, whole, and result from the current settings and parents.

        Raises:
            ArtifactError: they result from others, or were altered, and `run.force` is off.
        """
        settings, parents = self.settings(run.recipe), self.parents(run)
        return all(run.done(name, settings, parents, self.before(name), self.prolonged) for name in self.makes)


def static_of(recipe: Recipe) -> str:
    """The artifact of the items' vectors, before windows of moving content are blended in."""
    return "tuned" if recipe.tune.kind != "none" else "vectors"


def vectors_of(recipe: Recipe) -> str:
    """The artifact of the items' vectors, before those from behaviour and before the graph."""
    return "blended" if _moves(recipe) else static_of(recipe)


def _moves(recipe: Recipe) -> bool:
    return recipe.slices.kind != "none"


def _behaves(recipe: Recipe) -> bool:
    return recipe.behaviour.source != "none"


def _tokenizer_keys(recipe: Recipe) -> Keys:
    keys: Keys = {"tokenizer": True, "seed": True}
    return {**keys, "graph": True, "split": True} if recipe.tokenizer.uses_interactions else keys


def _training_keys(recipe: Recipe) -> Keys:
    method = method_of(recipe)
    return {
        **dict.fromkeys(("method", "seed", "split", "train", *method.sections), True),
        "evaluate": method.validation,
    }


def _training_reads(recipe: Recipe) -> tuple[str, ...]:
    needs = method_of(recipe).needs
    own = (
        *["sids"] * needs.ids,
        *[timeline_of(recipe)] * _moves(recipe),
        *[vectors_of(recipe)] * needs.vectors,
        *["catalog"] * needs.labels,
        *["cases"] * needs.cases,
    )
    return ("interactions", *own)


def timeline_of(recipe: Recipe) -> str:
    """The artifact that says what is on air in every slice, and, where the method needs IDs, these."""
    return "timeline" if method_of(recipe).needs.ids else "windows"


def _case_keys(recipe: Recipe) -> Keys:
    """None, and so no parents either, where nothing is put in a new order."""
    method = method_of(recipe)
    if method.pre_ranker is None:
        return {}
    keys: Keys = dict.fromkeys(("method", "seed", "split", "train", *method.pre_ranker.sections), True)
    return {**keys, **method.case_keys, "evaluate": method.validation}


def _case_reads(recipe: Recipe) -> tuple[str, ...]:
    first = method_of(recipe).pre_ranker
    if first is None:
        return ()
    return ("interactions", *["sids"] * first.needs.ids, *[vectors_of(recipe)] * first.needs.vectors)


def _trained_parts(run: Run) -> Parents:
    """The digests of the finished models that the method puts together, or that the training begins with. Once the
    model is made, their folders may go.
    """
    made, folders = run.parents("model"), dict(method_of(run.recipe).parts_of(run.recipe))
    if run.recipe.train.start is not None:
        folders["start"] = run.recipe.train.start
    return {
        part: made[part] if part in made and not Run.is_one(folder) else Run.open(folder).digest("model")
        for part, folder in folders.items()
    }


PREPARE = Stage("prepare", ("catalog", "interactions"), lambda _: {"data": True, "seed": True}, lambda _: ())
EMBED = Stage(
    "embed",
    ("vectors",),
    lambda recipe: {
        **dict.fromkeys(("embed", "split", "seed"), True),
        **({"graph": True} if recipe.embed.path is None else {}),  # vectors from behaviour use its window
    },
    lambda _: ("catalog", "interactions"),
)
TUNE = Stage(
    "tune",
    ("tuner", "tuned"),
    lambda recipe: {
        **dict.fromkeys(("tune", "split", "seed"), True),
        **({"graph": True} if recipe.tune.uses_graph else {}),  # its vectors of behaviour use the window
    },
    lambda _: ("catalog", "interactions", "vectors"),
)
WINDOW = Stage(
    "window", ("windows",), lambda _: {"slices": frozenset({"kind", "path"}), "data": True, "seed": True},
    lambda _: ("catalog", "interactions"),
)  # fmt: skip
BLEND = Stage(
    "blend",
    ("blend", "moving", "blended"),
    lambda _: {"slices": True, "split": True, "seed": True},
    lambda recipe: ("interactions", "windows", static_of(recipe)),
)
BEHAVE = Stage(
    "behave",
    ("behaviour",),
    lambda recipe: {
        "behaviour": frozenset({"source", "width", "epochs"}),
        "split": True,
        "seed": True,
        **({"graph": True} if recipe.behaviour.source == "spectral" else {}),
    },
    lambda _: ("interactions",),
)
PROPAGATE = Stage(
    "propagate",
    ("aligned",),
    lambda recipe: {"graph": True, "split": True, **({"behaviour": True} if _behaves(recipe) else {})},
    lambda recipe: ("interactions", vectors_of(recipe), *["behaviour"] * _behaves(recipe)),
)
TOKENIZE = Stage(
    "tokenize",
    ("tokenizer", "sids"),
    _tokenizer_keys,
    lambda recipe: (
        "aligned",
        *["moving"] * _moves(recipe),
        *["interactions"] * recipe.tokenizer.uses_interactions,
        *["catalog"] * recipe.tokenizer.uses_labels,
    ),
)
SLICE = Stage("slice", ("timeline",), lambda _: {"slices": True}, lambda _: ("windows", "blend", "tokenizer", "sids"))
CASES = Stage("cases", ("cases",), _case_keys, _case_reads, _trained_parts)
TRAIN = Stage("train", ("model",), _training_keys, _training_reads, _trained_parts, prolonged=True)

STAGES = (PREPARE, EMBED, TUNE, WINDOW, BLEND, BEHAVE, PROPAGATE, TOKENIZE, SLICE, CASES, TRAIN)
"""In the order in which they run."""


def stage_named(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


def stages_for(recipe: Recipe, artifacts: Iterable[str]) -> tuple[Stage, ...]:
    """The stages that some artifacts need, in order."""
    wanted, needed = set(artifacts), []
    for stage in reversed(STAGES):
        if wanted & set(stage.makes):
            needed.append(stage)
            wanted |= set(stage.reads(recipe))
    return tuple(reversed(needed))


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """What the recipe's method needs to be trained, in order, and the training."""
    return stages_for(recipe, TRAIN.makes)

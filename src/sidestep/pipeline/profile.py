"""Where the time of a recipe's training goes, without training it."""

from contextlib import nullcontext

import torch

from sidestep import durable
from sidestep.methods.method import Say
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.course import Course, HistoryBatches
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import stages_of
from sidestep.pipeline.stages import run_until
from sidestep.training.loop import Hooks, Training
from sidestep.training.profile import Profile
from sidestep.training.profile import profile as watch

PROFILE, TRACE = "profile.txt", "profile-trace.json"


def profile(run: Run, say: Say, trace: bool = False) -> Profile:
    """Watch some steps of a new model on the run's data, and write `profile.txt`, with `trace` also
    `profile-trace.json` for Chrome's tracing page. Stages before training are run where their result is missing;
    nothing else in the folder is touched, so a trained run can be profiled, under other settings too.
    """
    with run.writing():
        return _profile(run, say, trace)


def _profile(run: Run, say: Say, trace: bool) -> Profile:
    *before, _ = stages_of(run.recipe)
    if not all(stage.done(run) for stage in before):
        run_until(run, before[-1].name, say)
    contents, recipe = RunContents(run), run.recipe
    method = contents.method
    torch.manual_seed(recipe.seed)
    model = method.build(contents.materials, recipe)
    training = Training(
        model,
        method.objective(contents.materials, recipe),
        HistoryBatches.of(contents.split.train, recipe, model),
        recipe.train.model_copy(update={"log_with": ()}),
        recipe.seed,
        hooks=Hooks(score=lambda: Course.of(contents).validate(model)),
    )
    with durable.replacing_file(run.path(TRACE)) if trace else nullcontext() as staging:
        measured = watch(training, count=lambda batch: int((batch.targets >= 0).sum()), trace=staging)
    durable.write_text(run.path(PROFILE), measured.text() + "\n")
    return measured

"""`sidestep tune`: item vectors that learn from behaviour, and their neighbours before and after."""

from sidestep.cli.options import (
    ForceOption,
    JsonOption,
    OutOption,
    OverridesArgument,
    RecipeArgument,
    open_run,
    say,
    show,
)


def tune(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tune the items' vectors on pairs that users make (tune.kind), and show neighbours before and after."""
    from dataclasses import asdict

    from sidestep.pipeline.stages import run_until
    from sidestep.pipeline.tuning import neighbourhoods_of

    opened = open_run(recipe, overrides, out, force)
    run_until(opened, "tune", lambda line: None if line.startswith("tuned:") else say(line))
    near = neighbourhoods_of(opened)
    show(as_json, asdict(near), near.text())

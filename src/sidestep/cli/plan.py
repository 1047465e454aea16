"""`sidestep plan`: what every stage takes at another size."""

from typing import Annotated, Any

import typer

from sidestep.cli.options import JsonOption, show


def plan(
    items: Annotated[float, typer.Option(help="Items of the catalogue, such as 1e8.")],
    events: Annotated[float, typer.Option(help="Interactions of the log.")],
    users: Annotated[float | None, typer.Option(help="Users  [default: a hundredth of the events]")] = None,
    width: Annotated[int, typer.Option(help="Dimensions of the vectors.")] = 384,
    epochs: Annotated[float, typer.Option(help="Epochs of the generator's training.")] = 1.0,
    history: Annotated[int, typer.Option(help="Items that a history store keeps of a user.")] = 100,
    lists: Annotated[float, typer.Option(help="Ranked lists a second to serve.")] = 0.0,
    cores: Annotated[int, typer.Option(help="Cores of one machine.")] = 64,
    memory: Annotated[float, typer.Option(help="Gigabytes of one machine.")] = 256.0,
    hours: Annotated[float, typer.Option(help="How long a stage may take.")] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Core-hours, memory and machines of every stage at a size that is not here, and what to do where one breaks."""
    from sidestep.launch.plan import GB, Machine, Size, measured, plan, serving_cores
    from sidestep.report.plan_terminal import plan_text

    size = Size(items, max(events / 100, 1.0) if users is None else users, events, width, epochs, history, lists)
    machine, costs = Machine(cores, memory * GB, hours), measured()
    needs = plan(size, costs)
    values: dict[str, Any] = {
        "measured": {key: costs[key] for key in ("date", "machine", "torch")},
        "stages": [
            {**vars(need), "machines": need.machines(machine), "breaks": need.breaks(machine)} for need in needs
        ],
        "serving_cores": serving_cores(size, costs),
    }
    show(as_json, values, plan_text(size, machine, needs, serving_cores(size, costs), costs))

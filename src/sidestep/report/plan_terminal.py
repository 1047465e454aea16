"""A plan as text for a terminal: one row a stage, then how each number follows, then what to do where it breaks."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from sidestep.launch.plan import FAR, GB, LOG, Machine, Need, Size, as_bytes, largest
from sidestep.report.terminal import plain


def plan_text(
    size: Size, machine: Machine, needs: Sequence[Need], serving_cores: float, costs: Mapping[str, Any]
) -> str:
    """The plan of a size on machines of one kind."""
    table = Table(box=box.SIMPLE)
    table.add_column("stage")
    for name in ("core-hours", "memory", "on disk", "machines", "hours"):
        table.add_column(name, justify="right")
    table.add_column("one machine")
    for need in needs:
        table.add_row(
            need.stage,
            _hours(need.core_hours),
            as_bytes(need.memory),
            as_bytes(need.disk),
            str(need.machines(machine)),
            _hours(need.hours(machine)),
            need.breaks(machine) or "suffices",
        )
    world = largest(costs)["planted world"]
    lines = [
        f"{size.items:,.0f} items, {size.users:,.0f} users, {size.events:,.0f} events; machines of {machine.cores} "
        f"cores and {machine.memory / GB:,.0f} GB, {machine.hours:g} hours a stage",
        plain(table).rstrip("\n"),
    ]
    if size.lists:
        lines.append(f"Serving {size.lists:,.0f} lists a second keeps {serving_cores:,.1f} cores busy.")
    lines += ["How each number follows:", *(f"- {need.stage}: {need.work}" for need in needs)]
    ways = [f"- {need.stage}: {need.beyond}" for need in needs if need.beyond and need.breaks(machine)]
    lines += ["Where one machine is too small:", *ways] if ways else ["One machine suffices."]
    lines.append(
        f"Unit costs: one core of {costs['machine']}, torch {costs['torch']}, {costs['date'][:10]}, measured on "
        f"{world['items']:,} items and {world['interactions']:,} interactions by benchmarks/scale.py{_far(costs)}. "
        "Stages that several machines share are divided evenly; copying data between machines is not counted."
    )
    return "\n".join(lines)


def _far(costs: Mapping[str, Any]) -> str:
    """Where the costs of lists of edges, propagation and trie were measured, if not with the others."""
    if FAR not in costs:
        return ""
    far = costs[FAR]
    log = far["stages"][LOG]
    return (
        f"; of lists of edges, propagation and the trie: one core of {far['machine']}, {far['date'][:10]}, on "
        f"{log['items']:,.0f} items and {log['interactions']:,.0f} interactions by benchmarks/ten_million.py"
    )


def _hours(number: float) -> str:
    return "0" if number == 0 else f"{number:.2g}" if number < 10 else f"{number:,.0f}"

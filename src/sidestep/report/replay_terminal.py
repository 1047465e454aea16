"""A replay as plain text."""

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from sidestep.report.terminal import SHOWN, figure, plain

if TYPE_CHECKING:
    from sidestep.pipeline.replaying import Replay


def replay_text(result: "Replay") -> str:
    """One row per method, then the main metric stretch of time by stretch of time."""
    table = Table(box=box.SIMPLE)
    metrics = [f"{name}@{k}" for name in SHOWN for k in result.at]
    table.add_column("method")
    table.add_column("seen")
    for name in ("users", *metrics):
        table.add_column(name, justify="right")
    for row in result.table.to_dicts():
        if row["users"] == "all":
            table.add_row(row["method"], row["seen"], f"{row['num_users']:,}", *(figure(row[name]) for name in metrics))
    over_time = Table(box=box.SIMPLE)
    names = [name for name in (result.by_time[0] if result.by_time else {}) if name not in ("from", "cases")]
    over_time.add_column("from")
    for name in ("cases", *names):
        over_time.add_column(name, justify="right")
    for row in result.by_time:
        over_time.add_row(row["from"], f"{row['cases']:,}", *(figure(row[name]) for name in names))
    lines = [plain(table), f"Protocol: {result.protocol}."]
    if result.best_possible is not None:
        lines.append(f"Best possible {result.main} in this planted data: {figure(result.best_possible)}")
    return "\n".join([*lines, "", f"{result.main} by time:", plain(over_time)])

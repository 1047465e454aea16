"""What a generator does on the way to its answers, as plain text."""

from rich import box
from rich.table import Table

from sidestep.pipeline.analyse import Analysis
from sidestep.report.terminal import plain

COLUMNS = {
    "code": "code right",
    "prefix": "prefix among 10",
    "cluster": "thought right",
    "by_chance": "by chance",
    "category": "names category",
    "category_by_chance": "by chance",
}


def analysis_text(found: Analysis) -> str:
    thinks = bool(found.drift)
    names = [name for name in COLUMNS if any(getattr(level, name) is not None for level in found.levels)]
    table = Table(box=box.SIMPLE)
    for title in ("level", *(COLUMNS[name] for name in names)):
        table.add_column(title, justify="right")
    for level in found.levels:
        table.add_row(str(level.level), *(_share(getattr(level, name)) for name in names))
    lines = [
        plain(table).rstrip(),
        "code right: the target's code is the most probable, given the target's codes before it.",
        "prefix among 10: one of the ten answers begins with the target's codes up to this level.",
    ]
    if thinks:
        lines.append("thought right: the thought is nearest to the cluster of the target's code.")
        if "category" in names:
            lines.append(
                "names category: the commonest category among the items of that nearest cluster is the target's."
            )
        lines += ["", "Cosine of one thought with the next:"]
        lines += [
            f"  {drift.level} to {drift.level + 1}: {drift.own:.3f} on a path, {drift.others:.3f} between users; "
            f"targets easy {drift.easy:.3f}, middling {drift.middle:.3f}, hard {drift.hard:.3f}"
            for drift in found.drift
        ]
    else:
        lines.append("This generator does not think.")
    milliseconds = 1000 * found.seconds_per_user
    lines.append(f"{found.users:,} test users; {milliseconds:.1f} ms of processor time each, {found.beams} beams.")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"

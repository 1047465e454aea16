"""What a generator does on the way to its answers, as plain text."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from sidestep.pipeline.analyse import Analysis
from sidestep.report.terminal import plain

CODES = {
    "code": "right",
    "code_in_trie": "right in trie",
    "code_by_prefix": "usual one right",
    "prefix": "prefix among 10",
}
THOUGHTS = {"cluster": "right", "by_chance": "commonest right", "cluster_by_prefix": "usual one right"}
CATEGORIES = {
    "category": "the target's",
    "category_by_chance": "by chance",
    "answer": "the answer's",
    "answer_by_chance": "by chance",
    "answer_target": "the target's, on the way to answers",
}


def analysis_text(found: Analysis) -> str:
    """Tables level by level, each with what its columns mean."""
    lines = [
        "Codes, given the target's codes before them:",
        _table(found, CODES),
        "right: the target's code is the most probable; right in trie: of those that lead to an item; usual one right:",
        "the code that comes most often in training after the same codes is the target's; prefix among 10: one of the",
        "ten answers begins with the target's codes up to this level.",
    ]
    thinks = any(level.cluster is not None for level in found.levels)
    lines += _thoughts(found) if thinks else ["This generator does not think."]
    milliseconds = 1000 * found.seconds_per_user
    lines.append(f"{found.users:,} test users; {milliseconds:.1f} ms of processor time each, {found.beams} beams.")
    return "\n".join(lines)


def _thoughts(found: Analysis) -> list[str]:
    lines = [
        "\nThoughts, and the cluster nearest to each:",
        _table(found, THOUGHTS),
        "right: that of the target's code; commonest right: always naming the commonest one would be; usual one right:",
        "the one that comes most often in training after the same codes is.",
    ]
    if any(level.category is not None for level in found.levels):
        lines += [
            "\nThe commonest category of that cluster's items is",
            _table(found, CATEGORIES),
            "by chance: the share of the commonest category.",
        ]
    if found.drift:
        lines.append("\nCosine of one thought with the next:")
    lines += [
        f"  {drift.level} to {drift.level + 1}: {drift.own:.3f} on a path, {drift.others:.3f} between users; "
        f"targets easy {drift.easy:.3f}, middling {drift.middle:.3f}, hard {drift.hard:.3f}"
        for drift in found.drift
    ]
    return lines


def _table(found: Analysis, columns: Mapping[str, str]) -> str:
    table = Table(box=box.SIMPLE)
    for title in ("level", *columns.values()):
        table.add_column(title, justify="right")
    for level in found.levels:
        table.add_row(str(level.level), *(_share(getattr(level, name)) for name in columns))
    return plain(table).strip("\n")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"

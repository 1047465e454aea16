"""The analysis of a generator's reasoning as plain text."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from sidestep.pipeline.analyse import Analysis
from sidestep.report.path_figures import size_of
from sidestep.report.terminal import plain

CODES = {
    "code": "right",
    "code_in_trie": "right in trie",
    "code_by_prefix": "by prefix",
    "prefix": "prefix among 10",
    "survives": "in the beam",
}
THOUGHTS = {"cluster": "right", "by_chance": "most frequent", "cluster_by_prefix": "by prefix"}
CATEGORIES = {
    "category": "the target's",
    "category_by_chance": "by chance",
    "answer": "the item's",
    "answer_by_chance": "by chance",
    "answer_target": "the target's, on paths of recommendations",
}


NAMES = {
    "code_named": "of codes",
    "code_named_by_chance": "at random",
    "code_shown": "shown",
}
NAMES_OF_THOUGHTS = {
    "thought_named": "of thoughts",
    "thought_named_by_chance": "at random",
    "thought_shown": "shown",
    "nearest_named": "of nearest clusters",
    "nearest_named_by_chance": "at random",
    "nearest_shown": "shown",
}
UNDECIDED = [
    "Of thoughts: of what the fewest clusters with half of a thought's probability leave together. Where that is half",
    "of the items that are possible there, or more, the thought is undecided and has no name.",
]


def analysis_text(analysis: Analysis) -> str:
    """Tables with one row per level, each with a legend of its columns."""
    lines = [
        "Codes, given the target's codes before them:",
        _table(analysis, CODES),
        "right: the target's code is the most probable one; right in trie: among the codes that lead to an item;",
        "by prefix: the most frequent code after the same prefix in training is the target's; prefix among 10: one of",
        "the ten recommendations begins with the target's codes up to this level; in the beam: a beam of the search",
        "does. Its mean place there: " + ", ".join(_place(level.place) for level in analysis.levels) + ".",
    ]
    thinks = any(level.cluster is not None for level in analysis.levels)
    lines += _thoughts(analysis) if thinks else ["This generator has no thoughts."]
    lines += [
        "\nNames on the paths of recommendations that are true of the recommended item:",
        _table(analysis, NAMES),
        *([_table(analysis, NAMES_OF_THOUGHTS)] if thinks else []),
        "true: one of the name's terms is a word of the item's title or a step of its category; at random: the same",
        "names, dealt out among these items at random; shown: the share of the names that are, where the code decides",
        "something. Names that are not shown do not count as true or false.",
    ]
    lines += UNDECIDED if thinks else []
    lines += _recall(analysis) if analysis.recall else []
    ms = 1000 * analysis.seconds_per_user
    lines.append(f"{analysis.users:,} test users; {ms:.1f} ms of processor time each, {analysis.beams} beams.")
    return "\n".join(lines)


def _recall(analysis: Analysis) -> list[str]:
    table = Table(box=box.SIMPLE)
    for title in ("older items", "users", "mean gate"):
        table.add_column(title, justify="right")
    for found in analysis.recall:
        table.add_row(size_of(found), _share(found.share), "-" if found.gate is None else f"{found.gate:.3f}")
    return [
        "\nOlder items that are looked up after the target's first code, and the gate that they pass:",
        plain(table).strip("\n"),
        "The gate is 0 where what they say is left out and 1 where it takes the place of the window's.",
    ]


def _place(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _thoughts(analysis: Analysis) -> list[str]:
    lines = [
        "\nThe cluster nearest to each thought:",
        _table(analysis, THOUGHTS),
        "right: it is the cluster of the target's code; most frequent: accuracy of always predicting the most frequent",
        "cluster; by prefix: of predicting the most frequent cluster after the same prefix in training.",
    ]
    if any(level.category is not None for level in analysis.levels):
        lines += [
            "\nThe most frequent category of that cluster's items is",
            _table(analysis, CATEGORIES),
            "by chance: the share of the most frequent category.",
        ]
    if analysis.drift:
        lines.append("\nCosine of each thought with the next:")
    lines += [
        f"  {drift.level} to {drift.level + 1}: {drift.own:.3f} on a path, {drift.others:.3f} between users; "
        f"targets easy {drift.easy:.3f}, medium {drift.middle:.3f}, hard {drift.hard:.3f}"
        for drift in analysis.drift
    ]
    return lines


def _table(analysis: Analysis, columns: Mapping[str, str]) -> str:
    table = Table(box=box.SIMPLE)
    for title in ("level", *columns.values()):
        table.add_column(title, justify="right")
    for level in analysis.levels:
        table.add_row(str(level.level), *(_share(getattr(level, name)) for name in columns))
    return plain(table).strip("\n")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"

"""Rows of the page's tables, and plots with captions, from a run's findings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from sidestep.data.interactions import Ints
from sidestep.evaluation.codebooks import CodebookReport, codebook_report
from sidestep.evaluation.metrics import METRICS
from sidestep.evaluation.ranking import RankTable
from sidestep.pipeline.evaluate import Evaluation
from sidestep.pipeline.report import Beside, Row
from sidestep.report import plots
from sidestep.report.plots import PALE, Line
from sidestep.report.svg import COLOURS
from sidestep.sids.semantic_ids import SemanticIds

GROUPS = (("all", "masked"), ("all", "kept"), (">=10", "masked"), (">=10", "kept"))
EDGES = (5, 10, 20, 50)
FEWEST = 30
"""History lengths are grouped at these edges; groups of fewer than `FEWEST` users are merged."""
OURS, BESIDE = COLOURS[0], COLOURS[1]
LINES = 3
"""Methods in the plot by history length: the run's own and the best of the others."""


@dataclass(frozen=True)
class Plot:
    """picture: the SVG. note: the caption."""

    title: str
    picture: Markup
    note: str = ""


@dataclass(frozen=True)
class Group:
    """One block of the table of figures. rows: of `Evaluation.table`. best: the highest value of every column."""

    users: str
    seen: str
    num_users: int
    rows: list[Row]
    best: dict[str, float]
    ceiling: float | None


@dataclass(frozen=True)
class Bar:
    """A method's main figure in the headline; share: of the longest bar."""

    method: str
    value: float
    share: float
    colour: str


@dataclass(frozen=True)
class Headline:
    """metric: metric of the bars. seen: treatment of items of the history. ceiling: the best possible, if known."""

    metric: str
    seen: str
    num_users: int
    bars: list[Bar]
    ceiling: float | None


@dataclass(frozen=True)
class ClusterRow:
    number: int
    name: str
    colour: str
    codes: int
    items: int


@dataclass(frozen=True)
class LevelMap:
    """A level's cluster map and its legend, the largest cluster first."""

    level: int
    picture: Markup
    rows: list[ClusterRow]
    shown: int
    size: int


def columns(evaluation: Evaluation) -> list[str]:
    """The metrics of the table of figures."""
    return [f"{name}@{k}" for name in METRICS for k in evaluation.at]


def groups(evaluation: Evaluation) -> list[Group]:
    """The table of figures, all users first; empty groups are left out."""
    rows = evaluation.table.to_dicts()
    blocks = []
    for users, seen in GROUPS:
        chosen = [row for row in reversed(rows) if row["users"] == users and row["seen"] == seen and row["num_users"]]
        if not chosen:
            continue
        best = {name: max(row[name] for row in chosen) for name in columns(evaluation)}
        ceiling = evaluation.best_possible if (users, seen) == ("all", "kept") else None
        blocks.append(Group(users, seen, chosen[0]["num_users"], chosen, best, ceiling))
    return blocks


def headline(evaluation: Evaluation, beside: Beside | None = None) -> Headline:
    """The main figure of all methods over all users: the run's own, that of the run beside it, the others by falling
    value. Seen items are kept if the best possible is known, which is defined for kept
    items, or if users repeat items, since a mask with the exception of the held-out item would reveal it. Otherwise
    they are masked.
    """
    seen = "kept" if evaluation.best_possible is not None or evaluation.repeats else "masked"
    metric = evaluation.main
    group = next(group for group in groups(evaluation) if group.users == "all" and group.seen == seen)
    longest = max([row[metric] for row in group.rows] + [evaluation.best_possible or 0.0]) or 1.0
    own, *others = group.rows
    shown = [(own["method"], own[metric], OURS)]
    if beside is not None and (value := beside.value(seen, metric)) is not None:
        shown.append((beside.label, value, BESIDE))
        longest = max(longest, value)
    others.sort(key=lambda row: -row[metric])
    shown += [(row["method"], row[metric], PALE) for row in others]
    bars = [Bar(method, value, value / longest, colour) for method, value, colour in shown]
    if evaluation.best_possible is not None:
        bars.insert(0, Bar("best possible", evaluation.best_possible, evaluation.best_possible / longest, ""))
    return Headline(metric, seen, group.num_users, bars, evaluation.best_possible)


def by_length(ranks: dict[str, RankTable], metric: str = "HR@10") -> Plot | None:
    """A hit rate by the number of a user's interactions, with the trained model first."""
    first, *others = reversed(ranks)
    others.sort(key=lambda name: -float(ranks[name].values(metric).mean() if len(ranks[name].table) else 0))
    tables = {name: ranks[name] for name in (first, *others[: LINES - 1])}
    lengths = tables[first].table["length"].to_numpy()
    if not len(lengths):
        return None
    spans = length_spans(lengths)
    members = [(lengths >= low) & (lengths <= high) for low, high in spans]
    lines = [
        Line(name, range(len(spans)), [float(table.values(metric)[inside].mean()) for inside in members], colour)
        for (name, table), colour in zip(tables.items(), (OURS, COLOURS[3], PALE), strict=False)
    ]
    users = tables[first].table["user"].to_numpy()
    sizes = [len(np.unique(users[inside])) for inside in members]  # several cases of a user count as one: wider bars
    intervals = [wilson(rate, size) for rate, size in zip(lines[0].y, sizes, strict=True)]
    names = [f"{low}-{high}" if low < high else f"{low}" for low, high in spans]
    notes = [(name, f"{size:,}") for name, size in zip(names, sizes, strict=True)]
    note = (
        "By number of the user's interactions, the held-out one included; below, the number of users. "
        f"The bars are 95 % intervals for {first}."
    )
    described = f"{metric} of {', '.join(tables)} by history length"
    return Plot(f"{metric} by history length", plots.by_group(described, notes, lines, intervals), note)


def length_spans(lengths: Ints) -> list[tuple[int, int]]:
    """Shortest and longest length of every group. The groups cover all lengths, and each has at least `FEWEST` users
    unless there are fewer in total.
    """
    groups: list[Ints] = []
    for group in np.split(np.sort(lengths), np.searchsorted(np.sort(lengths), EDGES)):
        if groups and min(len(groups[-1]), len(group)) < FEWEST:
            groups[-1] = np.concatenate([groups[-1], group])
        else:
            groups.append(group)
    return [(int(group[0]), int(group[-1])) for group in groups if len(group)]


def wilson(rate: float, size: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), which stays within 0 and 1 in small groups."""
    middle = rate + z * z / (2 * size)
    half = z * math.sqrt(rate * (1 - rate) / size + z * z / (4 * size * size))
    return (middle - half) / (1 + z * z / size), (middle + half) / (1 + z * z / size)


def training_plots(rows: Sequence[Row], num_clusters: Sequence[int], beside: Beside | None = None) -> list[Plot]:
    """One panel for each quantity in the log of a generator's training. beside: its validation is drawn, too."""
    panels = [_score(rows, beside)]
    parts = [("codes", "recommend_"), ("alignment", "align_")]
    lines = [_line(rows, "total", "total")] + [_sum(rows, name, prefix) for name, prefix in parts]
    lines = [line for line in [*lines, _line(rows, "InfoNCE", "info_nce")] if line is not None]
    if len(lines) == 2:  # the total equals the loss of the codes
        lines = lines[:1]
    panels.append(_plot("Loss", "Training loss and its parts, the mean of each epoch.", lines))
    note = "Cross-entropy of the right code, given the right codes before it."
    panels.append(_plot("Loss of the codes", note, _levels(rows, "recommend_")))
    note = "Cross-entropy of the right cluster, by cosine to the centroids."
    panels.append(_plot("Alignment of the thoughts", note, _levels(rows, "align_")))
    accuracy = _levels(rows, "thought_accuracy_")
    chances = [(f"chance 1/{count}", 1 / count) for count in dict.fromkeys(num_clusters)]
    note = "Share of thoughts whose nearest cluster is that of the right code, in training."
    panels.append(_plot("Thoughts that name the right cluster", note, accuracy, against=chances, from_zero=True))
    note = "Cosine of the first thought and the holistic interest."
    panels.append(_plot("Holistic interest", note, [_line(rows, "cosine", "interest_cosine")]))
    return [plot for plot in panels if plot is not None]


def tokenizer_plots(rows: Sequence[Row]) -> list[Plot]:
    """One panel for every loss of the tokenizer."""
    panels = [
        _plot("Reconstruction", "||x - x̂||², the mean over items.", [_line(rows, "", "reconstruct")]),
        _plot("Quantisation", "Residuals against their codewords, summed over levels.", [_line(rows, "", "quantise")]),
        _plot("Uniformity", "Uniformity loss of the codewords, per level.", _levels(rows, "uniform_")),
    ]
    return [plot for plot in panels if plot is not None]


def usage_plots(sids: SemanticIds) -> tuple[CodebookReport, list[Plot]]:
    """The sorted usage of every level's codes."""
    report, panels = codebook_report(sids), []
    for level, used in enumerate(report.levels):
        counts = np.bincount(sids.codes[:, level], minlength=used.size)
        entropy, most = math.log2(used.perplexity), math.log2(used.size)
        note = (
            f"{used.used:,} of {used.size:,} codes used, {used.size - used.used:,} dead; "
            f"entropy {entropy:.2f} of {most:.2f} bits"
        )
        described = f"Items per code of level {level + 1}"
        panels.append(Plot(f"Level {level + 1}", plots.usage(described, counts, _colour(level)), note))
    return report, panels


def level_maps(sids: SemanticIds, names: Sequence[Sequence[str]]) -> list[LevelMap]:
    """Codewords in the plane, level by level. names: per level, a name per cluster; empty without a catalogue."""
    maps = []
    for level, clusters in enumerate(sids.clusters):
        counts = np.bincount(sids.codes[:, level], minlength=len(clusters))
        items = np.bincount(clusters, weights=counts).astype(np.int64)
        codes = np.bincount(clusters)
        rows = [
            ClusterRow(
                number + 1,
                names[level][number] if names else "",
                plots.colour_of(number),
                int(codes[number]),
                int(items[number]),
            )
            for number in np.argsort(-items, kind="stable").tolist()
        ]
        described = f"Map of the codewords of level {level + 1}, coloured by cluster"
        picture = plots.cluster_map(described, sids.codebooks[level], clusters, counts)
        maps.append(LevelMap(level + 1, picture, rows, min(len(clusters), plots.MAX_DOTS), len(clusters)))
    return maps


def _score(rows: Sequence[Row], beside: Beside | None) -> Plot | None:
    line = _line(rows, "" if beside is None else "this run", "score", OURS)
    if line is None:
        return None
    epoch, score = max(line.points, key=lambda point: point[1], default=(0, 0))
    note = f"On a fixed sample of users; the weights of epoch {epoch:.0f} were kept."
    other = None if beside is None else _line(beside.training, beside.name, "score", BESIDE)
    return _plot("Validation NDCG@10", note, [line, other], best=(epoch, score), from_zero=True)


def _plot(title: str, note: str, lines: Sequence[Line | None], **options: Any) -> Plot | None:
    drawn = [line for line in lines if line is not None and line.points]
    return Plot(title, plots.curves(f"{title} by epoch", drawn, **options), note) if drawn else None


def _line(rows: Sequence[Row], name: str, column: str, colour: str | None = None) -> Line | None:
    known = [row for row in rows if row.get(column) is not None]
    if not known:
        return None
    return Line(name, [row["epoch"] + 1 for row in known], [float(row[column]) for row in known], colour)


def _levels(rows: Sequence[Row], prefix: str) -> list[Line]:
    columns = _columns(rows, prefix)
    lines = [
        _line(rows, f"level {column.removeprefix(prefix)}", column, _colour(int(column.removeprefix(prefix)) - 1))
        for column in columns
    ]
    return [line for line in lines if line is not None]


def _sum(rows: Sequence[Row], name: str, prefix: str) -> Line | None:
    columns = _columns(rows, prefix)
    if not columns:
        return None
    return Line(name, [row["epoch"] + 1 for row in rows], [sum(row[column] for column in columns) for row in rows])


def _columns(rows: Sequence[Row], prefix: str) -> list[str]:
    names = [name for name in (rows[0] if rows else {}) if name.startswith(prefix)]
    return sorted(names, key=lambda name: int(name.removeprefix(prefix)))


def _colour(level: int) -> str:
    return COLOURS[level % len(COLOURS)]

"""The report on semantic IDs as one self-contained page: no scripts, no requests, item text is escaped."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from sidestep import durable
from sidestep.evaluation.sid_quality import SidQuality
from sidestep.report import sid_figures, sid_items
from sidestep.report.page import LEGEND_ROWS, fill
from sidestep.workshop.report import SidFindings

MAX_RUNS = 4


def write_sid_page(findings: SidFindings, out: Path) -> Path:
    """Write the page to `out` atomically, and return its path."""
    durable.write_text(out, render(findings))
    return out


def render(findings: SidFindings) -> str:
    """The page: the first table in full, the others compared with it. The same findings give the same bytes."""
    first = findings.qualities[0]
    return fill(
        "sids.html",
        first=first,
        qualities=findings.qualities,
        labels=list(dict.fromkeys(label for quality in findings.qualities for label in quality.purity)),
        shape=_shape(first),
        shapes=[_shape(quality) for quality in findings.qualities],
        perplexities=[_perplexities(quality) for quality in findings.qualities],
        missing=missing(findings.qualities),
        ordered=findings.popularity is not None,
        comparison=sid_figures.comparison(findings.qualities),
        usage=sid_figures.usage_plots(findings.first, first),
        by_level=sid_figures.level_plots(first.levels),
        maps=sid_figures.maps(findings),
        named=findings.cluster_names,
        legend_rows=LEGEND_ROWS,
        id_sizes=sid_items.id_sizes(findings.first.codes),
        collisions=sid_items.collisions(findings),
        behind=sid_items.behind(findings),
    )


def missing(qualities: Sequence[SidQuality]) -> list[tuple[str, list[str]]]:
    """Each missing measure once, with the names of the tables without it; no names if it is missing for all tables."""
    messages = dict.fromkeys(message for quality in qualities for message in quality.missing)
    tables = {message: [quality.name for quality in qualities if message in quality.missing] for message in messages}
    return [(message, names if len(names) < len(qualities) else []) for message, names in tables.items()]


def _shape(quality: SidQuality) -> str:
    """The sizes of the levels, such as 3 × 256 or 2 × 128 · 64; their range if that is long."""
    sizes = [level.size for level in quality.levels]
    runs = [(size, len(list(same))) for size, same in groupby(sizes)]
    if len(runs) > MAX_RUNS:
        return f"{len(sizes)} levels, {min(sizes):,} to {max(sizes):,}"
    return " · ".join(f"{times} \N{MULTIPLICATION SIGN} {size:,}" if times > 1 else f"{size:,}" for size, times in runs)


def _perplexities(quality: SidQuality) -> str:
    values = [level.perplexity for level in quality.levels]
    if len(values) > MAX_RUNS + 1:
        return f"{min(values):,.0f} to {max(values):,.0f}"
    return " · ".join(f"{perplexity:,.0f}" for perplexity in values)

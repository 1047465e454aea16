"""The report on semantic IDs as one self-contained page: no script, no request, item text is text there."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from sidestep import artifact
from sidestep.evaluation.sid_quality import SidQuality
from sidestep.report import sid_figures, sid_items
from sidestep.report.page import LEGEND_ROWS, fill
from sidestep.workshop.report import SidFindings

MAX_RUNS = 4


def write_sid_page(found: SidFindings, out: Path) -> Path:
    """Write the page to `out`, whole or not at all, and say where it is."""
    artifact.write_text(out, render(found))
    return out


def render(found: SidFindings) -> str:
    """The page: the first table in full, the others compared with it. The same findings give the same bytes."""
    first = found.qualities[0]
    return fill(
        "sids.html",
        first=first,
        qualities=found.qualities,
        labels=list(dict.fromkeys(label for quality in found.qualities for label in quality.purity)),
        shape=_shape(first),
        shapes=[_shape(quality) for quality in found.qualities],
        perplexities=[_perplexities(quality) for quality in found.qualities],
        missing=missing(found.qualities),
        ordered=found.popularity is not None,
        comparison=sid_figures.comparison(found.qualities),
        usage=sid_figures.usage_plots(found.first, first),
        by_level=sid_figures.level_plots(first.levels),
        maps=sid_figures.maps(found),
        named=found.cluster_names,
        legend_rows=LEGEND_ROWS,
        id_sizes=sid_items.id_sizes(found.first.codes),
        collisions=sid_items.collisions(found),
        behind=sid_items.behind(found),
    )


def missing(qualities: Sequence[SidQuality]) -> list[tuple[str, list[str]]]:
    """What could not be told, each once, with the tables that it holds for; with none where it holds for all."""
    told = dict.fromkeys(message for quality in qualities for message in quality.missing)
    concerned = {message: [quality.name for quality in qualities if message in quality.missing] for message in told}
    return [(message, names if len(names) < len(qualities) else []) for message, names in concerned.items()]


def _shape(quality: SidQuality) -> str:
    """The codes at every level, as in 3 × 256 or 2 × 128 · 64; their range where that would be long."""
    sizes = [level.size for level in quality.levels]
    runs = [(size, len(list(same))) for size, same in groupby(sizes)]
    if len(runs) > MAX_RUNS:
        return f"{len(sizes)} levels, {min(sizes):,} to {max(sizes):,}"
    return " · ".join(f"{times} \N{MULTIPLICATION SIGN} {size:,}" if times > 1 else f"{size:,}" for size, times in runs)


def _perplexities(quality: SidQuality) -> str:
    found = [level.perplexity for level in quality.levels]
    if len(found) > MAX_RUNS + 1:
        return f"{min(found):,.0f} to {max(found):,.0f}"
    return " · ".join(f"{perplexity:,.0f}" for perplexity in found)

"""A run as one self-contained page: no scripts, no requests, and item text is escaped."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sidestep import durable
from sidestep.methods.table import METHODS
from sidestep.pipeline.report import Findings, gather
from sidestep.pipeline.run import Run
from sidestep.report import figures
from sidestep.report.path_figures import path_plots, recall_plots

HERE = Path(__file__).parent
HISTORY_SHOWN, LEGEND_ROWS = 12, 12


def write_report(folder: Path, out: Path | None = None, beside: Path | None = None) -> Path:
    """Write the page of a run folder to `out`, by default to report.html in the run folder, and return its path.

    beside: a second run folder to compare with.

    Raises:
        ArtifactError: not a run folder, or modified artifacts. DataError, ConfigError: runs that cannot be compared.
    """
    target = folder / "report.html" if out is None else out
    other = None if beside is None else Run.open(beside)
    durable.write_text(target, render(gather(Run.open(folder), other)))
    return target


def render(findings: Findings) -> str:
    """The page. The same findings give the same bytes."""
    return fill(
        "page.html",
        findings=findings,
        history_shown=HISTORY_SHOWN,
        legend_rows=LEGEND_ROWS,
        recipe=json.dumps(findings.recipe.model_dump(mode="json"), indent=1, ensure_ascii=False),
        **_identity(findings),
        **_results(findings),
        **_training(findings),
        **_paths(findings),
    )


def fill(name: str, **values: Any) -> str:
    """Render a template of this folder. Text is escaped, and a missing value is an error."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = _figure
    environment.filters["share"] = _share
    environment.filters["signed"] = _signed
    environment.filters["duration"] = _duration
    environment.filters["percent"] = lambda value: "-" if value is None else f"{100 * value:.0f} %"
    css = Markup((HERE / "page.css").read_text(encoding="utf-8"))
    return environment.get_template(name).render(css=css, version=version("sidestep"), **values)


def _identity(findings: Findings) -> dict[str, Any]:
    data, method = findings.recipe.data, METHODS[findings.recipe.method]
    source = "the planted world" if data.source == "planted" else data.path.resolve().name
    return {"recipe_method": findings.recipe.method, "source": source, "summary": method.summary, "paper": method.paper}


def _results(findings: Findings) -> dict[str, Any]:
    if findings.evaluation is None:
        return {"headline": None, "groups": [], "by_length": None}
    headline = figures.headline(findings.evaluation, findings.beside)
    return {
        "headline": headline,
        "groups": figures.groups(findings.evaluation),
        "by_length": figures.by_length(findings.ranks[headline.seen], headline.metric),
        "columns": figures.columns(findings.evaluation),
        "optimistic": [f"HR@{k}" for k in findings.evaluation.at],
    }


def _training(findings: Findings) -> dict[str, Any]:
    sids = findings.sids
    codebooks, usage = (None, []) if sids is None else figures.usage_plots(sids)
    return {
        "training": figures.training_plots(
            findings.training, () if sids is None else sids.num_clusters, findings.beside
        ),
        "tokenizing": figures.tokenizer_plots(findings.tokenizing),
        "codebooks": codebooks,
        "usage": usage,
        "maps": [] if sids is None else figures.level_maps(sids, findings.cluster_names),
    }


def _paths(findings: Findings) -> dict[str, Any]:
    analysis = findings.analysis
    if analysis is None:
        return {"paths": [], "recall": []}
    return {"paths": path_plots(analysis), "recall": recall_plots(analysis.recall)}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _share(value: float) -> str:
    return f"{100 * value:.1f}"

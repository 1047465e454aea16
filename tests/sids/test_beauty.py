"""The tokenizers' acceptance on Beauty's real vectors (S2GR, table 3: ICR 86.65 % < 95.86 % < 99.30 %)."""

from pathlib import Path

import numpy as np
import pytest

from sidestep import recipes
from sidestep.evaluation.sid_quality import SidQuality
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until
from sidestep.studies.tokenizers import STUDIES
from sidestep.workshop.report import ReportOptions, gather, judge_run
from sidestep.workshop.tables import Source


def tokenized(row: str, beauty: Path, seed: int, folder: Path) -> SidQuality:
    """A cell of the study `table3`."""
    settings = [f"data.path={beauty}", *STUDIES["table3"].row(row).settings(), f"seed={seed}"]
    run = Run.open(folder, recipes.read("s2gr-beauty", settings))
    run_until(run, "tokenize", print)
    return judge_run(run)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_table_3_keeps_the_papers_order_and_coba_no_less_meaning(beauty: Path, tmp_path: Path, seed: int) -> None:
    kmeans, plain, coba = (
        tokenized(row, beauty, seed, tmp_path / row) for row in ("rq-kmeans", "rq-vae", "coba-rq-vae")
    )
    assert 0.84 < kmeans.icr < plain.icr
    assert plain.icr > 0.94
    assert all(level.used >= 250 for level in plain.levels)
    assert coba.icr >= plain.icr + 0.03
    assert coba.icr > 0.985
    assert all(level.perplexity > 245 for level in coba.levels)
    assert coba.purity["category"].value >= plain.purity["category"].value


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_among_ids_of_three_levels_cobas_are_the_most_distinct_and_no_distinct_ones_mean_more(
    beauty: Path, tmp_path: Path
) -> None:
    tokenized("coba-rq-vae", beauty, 0, tmp_path / "run")
    found = gather([Source(tmp_path / "run"), Source(beauty / "published_sids.npz")], ReportOptions(cut=3))
    ours, *others = [quality for quality in found.qualities if len(quality.levels) == 3]
    assert len(others) == 19
    assert ours.icr > max(other.icr for other in others)
    distinct = [other.purity["category"].value for other in others if other.icr > 0.95]
    assert ours.purity["category"].value > np.max(distinct)

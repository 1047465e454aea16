"""The tokenizers' acceptance on Beauty's real vectors (S2GR, table 3: ICR 95.86 % without and 99.30 % with CoBa)."""

from pathlib import Path

import pytest

from sidestep import config
from sidestep.evaluation.codebooks import CodebookReport, codebook_report
from sidestep.methods import Recipe, with_parts
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until
from sidestep.sids.semantic_ids import SemanticIds

RECIPES = Path(config.__file__).parent / "recipes"


def tokenized(recipe: str, beauty: Path, seed: int, folder: Path) -> CodebookReport:
    values = config.merge(config.read_toml(RECIPES / f"{recipe}.toml"), [f"data.path={beauty}", f"seed={seed}"])
    run = Run.open(folder, config.build(Recipe, with_parts(values)))
    run_until(run, "tokenize", print)
    return codebook_report(SemanticIds.load(run.path("sids")))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coba_gives_at_least_two_points_more_items_an_id_of_their_own_than_a_healthy_rq_vae(
    beauty: Path, tmp_path: Path, seed: int
) -> None:
    plain = tokenized("tiger-beauty", beauty, seed, tmp_path / "plain")
    coba = tokenized("s2gr-beauty", beauty, seed, tmp_path / "coba")
    assert plain.icr > 0.94
    assert all(level.used >= 250 for level in plain.levels)
    assert coba.icr >= plain.icr + 0.02
    assert coba.icr > 0.975
    assert all(level.perplexity > 240 for level in coba.levels)

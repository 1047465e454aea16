"""The sizes that somebody's own log is given: they grow with it, and pass through what Beauty's recipe has."""

import math
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from sidestep import recipes
from sidestep.data.inspect import Findings, inspect
from sidestep.methods.sizes import Sizes
from sidestep.methods.starting import expected, recipe
from sidestep.methods.table import new_recipe

BEAUTY = (22_363, 12_101, 198_502)
GROWING = [(20 * 3**step, 30 * 2**step, 120 * 3**step) for step in range(12)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    log = tmp_path_factory.mktemp("shop") / "log.csv"
    log.write_text("user_id,item_id,time\n" + "".join(f"u{n % 4},{n % 5},{n}\n" for n in range(20)))
    return inspect(log)


def sized(found: Findings, users: int, items: int, interactions: int) -> Findings:
    return replace(found, users=users, items=items, interactions=interactions)


def test_a_log_of_beauty_s_size_gets_the_recipe_of_beauty(found: Findings) -> None:
    made, beauty = new_recipe(tomllib.loads(recipe(sized(found, *BEAUTY)))), recipes.read("s2gr-beauty")
    assert made.generator == beauty.generator
    assert made.tokenizer == beauty.tokenizer
    assert made.train.model_copy(update={"patience": 20}) == beauty.train
    assert (made.method, made.behaviour) == (beauty.method, beauty.behaviour)


@pytest.mark.parametrize("counts", [(1, 1, 3), (4, 5, 20), *GROWING, (10**7, 10**7, 10**9)])
def test_every_log_gets_a_recipe_that_warms_up_before_it_ends(found: Findings, counts: tuple[int, int, int]) -> None:
    made = new_recipe(tomllib.loads(recipe(sized(found, *counts))))
    steps = made.train.epochs * math.ceil(counts[2] / made.train.batch_size)
    assert made.train.warmup_steps <= steps / 10
    assert made.train.patience >= made.train.epochs // 4
    assert made.generator.num_heads * made.generator.head_width == made.generator.width
    assert made.tokenizer.num_clusters != "auto"
    assert 2 <= made.tokenizer.num_clusters < min(made.tokenizer.sizes)


def test_sizes_grow_with_the_log_and_a_small_one_is_read_more_often() -> None:
    sizes = [Sizes.of(items, interactions) for _, items, interactions in GROWING]
    for smaller, larger in pairwise(sizes):
        for name in ("width", "layers", "codebook_size", "num_clusters", "batch_size"):
            assert getattr(smaller, name) <= getattr(larger, name)
        assert smaller.epochs >= larger.epochs
    assert sizes[0].width * 4 <= sizes[-1].width
    minutes = [each.minutes(*counts) for each, counts in zip(sizes, GROWING, strict=True)]
    assert minutes == sorted(minutes)
    assert minutes[0] < 1.5


def test_how_long_it_may_take_is_said_with_a_baseline_that_takes_less(found: Findings) -> None:
    first, second = expected(sized(found, *BEAUTY), Path("my shop/recipe.toml"))
    assert first.startswith("First a baseline, about ")
    assert "sidestep run 'my shop/recipe.toml' method=sasrec-ce" in first
    assert "minutes on one core" in second
    assert "about a minute" in expected(found, Path("recipe.toml"))[1]
    assert "hours" in expected(sized(found, 10**6, 10**5, 10**7), Path("recipe.toml"))[1]

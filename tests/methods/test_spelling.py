"""A recipe and its command: what the command reads is the recipe."""

import shlex

import pytest

from sidestep.recipes import built_in, read
from sidestep.recipes.spelling import command_of


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_recipe_is_its_name(name: str) -> None:
    assert command_of(read(name)) == f"sidestep run {name}"


@pytest.mark.parametrize(
    "settings",
    [
        ["train.epochs=4", "seed=3"],
        ["method=tiger", "tokenizer.codebook_size=[8,16,8]", "data.path=a folder"],
        ["evaluate.at=[1,20]", "evaluate.k=30", "generator.item_part=true"],
    ],
)
def test_a_command_gives_its_recipe_again(settings: list[str]) -> None:
    recipe = read("s2gr-beauty", settings)
    _, _, name, *overrides = shlex.split(command_of(recipe))
    assert read(name, overrides) == recipe
    assert len(overrides) <= len(settings)

"""A stage says once what it makes, reads and depends on."""

from typing import Any

import pytest

from sidestep.config import flat
from sidestep.data.sources.config import FORMERLY_MISSING
from sidestep.methods.table import METHODS, new_recipe
from sidestep.pipeline.settings import changes
from sidestep.pipeline.stage import EMBED, PREPARE, STAGES, TOKENIZE, TRAIN, Stage, stage_named, stages_for
from sidestep.studies.cells import identity

RECIPES = [
    new_recipe({"method": "s2gr-paper"}),
    new_recipe({"method": "s2gr-fused", "embed": {"path": "vectors.npy"}}),
    new_recipe({"method": "tiger-4", "tokenizer": {"collisions": "extra", "kind": "rq-kmeans"}}),
    new_recipe({"method": "sasrec-ce"}),
]
IDLE = {"train.checkpoint_seconds": 1.0, "train.log_with": ["wandb"], "evaluate.at": [1], "evaluate.batch_size": 7}


def changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    section, _, name = key.partition(".")
    return {**values, section: {**values[section], name: value}} if name else {**values, section: value}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.method)
def test_a_stage_reads_only_what_an_earlier_one_makes(recipe: Any) -> None:
    made: set[str] = set()
    for stage in STAGES:
        assert set(stage.reads(recipe)) <= made, stage.name
        assert not made & set(stage.makes)
        made |= set(stage.makes)


def test_stages_that_an_artifact_needs_are_those_on_the_way_to_it() -> None:
    recipe = RECIPES[0]
    assert [stage.name for stage in stages_for(recipe, ["interactions"])] == ["prepare"]
    assert [stage.name for stage in stages_for(recipe, ["vectors"])] == ["prepare", "embed"]
    assert [stage.name for stage in stages_for(recipe, ["sids"])] == ["prepare", "embed", "propagate", "tokenize"]
    assert stages_for(recipe, []) == ()
    assert all(stage_named(stage.name) is stage for stage in STAGES)


@pytest.mark.parametrize("key", IDLE)
def test_keys_that_cannot_change_a_result_stand_in_no_settings_and_no_cell(key: str) -> None:
    for recipe in RECIPES:
        other = new_recipe(changed(recipe.model_dump(mode="json"), key, IDLE[key]))
        assert other != recipe
        assert all(stage.settings(other) == stage.settings(recipe) for stage in STAGES)
        assert all(key not in flat(stage.settings(recipe)) for stage in STAGES)
        assert identity(other) == identity(recipe)


@pytest.mark.parametrize(
    ("key", "value", "decides"),
    [
        ("seed", 1, {"prepare", "embed", "tune", "window", "blend", "behave", "tokenize", "train"}),
        ("data.ties", "shuffled", {"prepare", "window"}),
        ("split.kind", "global-time", {"embed", "tune", "blend", "behave", "propagate", "train"}),
        ("tune.steps", 8, {"tune"}),
        ("behaviour.width", 8, {"behave"}),
        ("behaviour.weight", 2.0, set()),
        ("graph.window", 3, {"embed", "propagate"}),
        ("tokenizer.epochs", 7, {"tokenize"}),
        ("generator.inner", 7, {"train"}),
        ("train.lr", 0.5, {"train"}),
        ("evaluate.valid_beams", 7, {"train"}),
        ("evaluate.num_beams", 7, set()),
        ("baseline.inner", 7, set()),
    ],
)
def test_a_key_decides_the_stages_that_read_it_and_the_cell(key: str, value: Any, decides: set[str]) -> None:
    recipe = RECIPES[0]
    other = new_recipe(changed(recipe.model_dump(mode="json"), key, value))
    assert {stage.name for stage in STAGES if stage.settings(other) != stage.settings(recipe)} == decides
    assert (identity(other) == identity(recipe)) == (key == "baseline.inner" or key.startswith(("behaviour.", "tune.")))


def test_behaviour_decides_where_it_is_asked_for_and_nowhere_else() -> None:
    """The weight joins vectors that are made already; without a source, no key of the section changes a cell."""
    plain, asked, heavy = (
        new_recipe({"method": "s2gr", "behaviour": values}) for values in ({"source": "none"}, {}, {"weight": 2.0})
    )
    assert [stage.name for stage in stages_for(asked, ["aligned"])] == ["prepare", "embed", "behave", "propagate"]
    assert "behave" not in [stage.name for stage in stages_for(plain, ["sids"])]
    assert {stage.name for stage in STAGES if stage.settings(heavy) != stage.settings(asked)} == {"propagate"}
    assert len({str(identity(recipe)) for recipe in (plain, asked, heavy)}) == 3
    counted = new_recipe({"method": "s2gr", "behaviour": {"source": "spectral"}})
    assert "graph" in stage_named("behave").settings(counted)
    assert "graph" not in stage_named("behave").settings(asked)


def test_tuned_vectors_are_read_where_they_are_asked_for_by_all_that_read_vectors() -> None:
    plain, asked, pairs = (
        new_recipe({"method": "s2gr-fused", "tune": values, "behaviour": {"source": "none"}})
        for values in ({}, {"kind": "map"}, {"kind": "map", "pairs": ["u2i"]})
    )
    assert "tune" not in [stage.name for stage in stages_for(plain, ["model"])]
    assert [stage.name for stage in stages_for(asked, ["aligned"])] == ["prepare", "embed", "tune", "propagate"]
    for stage in STAGES:
        if stage.name != "tune" and "vectors" in stage.reads(plain):
            assert {"tuned"} == set(stage.reads(asked)) - set(stage.reads(plain))
            assert "vectors" not in stage.reads(asked)
    assert len({str(identity(recipe)) for recipe in (plain, asked, pairs)}) == 3
    tune = stage_named("tune")
    assert "graph" in tune.settings(pairs)
    assert "graph" not in tune.settings(asked)


def test_vectors_out_of_a_file_do_not_depend_on_the_graph() -> None:
    with_path, without = (new_recipe({"embed": {"path": path}}) for path in ("vectors.npy", None))
    assert "graph" not in EMBED.settings(with_path)
    assert "graph" in EMBED.settings(without)


def test_a_tokenizer_that_counts_popularity_depends_on_the_log() -> None:
    plain, popular = (new_recipe({"tokenizer": {"collisions": kind}}) for kind in ("keep", "nearest"))
    assert "interactions" not in TOKENIZE.reads(plain)
    assert popular.tokenizer.uses_interactions == ("interactions" in TOKENIZE.reads(popular))
    assert popular.tokenizer.uses_interactions == ("split" in TOKENIZE.settings(popular))


def test_artifacts_of_before_are_read_under_the_names_of_today() -> None:
    settings = TRAIN.settings(RECIPES[0])
    before = {key: value for key, value in settings.items() if key != "evaluate"}
    before["validation"] = [settings["evaluate"]["valid_beams"], settings["evaluate"]["valid_users"]]
    before["train"] = {**settings["train"], "log_with": []}
    assert changes(before, settings) == []
    assert changes({**before, "validation": [20, 5]}, settings) == ["evaluate.valid_users: 5 -> 2000"]


@pytest.mark.parametrize("words", FORMERLY_MISSING)
def test_spellings_of_missing_values_that_nobody_chose_are_those_of_today(words: list[str]) -> None:
    settings = PREPARE.settings(RECIPES[0])
    before = changed(settings, "data.missing", words)
    old = RECIPES[0].model_copy(update={"data": RECIPES[0].data.model_copy(update={"missing": words})})
    assert identity(old) == identity(RECIPES[0])
    assert changes(before, settings) == changes(settings, before) == []
    assert len(changes(changed(settings, "data.missing", ["void"]), settings)) == 1


def test_a_key_of_an_unknown_release_is_a_change_and_a_key_that_no_longer_counts_is_none() -> None:
    settings = EMBED.settings(RECIPES[1])
    assert changes({**settings, "graph": {"window": 9}}, settings) == []
    assert changes({**settings, "magic": 9}, settings) == ["magic: 9 -> None"]


@pytest.mark.parametrize("name", METHODS)
def test_what_decides_a_training_is_what_its_stages_name(name: str) -> None:
    """A cell is told apart by the keys of its stages, the ranking's, and the files that it reads, and by no other."""
    recipe = new_recipe({"method": name, "evaluate": {"k": 100}})
    named = {key for stage in _stages(name) for key in flat(stage.settings(recipe))} | {"evaluate.k"}
    named |= {f"evaluate.{key}" for key in METHODS[name].ranking} | {"method", "seed"}
    assert {key for key in identity(recipe) if not key.startswith("data.")} <= named


def _stages(name: str) -> tuple[Stage, ...]:
    from sidestep.pipeline.stage import stages_of

    return stages_of(new_recipe({"method": name}))

"""What every method of the table keeps to, and what a new family has to touch."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

import sidestep
from sidestep.config import Section, decisive, flat
from sidestep.errors import ConfigError
from sidestep.methods import table
from sidestep.methods.generative import Generative
from sidestep.methods.recipe import Recipe, recipe_with
from sidestep.methods.scoring import Scoring
from sidestep.methods.table import DEFAULTS, METHODS, RECIPE, new_recipe, saved_recipe
from sidestep.pipeline.stage import STAGES, TRAIN, stages_of
from test_imports import MODULES, imported, module_name

SOURCE = Path(sidestep.__file__).parent


@pytest.mark.parametrize("name", METHODS)
def test_the_parts_of_a_method_are_a_recipe_of_it(name: str) -> None:
    recipe = new_recipe({"method": name})
    values = flat(recipe.model_dump(mode="json"))
    assert {key: values[key] for key in flat(METHODS[name].parts)} == flat(METHODS[name].parts)
    assert saved_recipe(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("name", METHODS)
def test_a_method_reads_its_sections_and_its_training_depends_on_them(name: str) -> None:
    recipe = new_recipe({"method": name})
    settings = TRAIN.settings(recipe)
    for section, kind in METHODS[name].sections.items():
        assert type(getattr(recipe, section)) is kind
        assert recipe.section(kind) == getattr(recipe, section)
        assert settings[section] == decisive(getattr(recipe, section))
    assert settings.keys() == {"method", "seed", "split", "train", "evaluate", *METHODS[name].sections}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_needs_the_stages_that_make_what_it_needs(name: str) -> None:
    needs = METHODS[name].needs
    stages = [stage.name for stage in stages_of(new_recipe({"method": name}))]
    assert ("tokenize" in stages) == needs.ids
    assert ("embed" in stages) == (needs.ids or needs.vectors)
    assert (stages[0], stages[-1]) == ("prepare", "train")
    assert stages == [stage.name for stage in STAGES if stage.name in stages]


@pytest.mark.parametrize("name", METHODS)
def test_only_a_method_that_searches_names_beams(name: str) -> None:
    recipe = new_recipe({"method": name, "evaluate": {"num_beams": 7, "k": 30}})
    beams = METHODS[name].beams(recipe)
    assert (beams is not None) == METHODS[name].needs.ids == ("num_beams" in METHODS[name].ranking)
    assert beams is None or beams >= 30


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "s2gr", "thinking": {"thoughts": False}}, "use method = 's2gr-plain'"),
        ({"method": "rearec-erl", "baseline": {"loss": "bce"}}, "leave it at 'ce'"),
        ({"method": "s2gr-fused", "baseline": {"max_history": 5}}, "a fused model's scorer reads at least as much"),
        (
            {"method": "glass", "long": {"items": 10}},
            "long.items = 10 is less than generator.max_history = 20: it counts the items before the window",
        ),
        ({"method": "glass-no-tier", "long": {"tier": "vectors"}}, "which has no tier; use method = 'glass'"),
        ({"method": "s2gr-glass", "thinking": {"thoughts": False}}, "leaves method 's2gr-glass' nothing to supervise"),
        ({"method": "glass", "long": {"retrieved": 5}}, "sparse_below = 8 is more than retrieved = 5"),
        ({"method": "sasrec-ce", "time": {"request": True}}, "are the times of its items; set both"),
        ({"method": "tiger", "time": {"fields": ["hour", "hour"]}}, "names one twice"),
        ({"method": "tigre"}, "there is no such method; did you mean 'tiger'?"),
    ],
)
def test_settings_that_contradict_a_method_are_refused_with_the_way_out(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        new_recipe(values)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        saved_recipe(values)


@pytest.mark.parametrize("name", METHODS)
def test_who_knows_the_requests_time_says_so_and_nobody_else_reads_times(name: str) -> None:
    recipe = new_recipe({"method": name, "time": {"history": True, "request": True, "fields": ["hour", "gap"]}})
    method = METHODS[name]
    words = ", ".join(method.search_protocol(recipe))
    assert ("the request's time known: the target's own (hour, gap)" in words) == ("time" in method.sections)
    assert method.time(recipe).told == ("time" in method.sections)
    assert "time known" not in ", ".join(METHODS["tiger"].search_protocol(new_recipe({"method": "tiger"})))


def test_parts_of_a_method_are_laid_under_a_new_recipe_but_not_under_a_saved_one() -> None:
    assert new_recipe({"method": "tiger"}).tokenizer.kind == "rq-vae"
    assert saved_recipe({"method": "tiger"}).tokenizer.kind == DEFAULTS["tokenizer"]["kind"] == "coba-rq-vae"


def test_a_recipe_keeps_each_section_under_one_name_and_no_method() -> None:
    assert set(RECIPE.model_fields) - set(Recipe.model_fields) == {
        name for method in METHODS.values() for name in method.sections
    }
    assert not [
        name for name in imported(SOURCE / "methods" / "recipe.py") if name.startswith(("methods", "generators"))
    ]


class EchoConfig(Section):
    idle = frozenset({"colour"})

    loudness: int = Field(3, ge=0)
    colour: str = "red"


class Echo(Scoring):
    """A family of somebody else, with a section of its own."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**Scoring.sections, "echo": EchoConfig}


@pytest.fixture
def _with_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = Echo("an echo", "ours", METHODS["sasrec-ce"].parts, METHODS["sasrec-ce"].model)  # type: ignore[attr-defined]
    monkeypatch.setitem(METHODS, "echo", echo)
    monkeypatch.setattr(table, "RECIPE", recipe_with(table._sections()))


@pytest.mark.usefixtures("_with_echo")
def test_a_new_family_is_a_row_and_the_stages_ask_it() -> None:
    plain, loud, blue = (
        new_recipe({"method": "echo", "echo": echo}) for echo in ({}, {"loudness": 4}, {"colour": "blue"})
    )
    assert TRAIN.settings(loud)["echo"] == {"loudness": 4}
    assert TRAIN.settings(plain) == TRAIN.settings(blue) != TRAIN.settings(loud)
    assert [stage.name for stage in stages_of(plain)] == ["prepare", "train"]
    with pytest.raises(ConfigError, match="Unknown key 'loudnes' in \\[echo\\]; did you mean 'loudness'"):
        new_recipe({"method": "echo", "echo": {"loudnes": 4}})


@pytest.mark.usefixtures("_with_echo")
def test_the_section_of_one_family_decides_nothing_of_another() -> None:
    one, other = (new_recipe({"method": "tiger", "echo": {"loudness": loudness}}) for loudness in (1, 2))
    assert all(stage.settings(one) == stage.settings(other) for stage in STAGES)


def test_two_methods_cannot_read_one_name_as_two_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Generative):
        sections: ClassVar[Mapping[str, type[Section]]] = {"baseline": EchoConfig}

    monkeypatch.setitem(METHODS, "other", Other("another", "ours"))
    with pytest.raises(AssertionError, match="two methods read \\[baseline\\]"):
        table._sections()


# --- plug-ins ---

PLUGIN = """
from typing import ClassVar
from sidestep.config import Section
from sidestep.methods.scoring import METHODS, Scoring

class EchoConfig(Section):
    loudness: int = 3

class Echo(Scoring):
    sections: ClassVar = {**Scoring.sections, "echo": EchoConfig}

class Clash(Scoring):
    sections: ClassVar = {"data": EchoConfig}

made = METHODS["sasrec-ce"]
ECHO, CLASH = (kind("an echo", "theirs", made.parts, made.model) for kind in (Echo, Clash))
NUMBER = 7
"""
POINTS = """[sidestep.methods]
echo = echo_plugin:ECHO
absent = echo_plugin:NOTHING
number = echo_plugin:NUMBER
clash = echo_plugin:CLASH
s2gr = echo_plugin:ECHO
broken = broken_plugin
"""


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install echo-plugin` would leave in site-packages."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "echo_plugin.py").write_text(PLUGIN)
    (folder / "broken_plugin.py").write_text("1 / 0\n")
    info = folder / "echo_plugin-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-plugin\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(POINTS)
    return folder


def in_its_company(distribution: Path, code: str) -> str:
    """What code prints in a process in which the distribution is installed."""
    path = os.pathsep.join([str(distribution), str(SOURCE.parent), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout


def test_an_installed_method_is_trained_like_ours_and_leaves_no_trace_in_the_runs_of_others(
    distribution: Path, tmp_path: Path
) -> None:
    code = f"""
import sidestep
from command import WORLD
for method, more in (("echo", ["echo.loudness=5"]), ("sasrec-ce", [])):
    recipe = sidestep.recipe("s2gr-planted", [*WORLD, f"method={{method}}", *more])
    model = sidestep.fit(recipe=recipe, out={str(tmp_path)!r} + "/" + method, say=str)
    print(model.method, len(model.recommend(["P05"], 3).item_ids))
"""
    assert in_its_company(distribution, code) == "echo 3\nsasrec-ce 3\n"
    assert '"loudness": 5' in (tmp_path / "echo" / "recipe.json").read_text()
    assert len(sidestep.load(tmp_path / "sasrec-ce").recommend(["P05"], 3).item_ids) == 3
    with pytest.raises(ConfigError, match="Bad value 'echo' for method: there is no such method"):
        sidestep.load(tmp_path / "echo")


def test_a_broken_plug_in_is_one_sentence_and_stops_nobody(distribution: Path) -> None:
    code = """
from sidestep.methods.table import METHODS, OWN, method_named, new_recipe, rows
print(sorted(METHODS.keys() - OWN.keys()), METHODS["s2gr"] is OWN["s2gr"], new_recipe({"method": "tiger"}).method)
for name in ("absent", "broken", "clash", "number"):
    try:
        new_recipe({"method": name})
    except ValueError as error:
        print(error)
print(rows()[-1][1])
"""
    first, absent, broken, clash, number, taken = in_its_company(distribution, code).splitlines()
    assert first == "['echo'] True tiger"
    assert absent.startswith("The plug-in 'absent' of echo-plugin 1.5 (echo_plugin:NOTHING) cannot be used: Attr")
    assert broken.endswith("(broken_plugin) cannot be used: ZeroDivisionError: division by zero")
    assert clash.endswith("its section [data] is that of another; it needs another name")
    assert number.endswith("it is 7, expected a sidestep.methods.method.Method")
    assert taken.endswith("there is a method of this name already; it needs another name")


def test_nobody_outside_the_room_knows_a_family() -> None:
    names = ("keys", "method", "recipe", "search_plan", "starting", "table")
    open_to_all = {"methods", *(f"methods.{name}" for name in names)}
    for path in MODULES:
        if module_name(path).split(".")[0] != "methods":
            families = {name for name in imported(path) if name.startswith("methods")} - open_to_all
            assert not families, f"{module_name(path)} imports {families}; ask the method instead"

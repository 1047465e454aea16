"""Laws of recipes: every key is known, overrides win, mistakes are named with the way out."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from sidestep import config
from sidestep.config import HomePath, Section
from sidestep.errors import ConfigError


def load(kind: type[Section], path: Path, overrides: tuple[str, ...] | list[str] = ()) -> Section:
    return config.build(kind, config.merge(config.read_toml(path), overrides, kind))


class Inner(Section):
    num_levels: int = Field(3, ge=1)
    name: str = "x"
    sizes: tuple[int, ...] = (1, 2)


class Wanting(Section):
    path: HomePath | None = None
    user: str = "x"
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    names: list[str] | None = None
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    one_or_many: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] = 1


class Outer(Section):
    seed: int = 0
    tokenizer: Inner = Inner()


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("seed = 1\n[tokenizer]\nnum_levels = 4\n")
    read = load(Outer, path, ["tokenizer.num_levels=5", "tokenizer.name=plain words", "tokenizer.sizes=[7]"])
    assert read == Outer(seed=1, tokenizer=Inner(num_levels=5, name="plain words", sizes=(7,)))


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("path=2014", "path", Path("2014")),
        ("path=2014-05-01", "path", Path("2014-05-01")),
        ("user=1", "user", "1"),
        ("user=1e3", "user", "1e3"),
        ("user='1'", "user", "1"),
        ("trackers=tensorboard", "trackers", ("tensorboard",)),
        ("names=title", "names", ["title"]),
        ("names=2014", "names", ["2014"]),
        ("names=['a','b']", "names", ["a", "b"]),
        ("sizes=7", "sizes", (7,)),
        ("one_or_many=7", "one_or_many", 7),
        ("one_or_many=[7,8]", "one_or_many", (7, 8)),
    ],
)
def test_an_override_is_read_as_its_field_wants_it(override: str, field: str, value: object) -> None:
    assert getattr(config.build(Wanting, config.merge({}, [override], Wanting)), field) == value


def test_merging_leaves_the_original_alone() -> None:
    values = {"tokenizer": {"num_levels": 2}}
    assert config.merge(values, ["tokenizer.num_levels=9"])["tokenizer"]["num_levels"] == 9
    assert values == {"tokenizer": {"num_levels": 2}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokenizer.num_level=4", r"Unknown key 'num_level' in \[tokenizer\]; did you mean 'num_levels'"),
        ("sed=4", "Unknown key 'sed' in the recipe; did you mean 'seed'"),
        ("tokenizer.num_levels=0", "Bad value 0 for tokenizer.num_levels: .*greater than or equal to 1"),
        ("tokenizer.num_levels=many", "Bad value 'many' for tokenizer.num_levels: .*integer"),
        ("seed", "Cannot read the override 'seed'; expected key=value"),
        ("seed.x=1", "'seed' is a value, not a section"),
        ("=1", "Cannot read the override"),
    ],
)
def test_mistakes_are_named_with_the_way_out(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.build(Outer, config.merge({"seed": 1}, [override]))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No recipe file"):
        load(Outer, tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("seed = = 1")
    with pytest.raises(ConfigError, match="as TOML"):
        load(Outer, tmp_path / "bad.toml")

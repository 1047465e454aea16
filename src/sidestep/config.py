"""The base of all recipe sections, and the reading of recipes: TOML, then `key=value` overrides."""

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from sidestep.errors import ConfigError, brief, did_you_mean


class Section(BaseModel):
    """A frozen part of a recipe, which refuses unknown keys.

    idle: its keys that cannot change a result.
    asks: whether setting it asks for what only its methods do. A recipe that sets it for another method is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    idle: ClassVar[frozenset[str]] = frozenset()
    asks: ClassVar[bool] = False


S = TypeVar("S", bound=Section)
HomePath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]
"""A path in which `~` is the user's home."""


Keys = Mapping[str, Literal[True] | frozenset[str]]
"""Keys of a section and, below it, of its own sections; True stands for all of them."""


def decisive(section: Section, keys: Keys | None = None) -> dict[str, Any]:
    """What can change a result, as JSON values: all keys of a section, or some, without those that are idle."""
    annotation: Keys = dict.fromkeys(type(section).model_fields, True) if keys is None else keys
    values = section.model_dump(mode="json", include=set(annotation) - section.idle)
    for name, below in annotation.items():
        inner = getattr(section, name)
        if isinstance(inner, Section):
            values[name] = decisive(inner, None if below is True else dict.fromkeys(below, True))
    return values


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    dotted: dict[str, Any] = {}
    for key, value in settings.items():
        dotted |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return dotted


def read_toml(path: Path) -> dict[str, Any]:
    """The file as nested dictionaries.

    Raises:
        ConfigError: the file is missing, not UTF-8 text, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"No recipe file at {str(path)!r}; `sidestep recipes` lists the built-in ones") from None
    except RecursionError:
        raise ConfigError(f"Cannot read {str(path)!r} as TOML: it is nested too deeply") from None
    except (ValueError, OSError) as error:  # TOML's own errors, bytes that are no UTF-8, numbers of thousands of digits
        raise ConfigError(f"Cannot read {str(path)!r} as TOML: {brief(error, 200)}") from None


def parse_override(text: str) -> tuple[list[str], Any]:
    """`"train.lr=1e-3"` -> `(["train", "lr"], 0.001)`.

    The value is read as TOML (numbers, booleans, lists); anything that is not TOML is a plain string.
    """
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"Cannot read the override {text!r}; expected key=value, as in train.epochs=10")
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return path, value


def merge(values: Mapping[str, Any], overrides: Iterable[str], kind: type[Section] = Section) -> dict[str, Any]:
    """A copy of nested `values` with all overrides, each converted to the type of its field of `kind`."""
    merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for text in overrides:
        path, value = parse_override(text)
        here = merged
        for depth, name in enumerate(path[:-1]):
            inner = here.get(name, {})
            if not isinstance(inner, Mapping):
                raise ConfigError(f"Cannot set {text!r}: {'.'.join(path[: depth + 1])!r} is a value, not a section")
            here[name] = here = dict(inner)
        here[path[-1]] = _converted(text.partition("=")[2].strip(), value, _type_at(kind, path))
    return merged


def _converted(text: str, value: Any, annotation: Any) -> Any:
    """An override's value, converted to the type of its field: a text field takes the literal text, even of `2014` or
    `1e3`, and a field that takes only a list takes a single value as a list of one.
    """
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    options = {getattr(option, "__origin__", option): option for option in members}
    sequence = options.get(list) or options.get(tuple)
    if sequence is not None and int not in options:
        return value if isinstance(value, list) else [_converted(text, value, get_args(sequence)[0])]
    return text if {str, Path} & set(options) and not isinstance(value, str) else value


def build(kind: type[S], values: Mapping[str, Any]) -> S:
    """Validate nested values into a section.

    Raises:
        ConfigError: the first unknown key (with a suggestion), or value of a wrong type or range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_message(kind, error)) from None


def _first_message(kind: type[Section], error: ValidationError) -> str:
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    where = f"in [{'.'.join(path[:-1])}]" if len(path) > 1 else "in the recipe"
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(path[-1], _fields_at(kind, path[:-1]))
        return f"Unknown key {path[-1]!r} {where}{hint}"
    if problem["type"] == "missing":
        return f"Missing key {path[-1]!r} {where}; set it in the recipe or as {'.'.join(path)}=VALUE"
    name = ".".join(path) or "the recipe"
    whole = isinstance(problem["input"], Mapping)  # a section with inconsistent keys: the message names them
    met = "" if whole else f" {brief(repr(problem['input']))}"
    return f"Bad value{met} for {name}: {problem['msg'].removeprefix('Value error, ')}"


def _fields_at(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    section = _section_in(_type_at(kind, path))
    return list(section.model_fields) if section else []


def _type_at(kind: type[BaseModel], path: Sequence[str]) -> Any:
    """The annotation of the field at a dotted path; None if there is no such field."""
    annotation: Any = kind
    for name in path:
        section = _section_in(annotation)
        if section is None or name not in section.model_fields:
            return None
        annotation = section.model_fields[name].annotation
    return annotation


def _section_in(annotation: Any) -> type[BaseModel] | None:
    options = (annotation, *get_args(annotation))
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)

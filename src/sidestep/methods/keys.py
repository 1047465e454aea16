"""Every key of a recipe with its type, default and description, from the sections' own fields and docstrings."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from sidestep.config import Section
from sidestep.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Key:
    """name: dotted, as on the command line. type: what it takes, with its range, in words. text: its description."""

    name: str
    type: str
    default: str
    text: str


@dataclass(frozen=True)
class KeysOf:
    """A section of the recipe. name: empty for the keys at the top. text: what the section is for."""

    name: str
    text: str
    keys: list[Key]


def sections(recipe: type[Section]) -> list[KeysOf]:
    """The keys at the top, then every section in the order of the recipe; sections in sections have a dotted name."""
    found = list(_below("", recipe))
    return [section for section in found if section.keys]


def named(kinds: Sequence[type[Section]], name: str | None) -> list[KeysOf]:
    """The section of a name, with the sections in it, or the single key of one; None takes all. kinds: where to look,
    the recipe first.

    Raises:
        ConfigError: neither a section nor a key.
    """
    every = [section for kind in kinds for section in sections(kind)]
    if name is None:
        return every
    inside = [each for each in every if each.name == name or each.name.startswith(f"{name}.")]
    keys = [replace(each, keys=[key for key in each.keys if key.name == name]) for each in every]
    found = inside or [each for each in keys if each.keys]
    if not found:
        known = [each.name for each in every if each.name] + [key.name for each in every for key in each.keys]
        owners = [key.name for each in every for key in each.keys if key.name.split(".")[-1] == name]
        hint = f"; did you mean {' or '.join(map(repr, owners))}?" if owners else did_you_mean(name, known)
        raise ConfigError(f"No section or key {name!r} in a recipe{hint}; `sidestep config` lists all")
    return found


def _below(prefix: str, kind: type[Section]) -> Iterator[KeysOf]:
    intent, texts = described(kind.__doc__ or "", list(kind.model_fields))
    inner = {name: field.annotation for name, field in kind.model_fields.items() if _is_section(field.annotation)}
    keys = [
        Key(f"{prefix}{name}", _type(field), _default(field), texts.get(name, ""))
        for name, field in kind.model_fields.items()
        if name not in inner
    ]
    yield KeysOf(prefix.rstrip("."), intent, keys)
    for name, section in inner.items():
        assert isinstance(section, type)
        yield from _below(f"{prefix}{name}.", section)


def described(docstring: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A docstring: what it says besides its names, and the text of each of these names.

    `name: text` describes a name, `first, second: text` several. A text ends where the next one begins, or a blank
    line.
    """
    joined = [" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.cleandoc(docstring))]
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or r"(?!)"
    marks = re.compile(rf"(?:(?<=^)|(?<=[.;)] ))((?:{known})(?:, (?:{known}))*): ")
    intent: list[str] = []
    texts: dict[str, str] = {}
    for paragraph in joined:
        found = list(marks.finditer(paragraph))
        intent.append(paragraph[: found[0].start()] if found else paragraph)
        ends = [*(mark.start() for mark in found[1:]), len(paragraph)]
        for mark, end in zip(found, ends, strict=bool(found)):
            text = paragraph[mark.end() : end].strip()
            texts |= dict.fromkeys(mark[1].split(", "), text)
    return " ".join(part.strip() for part in intent if part.strip()), texts


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Mapping):
        return str(dict(value))
    if isinstance(value, tuple | list):
        return str(list(value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _type(field: FieldInfo) -> str:
    return _in_words(field.annotation) + _range(field.metadata)


def _in_words(annotation: Any) -> str:
    origin, members = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "nothing"
    if origin is Literal:
        return ", ".join(str(member) if not isinstance(member, str) else f'"{member}"' for member in members)
    if hasattr(annotation, "__metadata__"):
        return _in_words(members[0]) + _range(annotation.__metadata__)
    if origin in (list, tuple):
        return f"list of {_in_words(members[0])}"
    if origin in (dict, Mapping):
        return f"table of {_in_words(members[1])}"
    if members:
        return " or ".join(_in_words(member) for member in members if member is not type(None))
    name = str(getattr(annotation, "__name__", annotation))
    return _PLAIN.get(name, name)


_PLAIN = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false", "Path": "path"}
_BOUNDS = ((Ge, "ge", "at least"), (Gt, "gt", "above"), (Le, "le", "at most"), (Lt, "lt", "below"))


def _range(metadata: Any) -> str:
    bounds = [
        f"{word} {_plain(getattr(each, name))}"
        for each in metadata
        for kind, name, word in _BOUNDS
        if isinstance(each, kind)
    ]
    return f" ({', '.join(bounds)})" if bounds else ""


def _plain(bound: Any) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"

"""What is wrong with a request, in the words of the house instead of pydantic's."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from sidestep.errors import brief, did_you_mean, listed

WHERE = ("body", "query", "path")
MOST = 3
"""How many mistakes are told at once."""
EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "greater_than": "more than {gt}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "text, not an empty one",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "literal_error": "{expected}",
    "finite_number": "a finite number",
} | {
    f"{kind}_{problem}": words
    for kind, words in {
        "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "list": "a list",
        "dict": "an object", "model": "an object", "model_attributes": "an object",
    }.items()
    for problem in ("type", "parsing", "from_float", "sub_type", "unicode", "parsing_size")
}  # fmt: skip


def sentence(errors: Sequence[Mapping[str, Any]], body: Any = None) -> str:
    """The first few mistakes of a request. body: the type that the body should have had."""
    told: dict[str, list[Mapping[str, Any]]] = {}
    for error in errors:
        told.setdefault(_place(error, body), []).append(error)
    whole = [place for place in told if any(place and other.startswith((f"{place}.", f"{place}[")) for other in told)]
    return "; ".join(
        _mistake(place, told[place], body) for place in [each for each in told if each not in whole][:MOST]
    )


def _mistake(place: str, errors: Sequence[Mapping[str, Any]], body: Any) -> str:
    first = errors[0]
    kind = first["type"]
    if kind == "json_invalid":
        return f"The body is not JSON: {first.get('ctx', {}).get('error', 'it cannot be read')}"
    if kind == "extra_forbidden":
        above, _, name = place.rpartition(".")
        known = _fields(_path(first)[:-1], body)
        hint = did_you_mean(name, known) or f"; expected {listed(known, 20)}"
        return f"Unknown key {name!a}{f' in {above}' if above else ''}{hint}"
    if kind == "missing":
        return f"Missing {place}" if place else "The body is missing; send a JSON object"
    if kind == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    value = first.get("input")
    met = f" {brief(json.dumps(value), 60)}" if isinstance(value, str | int | float | None) else ""
    words = [EXPECTED[error["type"]].format(**_limits(error)) for error in errors if error["type"] in EXPECTED]
    expected = f"expected {' or '.join(dict.fromkeys(words))}" if words else str(first["msg"])
    return f"Bad value{met} for {place or 'the body'}: {expected}"


def _limits(error: Mapping[str, Any]) -> dict[str, Any]:
    return {name: f"{value:g}" if isinstance(value, float) else value for name, value in error.get("ctx", {}).items()}


def _path(error: Mapping[str, Any]) -> list[str | int]:
    where, *path = error["loc"]
    return path if where in WHERE else [where, *path]


def _place(error: Mapping[str, Any], body: Any) -> str:
    """The path of a value as people write it, without the names of a union's members."""
    path, text = _path(error), ""
    names_key = error["type"] in ("extra_forbidden", "missing")
    for number, part in enumerate(path):
        known = _fields(path[:number], body)
        if isinstance(part, int):
            text += f"[{part}]" if text else ""
        elif part in known or (not known and error["loc"][0] != "body") or (names_key and number == len(path) - 1):
            text += f".{part}" if text else part
    return text[:100]


def _fields(path: Sequence[str | int], body: Any) -> list[str]:
    return [name for kind in _models(_type_at(path, body)) for name in kind.model_fields]


def _type_at(path: Sequence[str | int], annotation: Any) -> Any:
    for part in path:
        models = list(_models(annotation))
        fields = {name: field.annotation for kind in models for name, field in kind.model_fields.items()}
        members = {kind.__name__: kind for kind in models}
        annotation = fields.get(part, members.get(part, annotation)) if isinstance(part, str) else annotation
    return annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this type may be, or hold as a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)

"""The text of an item: its title, brand, categories and the like, joined into what an embedder reads."""

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sidestep.errors import DataError, did_you_mean
from sidestep.imports import at_use

if TYPE_CHECKING:
    import polars as pl
else:
    pl = at_use("polars")

TEXT = "text"
PATH = " > "
"""Between the steps of a category, the widest first."""
USUAL_FIELDS = (
    *("title", "name", "item_name", "product_name", "movie_title", "brand", "store", "author", "artist"),
    *("categories", "category", "main_category", "genres", "genre", "class", "tags", "tag"),
    *("features", "feature", "description"),
)


def add_text(items: "pl.DataFrame", fields: Sequence[str] | None) -> "pl.DataFrame":
    """The items with a column `text`: the fields joined by ". ", without HTML entities and runs of blanks.

    The fields themselves lose their HTML entities too. Without fields, or when every text is empty, there is no
    column `text`.

    Raises:
        DataError: a field that the items do not have.
    """
    chosen = usual_fields(items) if fields is None else list(fields)
    for field in chosen:
        if field not in items.columns:
            raise DataError(
                f"The items have no column {field!r} (data.text_fields){did_you_mean(field, items.columns)}; "
                f"their columns are {', '.join(items.columns)}"
            )
    parts = [[joined(value, field) for value in items[field].to_list()] for field in chosen]
    texts = [". ".join(part for part in row if part) for row in zip(*parts, strict=True)]
    unescaped = items.with_columns(_without_entities(items[field]) for field in chosen).drop(TEXT, strict=False)
    return unescaped.with_columns(pl.Series(TEXT, texts, dtype=pl.String)) if any(texts) else unescaped


def usual_fields(items: "pl.DataFrame") -> list[str]:
    """The columns that commonly hold words, in reading order; a column `text` stands for all of them."""
    by_name = {column.lower(): column for column in reversed(items.columns)}
    if TEXT in by_name:
        return [by_name[TEXT]]
    return [by_name[name] for name in USUAL_FIELDS if name in by_name and holds_words(items[by_name[name]])]


def holds_words(column: "pl.Series") -> bool:
    """Whether a column is text, and not codes that merely look like it (a `tag` of "39" says nothing)."""
    leaves = column.drop_nulls().head(1000)
    while leaves.dtype == pl.List:
        leaves = leaves.explode().drop_nulls()
    if leaves.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return False
    words = leaves.cast(pl.String).str.contains(r"\p{L}{2}")
    return bool(words.any()) and 2 * int(words.sum()) >= len(words)


def joined(value: object, field: str) -> str:
    """One field as plain text. Steps of a category path are joined by `PATH`, other lists by blanks."""
    if isinstance(value, list) and value and all(isinstance(inner, list) for inner in value):
        return ", ".join(filter(None, (joined(inner, field) for inner in value)))
    path = PATH if field.lower().startswith("categor") else " "
    return path.join(" ".join(html.unescape(leaf).split()) for leaf in _leaves(value)).strip()


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif value is not None and str(value).strip():
        yield str(value)


def _without_entities(column: "pl.Series") -> "pl.Series":
    if column.dtype == pl.String:
        clean = [None if value is None else html.unescape(value) for value in column.to_list()]
        return pl.Series(column.name, clean, dtype=pl.String)
    if column.dtype == pl.List(pl.String):
        lists = [value and [leaf and html.unescape(leaf) for leaf in value] for value in column.to_list()]
        return pl.Series(column.name, lists, dtype=column.dtype)
    return column

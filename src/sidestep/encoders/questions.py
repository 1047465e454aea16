"""Questions and answers about items, which a language model learns to answer from an item's vector alone (QARM V2)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidestep.data.catalog import ITEM_ID, SOURCE_ROW, TITLES, Catalog
from sidestep.data.labels import label_column, labels
from sidestep.data.texts import PATH
from sidestep.errors import DataError, listed

MOST = 10
"""Questions about an item."""
LONGEST = 80
"""Characters of an answer; longer values are no answers."""


def by_templates(catalog: Catalog) -> list[str]:
    """Questions about each depth of the category, the brand and other columns of text, `[N]`; empty where an item has
    none of them. The title comes last: it is long.
    """
    found: list[list[str]] = [[] for _ in range(len(catalog))]

    def ask(item: int, question: str, value: object) -> None:
        answer = " ".join(str(value).split()) if value is not None else ""
        if answer and len(answer) <= LONGEST and len(found[item]) < MOST:
            found[item].append(f"Question: {question} Answer: {answer}")

    categories = labels(catalog, "category") or [""] * len(catalog)
    for item, path in enumerate(categories):
        steps = [step for step in path.split(PATH) if step.strip()]
        for depth, step in enumerate(steps[::-1]):
            ask(item, "What kind of item is it?" if depth == 0 else f"What is that a kind of, {depth} up?", step)
    brands = labels(catalog, "brand")
    for item, brand in enumerate(brands or []):
        ask(item, "Of which brand is it?", brand)
    named = {label_column(catalog, "category"), label_column(catalog, "brand"), ITEM_ID, SOURCE_ROW, "text", *TITLES}
    for name in catalog.table.columns:
        if name not in named and str(catalog.table.schema[name]) == "String":
            for item, value in enumerate(catalog.table[name].to_list()):
                ask(item, f"What is its {name.replace('_', ' ')}?", value)
    for item in range(len(catalog)):
        ask(item, "What is it called?", catalog.title(item))
    return [" ".join(each) for each in found]


def of_file(path: Path, catalog: Catalog) -> list[str]:
    """Those of a file of JSON lines with `item`, `question` and `answer`, `[N]`, in the order of the file.

    Raises:
        DataError: no such file, a line that is none of these, or items that the catalogue does not have.
    """
    if not path.is_file():
        raise DataError(f"tune.qa_path = {str(path)!r} is no file; name one of JSON lines with item, question, answer")
    found: list[list[str]] = [[] for _ in range(len(catalog))]
    unknown: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                item, question, answer = _fields(path, number, line)
                place = catalog.number_of.get(item)
                if place is None:
                    unknown.append(item)
                elif len(found[place]) < MOST:
                    found[place].append(f"Question: {question} Answer: {answer}")
    if unknown:
        raise DataError(
            f"{str(path)!r} asks about {len(unknown):,} items that the catalogue does not have: "
            f"{listed(dict.fromkeys(unknown), 3)}; leave these lines out"
        )
    if not any(found):
        raise DataError(f"{str(path)!r} holds no questions; leave tune.qa_path out for those of templates")
    return [" ".join(each) for each in found]


def _fields(path: Path, number: int, line: str) -> Sequence[str]:
    try:
        row: Any = json.loads(line)
    except ValueError:
        row = None
    names = ("item", "question", "answer")
    values = [row.get(name) for name in names] if isinstance(row, dict) else []
    texts = [" ".join(value.split()) for value in values if isinstance(value, str)]
    if len(texts) < len(names) or not all(texts):
        raise DataError(
            f"{str(path)!r}, line {number}: expected one JSON object with texts under item, question and answer"
        )
    return texts

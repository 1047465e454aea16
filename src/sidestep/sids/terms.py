"""The terms that can name an item: the steps of its category path, and the words of its title."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sidestep.data.texts import PATH
from sidestep.imports import at_use
from sidestep.sids.semantic_ids import Ints

if TYPE_CHECKING:
    import polars as pl
else:
    pl = at_use("polars")

WORD = r"\p{L}{3,}"
FEWEST = 2
"""A term of fewer items than this names nothing but an item, which its title does better."""
STOP_WORDS = """
about above after all and any are been before being below between both but can did does doing down during each
few for from further had has have having her here hers him his how into its itself more most nor not off once
only other our ours out over own per same she should some such than that the their them then there these they
this those through too under until very was were what when where which while who whom why will with without
you your yours
"""


@dataclass(frozen=True)
class Terms:
    """terms: T of them, in alphabetical order. Those of item i are `numbers[starts[i] : starts[i + 1]]`, each once."""

    terms: list[str]
    starts: Ints
    numbers: Ints

    @classmethod
    def of(cls, titles: Sequence[str], categories: Sequence[str | None] | None) -> "Terms":
        """The terms that at least `FEWEST` items have. A word of a title is in lower case; a step of a category is as
        it is spelled, and counts as a word where it is one.
        """
        items = pl.DataFrame({"item": np.arange(len(titles)), "title": pl.Series(titles, dtype=pl.String)})
        words = items.select("item", term=pl.col("title").str.to_lowercase().str.extract_all(WORD)).explode("term")
        parts = [words.filter(~pl.col("term").is_in(STOP_WORDS.split()))]
        if categories is not None:
            steps = pl.Series(categories, dtype=pl.String).fill_null("").str.split(PATH)
            named = items.select("item", term=steps).explode("term").with_columns(pl.col("term").str.strip_chars())
            parts.append(named.filter(pl.col("term").str.contains(r"\p{L}")))
        pairs = pl.concat(parts).drop_nulls()
        pairs = pairs.with_columns(key=pl.col("term").str.to_lowercase()).unique(["item", "key"], keep="last")
        spelled = pairs.group_by("key").agg(term=pl.col("term").min(), count=pl.len())
        spelled = spelled.filter(pl.col("count") >= FEWEST).sort("key").with_row_index("number")
        found = pairs.join(spelled.select("key", "number"), on="key").sort("item", "number")
        starts = np.searchsorted(found["item"].to_numpy(), np.arange(len(titles) + 1))
        return cls(spelled["term"].to_list(), starts, found["number"].to_numpy().astype(np.int64))

    def __len__(self) -> int:
        return len(self.terms)

    def of_items(self, items: Ints) -> tuple[Ints, Ints]:
        """The terms of some items, one after the other: the place in `items`, and the number of the term."""
        counts = self.starts[items + 1] - self.starts[items]
        rows = np.repeat(np.arange(len(items)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.numbers[self.starts[items][rows] + within]

"""The recipe's [data] section."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sidestep.config import HomePath, Section
from sidestep.data.sources.planted import PlantedConfig

Source = Literal["table", "amazon", "movielens", "recbole", "planted"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns", "iso", "d/m/y", "m/d/y", "excel"]
_MISSING_BEFORE = (
    *("null", "nan", "none", "nil", "na", "n/a", "#n/a", "<na>", "\\n", "nat", "undefined", "(null)", "<null>"),
    *("-", "--", "?"),
)
MISSING = (
    *_MISSING_BEFORE,
    *("[null]", "(none)", "[none]", "[]", "{}", "''", "\\\\n", "#null!", "#value!", "#ref!", "#name?", "#div/0!"),
    *("n.a.", "n.a", "n.d.", "n/d", "s/d", "k.a.", "keine angabe", "not available", "not set", "(not set)", "missing"),
    *("(empty)", "(blank)", "无", "空", "なし", "нет данных", "\u2014", "\u2013", "\u200b"),
)
FORMERLY_MISSING = (["NULL", "null", "NaN", "nan", "None", "\\N", "<NA>"], list(_MISSING_BEFORE))
"""Defaults of `missing` in releases that knew fewer spellings; runs of before keep them in their settings."""


class DataConfig(Section):
    """Where the log and the catalogue come from, and which of their rows are kept.

    source: the layout of the files. "table" is any Parquet, CSV, TSV or JSON-lines file, gzipped or not, with any
        column names; "planted" is the built-in synthetic shop and reads no file. The layouts amazon and movielens
        have columns of their own and do not read the column keys below.
    path: a folder, or the interactions file itself. Relative to the working directory; `~` is the home.
    interactions, items: file names within `path`. None takes the file with a usual name; a table without `items` has
        a catalogue of bare ids.
    user, item: columns of the interactions that hold the user's id and the item's key.
    order: column with the position of an interaction in its user's history. Wins over `time`.
    time, time_unit: column with the moment; "auto" tells numbers by their size and dates by their spelling. "d/m/y" and
        "m/d/y" say which number is the day where dates such as 03/04/2020 leave it open, "excel" that numbers such as
        45291.5 are a spreadsheet's days.
    event, events: column with the kind of an interaction, and the kinds that count, such as ["purchase"]; None counts
        every row.
    bad_rows: what to do with rows that lack a user, an item, a readable time or position, or that have more or fewer
        fields than the header: refuse the file, or drop the rows and count them.
    bad_rows_limit: the share of a file's rows beyond which dropping is refused.
    missing: spellings, in any case, that stand for no value in a column of ids, times or positions, beside the empty
        one. One that the items file lists as an item, in one row that says something else, too, is that item's id.
    absolute_times: whether times of different users can be compared, which a global-time split needs.
    item_key: column of the items file that the interactions' `item` refers to; None means the same name as `item`.
    item_id: column of the items file with the id that people use; None means `item_key`.
    text_fields: columns of the items file that make up an item's text; None picks title, brand, categories and the
        like, an empty list means no text.
    unknown_items: what to do with interactions of items that the items file lacks.
    duplicate_items: what to do when the items file holds an item twice.
    items_without_interactions: whether items nobody touched (after the filters below) stay in the catalogue.
    k_core: every kept user and every kept item has at least this many interactions; 0 and 1 switch it off.
    min_length: users with fewer interactions are dropped.
    ties: interactions of a user at the same time (or, without times, at the same position) keep the order of the
        file, or are shuffled by the recipe's seed.
    planted: settings of the planted world.
    """

    source: Source = "table"
    path: HomePath = Path(".")
    interactions: str | None = None
    items: str | None = None
    user: str = "user_id"
    item: str = "item_id"
    order: str | None = None
    time: str | None = None
    time_unit: TimeUnit = "auto"
    absolute_times: bool = True
    event: str | None = None
    events: list[str] | None = Field(default=None, min_length=1)
    bad_rows: Literal["error", "drop"] = "error"
    bad_rows_limit: float = Field(default=0.25, ge=0, le=1)
    missing: list[str] = Field(default_factory=lambda: list(MISSING))
    item_key: str | None = None
    item_id: str | None = None
    text_fields: list[str] | None = None
    unknown_items: Literal["error", "drop"] = "error"
    duplicate_items: Literal["error", "first"] = "error"
    items_without_interactions: Literal["drop", "keep"] = "drop"
    k_core: int = Field(default=0, ge=0)
    min_length: int = Field(default=1, ge=1)
    ties: Literal["file", "shuffled"] = "file"
    planted: PlantedConfig = Field(default_factory=lambda: PlantedConfig.model_validate({}))

    @model_validator(mode="after")
    def _filters_agree(self) -> "DataConfig":
        if self.k_core > 1 and self.items_without_interactions == "keep":
            raise ValueError("a k-core leaves no item without interactions; set data.k_core = 0 to keep them")
        return self

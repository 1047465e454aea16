"""What a column's values look like, whatever its name: moments, numbers, ids, kinds of events, ratings, words."""

import re
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from sidestep.data.sources import moments
from sidestep.data.sources.bad_rows import absent
from sidestep.data.sources.config import MISSING
from sidestep.data.sources.moments import MOST, DayOrder
from sidestep.data.sources.numbers import read_numbers
from sidestep.data.texts import holds_words
from sidestep.errors import brief

SAMPLE = 1_000
EVENT_WORDS = frozenset(
    (
        *("view", "views", "viewed", "click", "clicks", "clicked", "cart", "addtocart", "removefromcart", "purchase"),
        *("purchased", "buy", "bought", "order", "ordered", "transaction", "pv", "fav", "favorite", "like", "liked"),
        *("impression", "play", "played", "share", "wishlist", "bookmark", "checkout", "rent", "skip", "download"),
        *("kauf", "ansicht", "klick", "warenkorb", "achat", "vue", "clic", "panier", "compra", "vista"),
    )
)
MOST_EVENTS, MOST_RATINGS = 30, 21
PRICE_DECIMALS = 2
LONGEST_DATE = 48
YES_AND_NO = ("0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "yes", "no", "y", "n", "t", "f")


@dataclass(frozen=True)
class Profile:
    """One column under the magnifying glass. `known` are its values without the missing ones."""

    column: pl.Series

    @property
    def name(self) -> str:
        return self.column.name

    @cached_property
    def known(self) -> pl.Series:
        text = self.column
        if text.dtype in (pl.Categorical, pl.Enum):
            text = text.cast(pl.String)
        return text.filter(~absent(text, MISSING))

    @cached_property
    def nested(self) -> bool:
        return self.column.dtype.is_nested() or self.column.dtype in (pl.Object, pl.Binary)

    @cached_property
    def distinct(self) -> int:
        return 0 if self.nested else self.known.n_unique()

    @cached_property
    def sample(self) -> pl.Series:
        return self.known.unique(maintain_order=True).head(SAMPLE)

    @cached_property
    def numbers(self) -> pl.Series | None:
        """The known values as numbers, null where one is none; None where most are none."""
        if self.nested or self.known.is_empty() or self.known.dtype == pl.Boolean or self.known.dtype.is_temporal():
            return None
        if self.known.dtype.is_integer():  # of 8 bits, or of 128, no number of a date can be compared with
            return self.known.cast(pl.Int64, strict=False)
        if self.known.dtype.is_numeric():
            return self.known.cast(pl.Float64) if self.known.dtype.is_decimal() else self.known
        values = read_numbers(self.known)
        values = values.fill_nan(None) if values.dtype.is_float() else values
        return values if values.len() - values.null_count() >= MOST * len(values) else None

    @cached_property
    def is_whole(self) -> bool:
        return self.numbers is not None and self.numbers.dtype.is_integer()

    @cached_property
    def mixed_units(self) -> bool:
        """Whether most numbers are moments, by two or more units."""
        return self.is_moment and self.numbers is not None and len(moments.units_met(self.numbers)) > 1

    @cached_property
    def is_moment(self) -> bool:
        """Whether most values are dates, or numbers that are moments between 1990 and 2100 in some unit."""
        if self.nested or self.known.is_empty():
            return False
        if self.known.dtype.is_temporal():
            return self.known.dtype in (pl.Date, pl.Datetime)
        if self.numbers is not None:
            most = int(moments.epochs(self.numbers).sum()) >= MOST * len(self.numbers)
            if most or moments.compact_dates(self.numbers):
                return True
            return moments.spreadsheet_days(self.numbers) and moments.with_clock(self.numbers, PRICE_DECIMALS)
        if self.known.dtype != pl.String:
            return False
        texts = self.sample.str.strip_chars().to_list()
        found = moments.day_order(texts)
        order: DayOrder = "m/d/y" if found == "m/d/y" else "d/m/y"
        parse = moments.parser(order)
        return sum(parse(text) is not None for text in texts) >= MOST * len(texts)

    @cached_property
    def holds_digits(self) -> bool:
        """Whether half of the values hold a digit, as moments do in any spelling and of any type."""
        if self.nested or self.known.dtype != pl.String:
            return True
        return 2 * int(self.sample.str.contains(r"\d").sum()) >= len(self.sample)

    @cached_property
    def is_dated(self) -> bool:
        """Whether most values are short texts of a year and two numbers, with a blank or a clock between them."""
        if self.nested or self.known.is_empty() or self.known.dtype != pl.String:
            return False
        dated = self.sample.str.contains(r"(?:^|\D)(?:19|20)\d\d(?:\D|$)") & (
            self.sample.str.len_chars() <= LONGEST_DATE
        )
        for part in (r"\d\D+\d+\D+\d", r"\S\s+\S|\d:\d\d"):
            dated &= self.sample.str.contains(part)
        return int(dated.sum()) >= MOST * len(self.sample)

    @cached_property
    def is_clock(self) -> bool:
        """Whether most values are times of a day without a date."""
        if self.known.dtype == pl.Time:
            return True
        if self.nested or self.known.is_empty() or self.known.dtype != pl.String:
            return False
        return int(self.sample.str.contains(r"^\s*\d{1,2}:\d{2}").sum()) >= MOST * len(self.sample)

    @cached_property
    def is_id(self) -> bool:
        """Whether the values could be ids: whole numbers, or short texts most of which hold no blank."""
        if self.nested or self.distinct < 2 or self.is_moment:
            return False
        if self.numbers is not None:
            return self.is_whole
        if self.known.dtype != pl.String:
            return False
        return int((self.sample.str.contains(r"\s") | (self.sample.str.len_chars() > 128)).sum()) * 5 <= len(
            self.sample
        )

    @cached_property
    def is_event(self) -> bool:
        """Whether the values are a few words of which half are usual kinds of interactions."""
        if self.nested or self.known.dtype != pl.String or not 0 < self.distinct <= MOST_EVENTS:
            return False
        words = [re.sub(r"[\W_]", "", text.lower()) for text in self.sample.to_list()]
        return 2 * sum(word in EVENT_WORDS for word in words) >= len(words)

    @cached_property
    def is_rating(self) -> bool:
        """Whether the values are a few numbers up to 5, 10 or 100 in whole or half steps."""
        if self.numbers is None or not 3 <= self.distinct <= MOST_RATINGS or self.name.lower().endswith("id"):
            return False
        values = self.numbers.cast(pl.Float64).drop_nulls()
        halves = bool(((values * 2) % 1 == 0).all())
        return halves and values.max() in (5.0, 10.0, 100.0) and values.min() in (0.0, 0.5, 1.0, 2.0)

    @cached_property
    def is_binary(self) -> bool:
        """Whether there are two values, which say yes and no."""
        if self.nested or self.distinct != 2:
            return False
        words = self.sample.cast(pl.String).str.strip_chars().str.to_lowercase()
        return words.n_unique() == 2 and bool(words.is_in(YES_AND_NO).all())

    @cached_property
    def is_words(self) -> bool:
        """Whether the values are words for people, and not codes, addresses, dates, or yes and no."""
        if not holds_words(self.column) or self.is_moment or self.is_binary:
            return False
        if self.nested:
            return True
        texts = self.sample
        links = int(texts.str.contains(r"^(?:https?://|www\.)|^\{|^[0-9a-fA-F-]{16,}$").sum())
        if 2 * links > len(texts):
            return False
        blanks = int(texts.str.contains(r"\S\s+\S").sum())
        digits = int(texts.str.contains(r"\d").sum())
        return 5 * blanks >= len(texts) or (2 * digits < len(texts) and self.distinct < len(self.known))

    @property
    def summary(self) -> str:
        """Its values in a few words."""
        rows = len(self.column)
        parts = [f"{self.distinct:,} different"] if not self.nested else []
        if rows > len(self.known):
            parts.append(f"{rows - len(self.known):,} missing")
        if len(self.known) and not self.nested:
            parts.append(f"such as {brief(repr(self.known[0]), 30)}")
        return ", ".join(parts) or str(self.column.dtype).split("(")[0].lower()

    @property
    def looks(self) -> str:
        """What a column is that nothing needs."""
        if self.nested:
            return "nested"
        if self.known.is_empty():
            return "empty"
        if self.distinct == 1:
            return "one value"
        kinds = (
            (self.is_binary, "yes and no"), (self.is_moment, "times"),
            (self.is_event, "kinds"), (self.numbers is not None, "numbers"),
            (self.is_words, "words"), (self.is_id, "ids or codes"),
        )  # fmt: skip
        return next((kind for holds, kind in kinds if holds), "text")

"""Times as a model reads them: the calendar of every item and of the request, and the gap since the item before."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

UNKNOWN = torch.iinfo(torch.int64).min
"""Stands for a time that is not known; all others are milliseconds since 1970, or since any start."""

Field = Literal["hour", "day", "weekend", "week", "gap"]

HOUR = 3_600_000
DAY = 24 * HOUR
THURSDAY = 3
"""The weekday of the first of January 1970, counted from Monday."""
MINUTE = 60_000
GAPS = 22
"""Buckets of gaps: less than a minute, then doubled from one to the next; from two years on all share the last."""
SIZES: dict[Field, int] = {"hour": 24, "day": 7, "weekend": 2, "week": 53, "gap": GAPS}


def calendar(times: Int[Tensor, "*rows"], field: Field, offset_hours: float) -> Int[Tensor, "*rows"]:
    """The hour (from 0), the day of the week (0 is Monday), whether it is a Saturday or Sunday, or the week of the year
    (seven days each, from its first of January), on a clock that is `offset_hours` ahead of the times'.
    """
    local = times + round(offset_hours * HOUR)
    days = local // DAY  # an exported graph would divide by `div` in float32
    if field == "hour":
        return (local - days * DAY) // HOUR
    if field == "week":
        return _day_of_year(days) // 7
    weekday = days + THURSDAY - (days + THURSDAY) // 7 * 7
    return weekday if field == "day" else (weekday >= 5).long()


def gap_bucket(gaps: Int[Tensor, "*rows"]) -> Int[Tensor, "*rows"]:
    """The number of a gap's bucket. A negative gap, where a log's positions contradict its times, is the shortest."""
    minutes = (gaps // MINUTE).clamp(min=0)
    return (minutes[..., None] >= 2 ** torch.arange(GAPS - 1, device=gaps.device)).long().sum(-1)


class TimeEmbedding(nn.Module):
    """A vector for every time: an embedding of each field, row 0 for an unknown one, side by side through a layer. The
    last matrix starts at 0, so that at first times change nothing. An unknown time adds nothing, ever.
    """

    def __init__(self, fields: Sequence[Field], width: int, offset_hours: float, field_width: int = 16) -> None:
        super().__init__()
        self.fields, self.offset_hours = tuple(fields), offset_hours
        self.embeddings = nn.ModuleList(nn.Embedding(1 + SIZES[field], field_width) for field in self.fields)
        self.inner = nn.Linear(len(self.fields) * field_width, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, times: Int[Tensor, "B S"], before: Int[Tensor, "B S"], absolute: bool) -> Float[Tensor, "B S D"]:
        """before: of the item before each time, for the gap. absolute: whether times tell the hour and the day."""
        columns = []
        for field, embedding in zip(self.fields, self.embeddings, strict=True):
            known = (times != UNKNOWN) & ((before != UNKNOWN) if field == "gap" else absolute)
            values = gap_bucket(times - before) if field == "gap" else calendar(times, field, self.offset_hours)
            columns.append(embedding(torch.where(known, 1 + values, 0)))
        vectors: Tensor = self.out(nn.functional.silu(self.inner(torch.cat(columns, dim=-1))))
        return vectors * (times != UNKNOWN)[..., None].to(vectors.dtype)


class Clock(nn.Module):
    """What a model is told of times; handed to the model, which adds it to its inputs.

    history: whether it is told when the items of the history were taken. request: whether it is told when the next item
    is asked for, which in training and evaluation is the target's own time.
    dropout: how often, in training, a whole history's times, or a target's, are left out, so that the model also
    answers where they are not known.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        width: int,
        history: bool = True,
        request: bool = True,
        offset_hours: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.history = TimeEmbedding(fields, width, offset_hours) if history else None
        self.request = TimeEmbedding(fields, width, offset_hours) if request else None

    def of_items(self, times: Int[Tensor, "B T"], absolute: bool) -> Float[Tensor, "B T D"] | None:
        """What is added to the items of a history, oldest first; None where the model is not told."""
        if self.history is None:
            return None
        before = torch.cat([torch.full_like(times[:, :1], UNKNOWN), times], dim=1)[:, : times.shape[1]]
        vectors: Tensor = self.history(times, before, absolute)
        return vectors * self._kept(times[:, :1])

    def of_requests(
        self, asked: Int[Tensor, "B Q"], last: Int[Tensor, "B Q"], absolute: bool
    ) -> Float[Tensor, "B Q D"] | None:
        """What is added for each request. last: when the last item was taken that it sees."""
        if self.request is None:
            return None
        vectors: Tensor = self.request(asked, last, absolute)
        return vectors * self._kept(asked)

    def _kept(self, times: Int[Tensor, "B S"]) -> Float[Tensor, "B S 1"] | float:
        if not (self.training and self.dropout):
            return 1.0
        return (torch.rand(times.shape, device=times.device) >= self.dropout)[..., None].float()


def _day_of_year(days: Int[Tensor, "*rows"]) -> Int[Tensor, "*rows"]:
    """Days since the first of January, of days since 1970 in the Gregorian calendar."""
    year = 1970 + days.div(365.2425, rounding_mode="floor").long()
    year = year + (_first_of(year + 1) <= days).long() - (_first_of(year) > days).long()
    return days - _first_of(year)


def _first_of(year: Int[Tensor, "*rows"]) -> Int[Tensor, "*rows"]:
    """The days from 1970 to the first of January of a year."""
    past = year - 1
    leap = past // 4 - past // 100 + past // 400
    return 365 * (year - 1970) + leap - (1969 // 4 - 1969 // 100 + 1969 // 400)

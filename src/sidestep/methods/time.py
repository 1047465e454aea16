"""[time]: what a method is told of times, whichever model it builds."""

from pydantic import Field, field_validator

from sidestep.config import Section
from sidestep.layers import clock
from sidestep.layers.clock import Clock


class TimeConfig(Section):
    """What a model is told of times. Where both are off, it reads none.

    history: whether it is told when the items of the history were taken. request: whether it is told when the answer is
        wanted; in training and evaluation that is the target's own time, so a figure says so and is to be compared with
        figures that know it, too.
    fields: what of a time: the "hour", the "day" of the week, "weekend" or not, the "week" of the year, and the "gap"
        since the item before. All but the gap need a log with absolute times.
    offset_hours: hours that the calendar is ahead of the log's times: 8 for times in UTC of people in Shanghai; 0 for
        times that are local already.
    dropout: how often a history's or a target's times are left out in training, so that the model also answers where
        they are not known.
    """

    history: bool = False
    request: bool = False
    fields: tuple[clock.Field, ...] = Field(("hour", "day"), min_length=1)
    offset_hours: float = Field(0.0, ge=-24, le=24)
    dropout: float = Field(0.1, ge=0, lt=1)

    @field_validator("fields")
    @classmethod
    def _each_once(cls, fields: tuple[clock.Field, ...]) -> tuple[clock.Field, ...]:
        if len(set(fields)) < len(fields):
            raise ValueError(f"fields = {list(fields)} names one twice")
        return fields

    @property
    def told(self) -> bool:
        return self.history or self.request

    @property
    def needs_calendar(self) -> bool:
        """Whether it takes a log with absolute times."""
        return self.told and set(self.fields) != {"gap"}

    def clock(self, width: int) -> Clock | None:
        """What a model of this width is handed."""
        if not self.told:
            return None
        return Clock(self.fields, width, self.history, self.request, self.offset_hours, self.dropout)

    def protocol(self) -> tuple[str, ...]:
        """What a figure depends on, in words."""
        what = ", ".join(self.fields)
        known = [f"history times known ({what})"] * self.history
        return (*known, *[f"the request's time known: the target's own ({what})"] * self.request)

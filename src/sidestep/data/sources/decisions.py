"""What a look at somebody's files decides, and what the user says beforehand."""

from dataclasses import dataclass, field

from sidestep.data.sources.config import DataConfig


@dataclass(frozen=True)
class Given:
    """What the user says about columns, where a look cannot know.

    item: the log's column, or LOG=ITEMS with that of the items file. time: COLUMN or COLUMN=UNIT, or
    `none` where the order of the file is that of the events.
    text: columns of the items file with commas. event: COLUMN or COLUMN=KIND,KIND, the kinds that count.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    text: str | None = None
    event: str | None = None

    @property
    def any(self) -> bool:
        return any((self.user, self.item, self.time, self.text, self.event))


@dataclass(frozen=True)
class Taken:
    """One column of a file: what it is taken for, and why."""

    file: str
    column: str
    role: str
    why: str


@dataclass
class Guess:
    """settings: keys of [data] as guessed. columns: every column of the files. reasons: further decisions, a line
    each. doubts: what looks odd. ratings: what to know about columns of ratings in a plain table.
    """

    settings: dict[str, object] = field(default_factory=dict)
    columns: list[Taken] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    ratings: list[str] = field(default_factory=list)

    def decide(self, key: str, value: object, why: str) -> None:
        self.settings[key] = value
        self.reasons.append(f"{key} = {value!r}: {why}")

    @property
    def config(self) -> DataConfig:
        return DataConfig.model_validate(self.settings)

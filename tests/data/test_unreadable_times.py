"""Times that cannot be read never leave the order of a log to its file unless somebody says so."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from command import refuse
from sidestep.data.inspect import Given, inspect
from sidestep.data.sources import read
from sidestep.data.sources.moments import parser
from sidestep.errors import DataError

MOMENTS = [datetime(2020, 1, 28, 18, 41, 19, tzinfo=UTC) + timedelta(hours=1501 * n) for n in range(5)]
FRENCH = ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre")
SPANISH = ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre")
GERMAN = ("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November")


def digits(text: str, zero: int) -> str:
    return text.translate({48 + n: zero + n for n in range(10)})


def written(moment: datetime, months: tuple[str, ...], form: str) -> str:
    return form.format(day=moment.day, month=months[moment.month - 1], year=moment.year) + f" {moment:%H:%M:%S}"


SPELLINGS: dict[str, Callable[[datetime], str]] = {
    "Arabic digits, a date": lambda moment: digits(f"{moment:%Y-%m-%d %H:%M:%S}", 0x660),
    "Devanagari digits, seconds": lambda moment: digits(str(int(moment.timestamp())), 0x966),
    "full-width digits, seconds": lambda moment: digits(str(int(moment.timestamp())), 0xFF10),
    "Chinese": lambda moment: f"{moment:%Y}年{moment.month}月{moment.day}日 {moment:%H:%M:%S}",
    "Japanese, with a clock": lambda moment: f"{moment:%Y年%m月%d日 %H時%M分%S秒}",
    "Korean": lambda moment: f"{moment:%Y년 %m월 %d일 %H시 %M분 %S초}",
    "French": lambda moment: written(moment, FRENCH, "{day} {month} {year}"),
    "German": lambda moment: written(moment, GERMAN, "{day}. {month} {year}"),
    "Spanish": lambda moment: written(moment, SPANISH, "{day} de {month} de {year}"),
    "a web server's": lambda moment: f"{moment:[%d/%b/%Y:%H:%M:%S +0000]}",
    "with a zone's name": lambda moment: f"{moment + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}+01:00[Europe/Berlin]",
    "a clock of dots": lambda moment: f"{moment:%Y-%m-%d %H.%M.%S}",
    "a week's day": lambda moment: "{}-W{:02}-{}".format(*moment.isocalendar()) + f"T{moment:%H:%M:%S}",
}


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if "seconds" not in name])
def test_further_spellings_of_moments_are_read_to_the_millisecond(spelling: str) -> None:
    spell = SPELLINGS[spelling]
    assert [parser("none")(spell(moment)) for moment in MOMENTS] == [1000 * int(at.timestamp()) for at in MOMENTS]


def shuffled(path: Path, spell: Callable[[datetime], str], name: str = "timestamp") -> Path:
    """Four users who take i0 to i4 in this order, in a file without any."""
    rows = [f"u{user},i{item},{spell(moment)}" for user in range(4) for item, moment in enumerate(MOMENTS)]
    random.Random(0).shuffle(rows)
    path.write_text("\n".join((f"user_id,item_id,{name}", *rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["timestamp", "xyz"])
def test_they_order_a_log_whatever_its_column_is_called(tmp_path: Path, spelling: str, name: str) -> None:
    dataset = read(inspect(shuffled(tmp_path / "log.csv", SPELLINGS[spelling], name)).config, seed=0)
    ids = dataset.catalog.item_ids
    assert [[ids[item] for item in items] for items in dataset.interactions.histories()] == [
        [f"i{n}" for n in range(5)]
    ] * 4


UNREAD: dict[str, Callable[[datetime], str]] = {
    "a zone by three letters": lambda moment: f"{moment:%Y-%m-%d %H:%M:%S} EST",
    "two digits for a year": lambda moment: f"{moment:%d.%m.%y %H:%M:%S}",
    "hexadecimal": lambda moment: hex(int(moment.timestamp())),
    "a quarter": lambda moment: f"{moment.year}Q{(moment.month + 2) // 3}",
    "a month": lambda moment: f"{moment:%Y-%m}",
    "a clock alone": lambda moment: f"{moment:%H:%M:%S}",
    "JSON of .NET": lambda moment: f"/Date({int(moment.timestamp())}000)/",
    "a year and a day's number": lambda moment: f"{moment:%Y-%j}",
}


@pytest.mark.parametrize("spelling", UNREAD)
def test_a_column_of_times_that_cannot_be_read_is_refused(tmp_path: Path, spelling: str) -> None:
    log = shuffled(tmp_path / "log.csv", UNREAD[spelling])
    line = refuse("init", "--interactions", log, "--out", tmp_path / "r.toml")
    assert "'timestamp' looks like a time but cannot be read as one in 20 rows, such as data row 1 with" in line
    assert "with --time none" in line
    assert inspect(log, given=Given(time="none")).config.time is None


def test_values_that_look_like_dates_are_refused_under_any_name_and_ids_of_digits_are_not(tmp_path: Path) -> None:
    log = shuffled(tmp_path / "log.csv", UNREAD["a zone by three letters"], "xyz")
    with pytest.raises(DataError, match="column 'xyz' looks like a time"):
        inspect(log)
    log = shuffled(tmp_path / "log.csv", lambda moment: f"{moment:%Y-%m}-{moment.day:05}", "order_number")
    assert any("no column of times" in line for line in inspect(log).problems)


def test_a_third_of_empty_times_is_refused_and_empty_columns_and_words_are_passed_over(tmp_path: Path) -> None:
    log = shuffled(tmp_path / "log.csv", lambda moment: "" if moment in MOMENTS[:2] else moment.isoformat())
    with pytest.raises(
        DataError, match=r"8 of 20 rows have no 'timestamp', so it cannot order the log; .* --time none"
    ):
        inspect(log)
    log = shuffled(tmp_path / "log.csv", lambda moment: "")
    assert any("no column of times" in line for line in inspect(log).problems)
    log = shuffled(tmp_path / "log.csv", lambda moment: "evening", "day")
    assert any("'day' looks like a time but cannot be read" in line for line in inspect(log).problems)


ODD = ("1970-01-01", "9999-12-31", "0001-01-01", "5", "-1600000000", "253402300799", "43862.36778", "26342449")


@pytest.mark.parametrize("odd", ODD)
def test_a_moment_decades_from_all_others_is_a_bad_row(tmp_path: Path, odd: str) -> None:
    spell = (lambda moment: f"{moment:%Y-%m-%d %H:%M}") if odd.count("-") == 2 else lambda at: str(int(at.timestamp()))
    log = shuffled(tmp_path / "log.csv", spell)
    lines = log.read_text().split("\n")
    log.write_text("\n".join([*lines[:7], f"{lines[7].rsplit(',', 1)[0]},{odd}", *lines[8:]]))
    found = inspect(log)
    assert any(f"1 rows have no moment in 'timestamp' (data.time), such as '{odd}'" in line for line in found.problems)
    assert found.interactions == 19
    with pytest.raises(DataError, match=r"data row 7 has .*expected a moment within 20 years of the others"):
        read(found.config.model_copy(update={"bad_rows": "error"}), seed=0)


@pytest.mark.parametrize(
    "other", [lambda at: at / 86_400 + 25_569, lambda at: at // 60, lambda at: 20_200_101 + at % 7]
)
def test_a_column_half_epochs_and_half_other_numbers_is_refused(tmp_path: Path, other: Callable[[int], float]) -> None:
    def spell(moment: datetime) -> str:
        at = int(moment.timestamp())
        return f"{other(at):g}" if moment in MOMENTS[1::2] else str(at)

    log = shuffled(tmp_path / "log.csv", spell)
    with pytest.raises(
        DataError, match=r"mixes moments of the calendar and other numbers: data row \d+ has .* \(12 row"
    ):
        inspect(log)
    assert inspect(log, given=Given(time="timestamp=s")).config.time_unit == "s"


def test_days_beside_a_clock_are_said_to_leave_the_order_within_a_day_to_the_file(tmp_path: Path) -> None:
    log = shuffled(tmp_path / "log.csv", lambda moment: f"{moment:%Y-%m-%d},{moment:%H:%M}", "date,clock")
    assert any("'date' holds days and 'clock' the time of day" in line for line in inspect(log).problems)
    whole = shuffled(tmp_path / "log.csv", lambda moment: f"{moment:%Y-%m-%d %H:%M},{moment:%H:%M}", "date,clock")
    assert not any("holds days" in line for line in inspect(whole).problems)


def test_positions_order_a_log_whose_times_cannot_be_read(tmp_path: Path) -> None:
    rows = [f"u{user},i{item},noon of day {item},{item}" for user in range(4) for item in range(5)]
    random.Random(1).shuffle(rows)
    (tmp_path / "log.csv").write_text("\n".join(("user_id,item_id,time,step", *rows)))
    found = inspect(tmp_path / "log.csv")
    assert (found.config.order, found.config.time) == ("step", None)
    assert any("'time' looks like a time but cannot be read" in line for line in found.problems)

"""Whatever people bring: each kind of input is read to its right counts, or refused in one line."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from command import refuse, succeed
from sidestep.config import build, read_toml
from sidestep.data.inspect import Findings, Given, inspect
from sidestep.data.sources import DataConfig, Dataset, content, delimited, joins, read
from sidestep.errors import ConfigError, DataError, one_line

START = 1_600_000_000


def load(path: Path, **settings: object) -> Dataset:
    return read(build(DataConfig, {"path": str(path), **settings}), seed=0)


def histories(data: Dataset) -> dict[str, list[str]]:
    ids = data.catalog.item_ids
    pairs = zip(data.interactions.user_ids, data.interactions.histories(), strict=True)
    return {user: [ids[item] for item in history] for user, history in pairs}


def events(users: int = 5, length: int = 5) -> Iterator[tuple[str, str, int]]:
    for user in range(users):
        for step in range(length):
            yield f"u{user}", f"i{(user + step) % (users + 2)}", START + 100 * user + step


def counts(found: Findings) -> tuple[int, int, int]:
    return found.users, found.items, found.interactions


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def as_log(path: Path, spell: str = "{0},{1},{2}", header: str = "user_id,item_id,time") -> Path:
    return write(path, header, [spell.format(*event) for event in events()])


# --- quotes, lines and fields ---


def test_a_quote_in_a_tab_separated_file_is_a_character_unless_its_field_ends_with_one(tmp_path: Path) -> None:
    rows = ['u\t"i1', 'u\t"i 2"', 'u\ti"3"', 'u\t"', 'u\t"a""b"']
    data = load(write(tmp_path / "log.tsv", "user_id\titem_id", rows))
    assert histories(data) == {"u": ['"i1', "i 2", 'i"3"', '"', 'a"b']}


@pytest.mark.parametrize("swallowed", [['u0,i0,"red', 'u0,i1,blue"'], ['u0,i0,"red', "u0,i1,x", 'u0,i2,blue"']])
def test_a_field_that_swallows_rows_is_refused(tmp_path: Path, swallowed: list[str]) -> None:
    path = write(tmp_path / "log.csv", "user_id,item_id,query", ["u9,i9,x", *swallowed, "u1,i1,y"])
    with pytest.raises(DataError, match=r"data row 2 has a quoted field that runs over several lines"):
        load(path)


def test_descriptions_over_several_lines_are_read_and_stray_quotes_are_characters(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user_id,item_id", ["u,a", "u,b", "u,c", "u,d"])
    text = 'item_id,title,size\na,"Two\nlines, a comma",1\nb,6" nail,2\nc,"said ""so""",3\nd,"open,4\n'
    (tmp_path / "items.csv").write_text(text)
    data = load(log, items="items.csv", text_fields=["title"])
    assert data.catalog.table["title"].to_list() == ["Two\nlines, a comma", '6" nail', 'said "so"', '"open']
    assert data.catalog.table["source_row"].to_list() == [0, 1, 2, 3]


def test_quoted_fields_are_equal_by_either_road(tmp_path: Path) -> None:
    strict = 'k,v\n"a,1","b""c"\nd,e\n,"f"\n'
    body = strict.encode()
    here = delimited._split_here(body.partition(b"\n")[2], tmp_path, ",", ["k", "v"], None, None)
    assert here.rows() == delimited.read_delimited(body, tmp_path).rows() == [("a,1", 'b"c'), ("d", "e"), (None, "f")]


@pytest.mark.parametrize("row", ["u,i", "u,i,7,8", "u"])
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_a_row_with_other_fields_than_the_header_is_refused_or_counted(
    tmp_path: Path, row: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "CHUNK_BYTES", chunk)
    rows = ["u,a,1", "", "u,b,2", row, "", "u,c,3", "v,d,4"]
    path = write(tmp_path / "log.csv", "user_id,item_id,time", rows)
    with pytest.raises(DataError, match=r"1 rows have more or fewer fields than the header's 3 .* data row 3"):
        load(path, time="time")
    data = load(path, time="time", bad_rows="drop")
    assert histories(data) == {"u": ["a", "b", "c"], "v": ["d"]}
    assert any("dropped 1 of 5 rows of log.csv" in note for note in data.notes)


def test_a_column_twice_and_a_header_of_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the column 'item_id' twice"):
        load(write(tmp_path / "log.csv", "user_id,item_id,item_id", ["u,1,2"]))
    with pytest.raises(DataError, match=r"begins with 196, 242, 3, 881250949, which are values"):
        inspect(write(tmp_path / "log.csv", "196,242,3,881250949", ["186,302,3,891717742"]))


# --- encodings, sizes, names ---


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.csv.gz"])
def test_wide_text_is_named(tmp_path: Path, encoding: str, name: str) -> None:
    text = '{"user_id": "u", "item_id": 1}\n' if "json" in name else "user_id,item_id\nu,1\n"
    wide = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(wide) if name.endswith("gz") else wide)
    with pytest.raises(DataError, match=r"is UTF-(16|32).*convert it to UTF-8"):
        load(tmp_path / name)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_ends_of_lines_are_no_part_of_values(tmp_path: Path, start: bytes, end: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(start + end.join([b"user_id,item_id", b"u,1", b"u,2", b""]))
    assert histories(load(tmp_path / "log.csv")) == {"u": ["1", "2"]}


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "UNSUSPICIOUS_BYTES", 1 << 20)
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"user_id,item_id\n" + b"u,1\n" * (1 << 20)))
    with pytest.raises(DataError, match=r"unpacks to more than 200 times as many"):
        load(path)
    pl.DataFrame({"user_id": ["u"] * (1 << 20), "item_id": ["1"] * (1 << 20)}).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"unpacks to more than 200 times as many"):
        load(tmp_path / "log.parquet")
    monkeypatch.setenv(content.LIMIT_VARIABLE, "1000")
    with pytest.raises(DataError, match=r"unpacks to more than 1,000 bytes.*SIDESTEP_MAX_BYTES"):
        load(path)


@pytest.mark.parametrize("magic", content.OTHER_ARCHIVES)
def test_other_archives_are_named(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "log.csv").write_bytes(magic + b"x" * 20)
    with pytest.raises(DataError, match=f"is {content.OTHER_ARCHIVES[magic]}; expected plain text, gzip or Parquet"):
        load(tmp_path / "log.csv")


def test_a_path_that_is_no_text_and_a_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no UTF-8 text; rename the file"):
        inspect(tmp_path / "l\udcffg.csv")
    with pytest.raises(DataError, match=r"is no regular file"):
        list(content.opened(Path("/dev/null")).__enter__())
    assert "no UTF-8" in refuse("init", "--interactions", as_log(tmp_path / "log.csv"), "--out", tmp_path / "\udcff")


def test_error_lines_are_bounded_and_printable(tmp_path: Path) -> None:
    line = one_line(DataError("a\nb\x1b[31m" + "x" * 10_000))
    assert line.startswith("a b\\x1b[31mxxx")
    assert len(line) < 1300
    names = ",".join(f"column_{number}" for number in range(400))
    path = write(tmp_path / "log.csv", names, [",".join("x" for _ in range(400))] * 3)
    assert len(refuse("init", "--interactions", path, "--out", tmp_path / "r.toml")) < 1300


# --- JSON ---


@pytest.mark.parametrize("value", ["1.0", "1e3", "true", "[1]", '{"a": 1}', '"\\ud800"'])
def test_an_id_that_is_no_text_and_no_whole_number_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    lines = ['{"user_id": "u", "item_id": "a"}', f'{{"user_id": "u", "item_id" : {value}}}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"line 2 has .* as 'item_id', which"):
        load(tmp_path / "log.jsonl")
    (tmp_path / "log.csv").write_text("user_id,item_id\nu,a\n")
    with pytest.raises(DataError, match=r"line 2 has .* as 'item_id', which"):
        load(tmp_path / "log.csv", items="log.jsonl")


def test_long_whole_numbers_keep_every_digit(tmp_path: Path) -> None:
    long = ["12345678901234567890123", "12345678901234567890124"]
    (tmp_path / "log.jsonl").write_text("".join(f'{{"user_id": "u", "item_id": {number}}}\n' for number in long))
    assert histories(load(tmp_path / "log.jsonl")) == {"u": long}


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, "1" * 5000, "NaN,", "'x"])
def test_json_that_no_reader_reads_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "log.jsonl").write_text(f'{{"user_id": "u", "item_id": 1}}\n{{"user_id": "u", "item_id": {value}}}\n')
    with pytest.raises(DataError, match=r"line 2"):
        load(tmp_path / "log.jsonl")
    (tmp_path / "r.toml").write_text(f"a = {value}\n")
    with pytest.raises(ConfigError, match=r"as TOML"):
        read_toml(tmp_path / "r.toml")


def test_objects_with_free_keys_stay_text_and_those_of_few_keys_do_not(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user_id,item_id", [f"u,i{number}" for number in range(100)])
    rows = [{"item_id": f"i{n}", "details": {f"k{n}": "v"}, "size": {"w": n, "h": 1}} for n in range(100)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = load(log, items="items.jsonl").catalog.table
    assert json.loads(table["details"][7]) == {"k7": "v"}
    assert table.schema["size"] == pl.Struct({"w": pl.Int64, "h": pl.Int64})


# --- bad rows ---


@pytest.mark.parametrize(
    ("word", "column"),
    [(word, n % 3) for n, word in enumerate(["", "NULL", "nan", "None", r"\N", " ", "N/A", "na", "-", "Undefined"])],
)
def test_missing_values_in_any_column_have_one_policy(tmp_path: Path, word: str, column: int) -> None:
    rows = [list(map(str, event)) for event in events()]
    for row in rows[3:6]:
        row[column] = word
    path = write(tmp_path / "log.csv", "user_id,item_id,time", [",".join(row) for row in rows])
    name = ("user_id", "item_id", "time")[column]
    with pytest.raises(DataError, match=rf"3 rows have no '{name}'.*the first is data row 4.*data.bad_rows = \"drop\""):
        load(path, time="time")
    assert len(load(path, time="time", bad_rows="drop").interactions) == 22
    with pytest.raises(DataError, match=r"3 of 25 rows \(12%\) would be dropped .*data.bad_rows_limit = 0.1 permits"):
        load(path, time="time", bad_rows="drop", bad_rows_limit=0.1)
    found = inspect(path)
    assert (found.interactions, found.config.bad_rows, found.config.time) == (22, "drop", "time")
    assert any("dropped 3 of 25 rows" in problem for problem in found.problems)


def test_words_for_missing_values_can_be_ids_where_the_recipe_has_none(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user_id,item_id", ["None,1", "u,2"])
    assert load(path, missing=[]).interactions.user_ids == ["None", "u"]


def test_an_item_that_is_called_like_a_missing_value_is_one_where_the_items_file_describes_it(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user_id,item_id", ["u,NA", "u,a", "v,n/a", "v,a", "w,NA", "w,b", "x,b", "x,a"])
    write(tmp_path / "items.csv", "item_id,title", ["NA,Sodium", "a,A", "b,B", "null,", "none,C", "none,D"])
    with pytest.raises(DataError, match=r"3 rows have no 'item_id'.*'none' 2 times, 'null' 1 times"):
        load(log, items="items.csv")
    data = load(log, items="items.csv", bad_rows="drop", bad_rows_limit=0.5)
    assert histories(data) == {"u": ["NA", "a"], "v": ["a"], "w": ["NA", "b"], "x": ["b", "a"]}
    assert any("'NA' in 'item_id' is an item and no missing value" in note for note in data.notes)
    assert histories(load(log, bad_rows="drop", bad_rows_limit=0.5)) == {
        "u": ["a"],
        "v": ["a"],
        "w": ["b"],
        "x": ["b", "a"],
    }


def test_vectors_keep_their_rows_when_items_are_dropped(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user_id,item_id", ["u,a", "u,c", "u,d", "u,e", "u,f"])
    write(tmp_path / "items.csv", "item_id,title", ["a,A", ",B", "c,C", "d,D", "e,E", "f,F"])
    data = load(log, items="items.csv", bad_rows="drop")
    assert data.catalog.table["source_row"].to_list() == [0, 2, 3, 4, 5]


# --- times ---

MOMENTS = [datetime(2020, 3, 13, 10, tzinfo=UTC) + timedelta(days=37 * step, hours=step) for step in range(25)]
SPELLINGS = {
    "iso": "%Y-%m-%dT%H:%M:%S",
    "zone": "%Y-%m-%d %H:%M:%S UTC",
    "offset": "%Y-%m-%d %H:%M:%S+00:00",
    "slashes": "%Y/%m/%d %H:%M:%S",
    "day first": "%d/%m/%Y %H:%M",
    "month first": "%m/%d/%Y %H:%M:%S",
    "dots": "%d.%m.%Y %H:%M",
    "named": "%d %b %Y %H:%M:%S",
    "american": "%B %d; %Y %I:%M %p",
    "twitter": "%a %b %d %H:%M:%S +0000 %Y",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_dates_in_any_spelling_order_a_log_whatever_their_column_is_called(tmp_path: Path, spelling: str) -> None:
    rows = [(f"u{n % 5}", f"i{n % 7}", moment.strftime(SPELLINGS[spelling])) for n, moment in enumerate(MOMENTS)]
    path = write(tmp_path / "log.csv", "kunde,artikel;am".replace(";", ","), [",".join(row) for row in reversed(rows)])
    if spelling == "american":
        path.write_text(path.read_text().replace(";", "").replace(", ", " "))
    found = inspect(path)
    assert (found.config.user, found.config.item, found.config.time) == ("kunde", "artikel", "am")
    assert found.span is not None
    wanted = [moment.timestamp() * 1000 for moment in (MOMENTS[0], MOMENTS[-1])]
    assert list(found.span) == pytest.approx(wanted, abs=0 if ":%S" in SPELLINGS[spelling] else 1)


@pytest.mark.parametrize("scale", [1, 1000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("name", ["t", "zeit", "x9"])
def test_epochs_of_any_unit_are_known_by_their_size(tmp_path: Path, scale: int, name: str) -> None:
    rows = [f"{user},{item},{time * scale}" for user, item, time in events()]
    found = inspect(write(tmp_path / "log.csv", f"user_id,item_id,{name}", rows[::-1]))
    assert found.config.time == name
    assert found.span == (START * 1000, (START + 404) * 1000)


@pytest.mark.parametrize("name", ["time", "x9"])
def test_days_of_a_spreadsheet_are_days(tmp_path: Path, name: str) -> None:
    """45291.5 is noon of 31 December 2023, as Excel shows it."""
    rows = [f"u{n % 5},i{n % 7},{45291.5 + n * 1.015625}" for n in range(25)]
    found = inspect(write(tmp_path / "log.csv", f"user_id,item_id,{name}", rows))
    noon = int(datetime(2023, 12, 31, 12, tzinfo=UTC).timestamp() * 1000)
    assert (found.config.time, found.config.time_unit, found.config.absolute_times) == (name, "excel", True)
    assert found.span == (noon, noon + round(24 * 1.015625 * 86_400_000))


def test_whole_days_of_a_spreadsheet_are_asked_for_and_prices_are_none(tmp_path: Path) -> None:
    rows = [f"u{n % 5},i{n % 7},{45291 + n}" for n in range(25)]
    path = write(tmp_path / "log.csv", "user_id,item_id,time", rows)
    with pytest.raises(
        DataError, match=r"days of a spreadsheet \(2023-12-31\) or seconds.*name it with --time time=UNIT"
    ):
        inspect(path)
    span = inspect(path, given=Given(time="time=excel")).span
    assert span is not None
    assert span[1] - span[0] == 24 * 86_400_000
    assert inspect(path, given=Given(time="time=s")).span == (45_291_000, 45_315_000)
    rows = [f"u{n % 5},i{n % 7},{45291.25 + n / 100:.2f}" for n in range(25)]
    assert inspect(write(tmp_path / "log.csv", "user_id,item_id,price", rows)).config.time is None


def test_compact_days_are_days_and_open_ones_are_asked_for(tmp_path: Path) -> None:
    rows = [f"u{n % 5},i{n % 7},{moment:%Y%m%d}" for n, moment in enumerate(MOMENTS)]
    found = inspect(write(tmp_path / "log.csv", "user_id,item_id,d", rows))
    assert (found.config.time, found.config.time_unit) == ("d", "iso")
    rows = [f"u{n % 5},i{n % 7},{n % 12 + 1:02}/{n % 9 + 1:02}/2020" for n in range(25)]
    path = write(tmp_path / "log.csv", "user_id,item_id,d", rows)
    with pytest.raises(DataError, match=r"whether the day or the month is first.*d/m/y"):
        inspect(path)
    first, second = (inspect(path, given=Given(time=f"d={unit}")) for unit in ("d/m/y", "m/d/y"))
    assert first.span is not None
    assert second.span is not None
    assert first.span != second.span


@pytest.mark.parametrize(
    ("spell", "unit"),
    [(lambda time: f"{time:,}", "s"), (lambda time: f"{time:,}".replace(",", "."), "s"),
     (lambda time: f"{(time - START) / 86_400 + 44_087.123456:.7f}".replace(".", ","), "excel")],
)  # fmt: skip
def test_numbers_as_people_write_them_are_times(tmp_path: Path, spell: Callable[[int], str], unit: str) -> None:
    rows = [f"{user};{item};{spell(time)}" for user, item, time in events()]
    found = inspect(write(tmp_path / "log.csv", "user_id;item_id;x9", rows))
    assert (found.config.time, found.config.time_unit) == ("x9", unit)
    assert found.span is not None
    assert found.span[1] - found.span[0] == pytest.approx(404_000, abs=20)


def test_dates_among_numbers_are_refused_and_zeros_are_no_moments(tmp_path: Path) -> None:
    rows = [
        f"{user},{item},{time if time % 2 else f'2020-09-13 12:00:{time % 60:02}'}" for user, item, time in events()
    ]
    with pytest.raises(DataError, match=r"mixes dates and numbers: data row 1 has .* rows\), data row 2 has .* rows\)"):
        inspect(write(tmp_path / "log.csv", "user_id,item_id,time", rows))
    for number, word in enumerate(("0", "-1")):
        rows = [f"{user},{item},{word if time == START else time}" for user, item, time in events()]
        path = write(tmp_path / f"{number}.csv", "user_id,item_id,time", rows)
        with pytest.raises(DataError, match=rf"data row 1 has '{word}' .* expected a moment like the others"):
            load(path, time="time")
        assert inspect(path).interactions == 24
    rows = [f"{user},{item},{time - START}" for user, item, time in events()]
    assert len(load(write(tmp_path / "x.csv", "user_id,item_id,time", rows), time="time").interactions) == 25


def test_a_column_of_yes_and_no_is_noted_and_the_option_in_the_note_helps(tmp_path: Path) -> None:
    rows = [f"{user},{item},{time},{time % 2}" for user, item, time in events()]
    path = write(tmp_path / "log.csv", "user_id,item_id,time,is_click", rows)
    assert any("--event is_click=VALUE keeps those of one" in problem for problem in inspect(path).problems)
    assert inspect(path, given=Given(event="is_click=1")).interactions == sum(time % 2 for *_, time in events())


def test_a_date_of_birth_is_no_time_and_two_contrary_times_are_asked_for(tmp_path: Path) -> None:
    rows = [f"{user},{item},19{70 + int(user[1])}-05-01,{time}" for user, item, time in events()]
    assert inspect(write(tmp_path / "log.csv", "user_id,item_id,born,t", rows)).config.time == "t"
    rows = [f"{user},{item},{time},{2 * START - time}" for user, item, time in events()]
    path = write(tmp_path / "log.csv", "user_id,item_id,one,two", rows)
    with pytest.raises(DataError, match=r"one, two tell different orders; name it with --time|two, one tell different"):
        inspect(path)
    assert inspect(path, given=Given(time="two")).config.time == "two"


@pytest.mark.parametrize(
    "values",
    [
        pl.Series("time", [timedelta(seconds=n) for n in range(25)]),
        pl.Series("time", [datetime(2020, 1, 1, n % 24).time() for n in range(25)]),
        pl.Series("time", [{"at": n} for n in range(25)]),
        pl.Series("time", [[n] for n in range(25)]),
        pl.Series("time", [b"x"] * 25),
        pl.Series("time", [True] * 25),
    ],
    ids=["Duration", "Time", "Struct", "List", "Binary", "Boolean"],
)
def test_types_that_are_no_moments_are_refused_by_name_and_init_passes_them_over(
    tmp_path: Path, values: pl.Series
) -> None:
    table = pl.DataFrame(list(events()), schema=["user_id", "item_id", "seconds"], orient="row").with_columns(values)
    table.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"column 'time' \(data.time\) holds .*which is no moment"):
        load(tmp_path / "log.parquet", time="time")
    assert inspect(tmp_path / "log.parquet").config.time == "seconds"
    table.drop("seconds").write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"which is no moment.*; bring it to ISO dates .* with --time none"):
        inspect(tmp_path / "log.parquet")


def test_far_years_are_printed_without_a_calendar(tmp_path: Path) -> None:
    far = [1_400_000_000, 99_999_999_999_999, 1_400_000_001]
    path = write(tmp_path / "log.csv", "user_id,item_id,time", [f"u,{n},{time}" for n, time in enumerate(far)])
    done = succeed("init", "--interactions", path, "--time", "time=s", "--out", tmp_path / "r.toml")
    assert "99,999,999,999,999,000 ms" in done.out


# --- which column is which ---


def test_names_in_no_language_are_asked_for_and_the_options_answer(tmp_path: Path) -> None:
    path = as_log(tmp_path / "log.csv", header="qa,qb,qc")
    line = refuse("init", "--interactions", path, "--out", tmp_path / "r.toml")
    assert "name it with --user COLUMN" in line
    found = inspect(path, given=Given(user="qa"))
    assert (found.config.user, found.config.item, found.config.time) == ("qa", "qb", "qc")
    assert counts(found) == (5, 7, 25)
    with pytest.raises(ConfigError, match=r"--user 'qz': .* has no such column.*its columns are qa, qb, qc"):
        inspect(path, given=Given(user="qz"))


def test_every_column_is_listed_with_its_role(tmp_path: Path) -> None:
    path = as_log(tmp_path / "log.csv", "{0},{1},{2},9.99,view", "user_id,item_id,time,price,kind_of_page")
    lines = "\n".join(inspect(path).lines())
    for name, role in (("user_id", "user"), ("item_id", "item"), ("time", "time"), ("price", "left out  looks like a")):
        assert any(line.split()[0] == name and role in line for line in lines.splitlines() if line.startswith("  "))


@pytest.mark.parametrize("unique", [True, False])
def test_a_place_on_a_page_is_no_place_in_a_history(tmp_path: Path, unique: bool) -> None:
    rows = [f"{u},{i},{(n * 7) % 5 + 1 if unique else n % 3 + 1},{t}" for n, (u, i, t) in enumerate(events())]
    found = inspect(write(tmp_path / "log.csv", "user_id,item_id,position,time", rows))
    assert (found.config.order, found.config.time) == (None, "time")
    assert any("'position' is not taken for the order of events" in problem for problem in found.problems)


def test_event_logs_count_every_kind_and_keep_those_that_are_chosen(tmp_path: Path) -> None:
    kinds = ["view"] * 3 + ["cart", "purchase"]
    rows = [f"{user},{item},{time},{kinds[n % 5]}" for n, (user, item, time) in enumerate(events())]
    path = write(tmp_path / "log.csv", "user_id,product_id,event_time,event_type", rows)
    found = inspect(path)
    assert found.config.event == "event_type"
    assert any("view 15" in line and "purchase 5" in line and "every row counts" in line for line in found.problems)
    chosen = inspect(path, given=Given(event="event_type=purchase,cart"))
    assert (chosen.interactions, chosen.config.events) == (10, ["purchase", "cart"])
    columns = {"item": "product_id", "time": "event_time"}
    assert len(load(path, **columns, events=["purchase"]).interactions) == 5
    with pytest.raises(DataError, match=r"no row with 'buy' in 'event_type' \(data.events\); it has view \(15\)"):
        load(path, **columns, events=["buy"])


# --- joins ---


def shop(folder: Path, header: str, spell: str) -> tuple[Path, Path]:
    log = write(folder / "log.csv", "user_id,movieId", [f"u{n % 5},{n % 6 + 1}" for n in range(25)])
    rows = [spell.format(row=row, key=key, film=f"Film {key}") for row, key in enumerate([4, 6, 1, 5, 2, 3], start=1)]
    return log, write(folder / "items.csv", header, rows)


@pytest.mark.parametrize("name", ["movie_id", "MovieID", "movie", "id"])
@pytest.mark.parametrize("other", ["rank", "index", "no", "Unnamed: 0"])
def test_items_join_by_the_likest_name_and_never_by_a_running_number(tmp_path: Path, name: str, other: str) -> None:
    found = inspect(*shop(tmp_path, f"{other},{name},title", "{row},{key},{film}"))
    assert found.config.item_key == name
    assert found.config.text_fields == ["title"]


def test_where_names_say_nothing_matches_decide_if_they_are_no_running_number(tmp_path: Path) -> None:
    assert inspect(*shop(tmp_path, "row,ref,title", "{row},{key},{film}")).config.item_key == "ref"
    with pytest.raises(
        DataError, match=r"'row' holds 100.0% of its items but only numbers the rows; name it with --item"
    ):
        inspect(*shop(tmp_path, "row,title", "{row},{film}"))
    log, items = shop(tmp_path, "ref,tag,title", "{key},{key},{film}")
    with pytest.raises(DataError, match=r"'ref' and 'tag' hold the same share of its items; name it with --item"):
        inspect(log, items)
    assert inspect(log, items, Given(item="movieId=tag")).config.item_key == "tag"


def test_a_running_number_counts_rows_from_any_start() -> None:
    assert joins.is_running(pl.Series([5, 6, 7]))
    assert joins.is_running(pl.Series(["0", "1", "2"]))
    assert not joins.is_running(pl.Series([1, 3, 4]))
    assert not joins.is_running(pl.Series(["a", "b"]))


def test_ids_in_two_unicode_forms_are_named(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    log = write(tmp_path / "log.csv", "user_id,item_id", [f"u,{composed}", f"u,{apart}", "u,x"])
    assert any(
        "1 values of item_key differ from another only in their Unicode form" in note for note in load(log).notes
    )
    write(tmp_path / "items.csv", "item_id", [composed, "x"])
    with pytest.raises(DataError, match=r"1 of them it has in another Unicode form"):
        load(log, items="items.csv")


def test_a_key_twice_in_an_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"user_id": "u", "item_id": 1}\n{"user_id": "u", "item_id": 1, "item_id": 2}\n'
    )
    with pytest.raises(DataError, match=r"line 2 with the key 'item_id' twice"):
        load(tmp_path / "log.jsonl")


def test_bytes_that_are_no_text_are_refused_in_columns_that_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"user_id,item_id,query\nu,1,x\nu,2,\xff\n")
    with pytest.raises(DataError, match=r"line 3 is no utf-8"):
        load(tmp_path / "log.csv")


@pytest.mark.parametrize(("unit", "scale"), [("s", 1000), ("ms", 1_000_000), ("s", 1_000_000_000)])
def test_a_unit_that_the_numbers_contradict_by_millennia_is_refused(tmp_path: Path, unit: str, scale: int) -> None:
    path = write(tmp_path / "log.csv", "user_id,item_id,time", [f"{u},{i},{t * scale}" for u, i, t in events()])
    with pytest.raises(DataError, match=r"data row 1 has .* which are .*; correct data.time_unit"):
        load(path, time="time", time_unit=unit)


def test_moments_far_from_the_others_are_counted(tmp_path: Path) -> None:
    rows = [f"{user},{item},{time if n != 7 else 86_400}" for n, (user, item, time) in enumerate(events())]
    log = write(tmp_path / "log.csv", "user_id,item_id,time", rows)
    assert any("1 rows have no moment in 'time' (data.time), such as '86400'" in line for line in inspect(log).problems)


def test_one_column_and_a_constant_user_are_no_log(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'user_id item_id time', which is one column"):
        inspect(write(tmp_path / "log.txt", "user_id item_id time", ["u i 1"]))
    path = as_log(tmp_path / "log.csv", "NA,{0},{1},{2}", "userId,sessionId,itemId,time")
    assert inspect(path).config.user == "sessionId"


def test_few_categories_alone_make_no_text(tmp_path: Path) -> None:
    log = as_log(tmp_path / "log.csv")
    rows = [f"i{n},{'NORMAL' if n % 2 else 'SHORT'}" for n in range(30)]
    assert inspect(log, write(tmp_path / "items.csv", "item_id,kind_of_video", rows)).config.text_fields == []


def test_a_panic_of_the_parquet_reader_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame(list(events()), schema=["user_id", "item_id", "time"], orient="row").write_parquet(path)
    whole, refused = path.read_bytes(), 0
    for at in range(0, len(whole), 9):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            load(path, time="time")
        except DataError:
            refused += 1
    captured = capfd.readouterr()
    assert refused > 5
    assert "panicked" not in captured.err
    assert "backtrace" not in captured.err


def test_a_carriage_return_within_a_line_is_a_character_or_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"user_id,item_id\nu\r,1\nu,2\r\nu\r,3\n")
    assert histories(load(tmp_path / "log.csv")) == {"u\r": ["1", "3"], "u": ["2"]}
    (tmp_path / "log.tsv").write_bytes(b"user_id\titem_id\nu\t1\nu\r\t2\n")
    with pytest.raises(DataError, match=r"a carriage return within line 3"):
        load(tmp_path / "log.tsv")

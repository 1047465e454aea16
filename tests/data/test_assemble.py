"""Laws of the one road from tables to a log: order, ties, filters, numbers."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.config import build
from sidestep.data.interactions import NO_TIME
from sidestep.data.sources import DataConfig, Dataset
from sidestep.data.sources.assemble import Tables, assemble, dense_core, first_seen, shuffled_ties
from sidestep.errors import ConfigError, DataError

ROWS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60)


def log_table(rows: list[tuple[str, str]], **columns: Sequence[int | None]) -> pl.DataFrame:
    users, items = zip(*rows, strict=True)
    return pl.DataFrame({"user_id": users, "item_key": items, **columns})


def items_table(keys: list[str], ids: list[str] | None = None) -> pl.DataFrame:
    return pl.DataFrame({"item_id": ids or keys, "item_key": keys})


def together(tables: Tables, seed: int = 0, **settings_: object) -> Dataset:
    return assemble(tables, build(DataConfig, settings_), seed)


def histories(data: Dataset) -> dict[str, str]:
    ids = data.catalog.item_ids
    pairs = zip(data.interactions.user_ids, data.interactions.histories(), strict=True)
    return {user: "".join(ids[item] for item in history) for user, history in pairs}


def rows_of(user: str, items: str) -> list[tuple[str, str]]:
    return [(user, item) for item in items]


def test_without_times_the_file_order_is_the_history() -> None:
    data = together(Tables(log_table([("v", "c"), ("u", "a"), ("v", "a"), ("u", "a")]), None))
    assert histories(data) == {"v": "ca", "u": "aa"}
    assert data.interactions.user_ids == ["v", "u"]  # users by first appearance
    assert data.catalog.item_ids == ["c", "a"]  # and so are items without an items file


def test_positions_decide_over_times_and_times_over_the_file() -> None:
    rows = rows_of("u", "abc")
    assert histories(together(Tables(log_table(rows, time=[3, 1, 2]), None))) == {"u": "bca"}
    by_both = together(Tables(log_table(rows, time=[3, 1, 2], order=[0, 1, 2]), None))
    assert histories(by_both) == {"u": "abc"}
    assert any("in 1 places the positions" in note for note in by_both.notes)


def test_unknown_times_are_kept_as_such_where_positions_give_the_order() -> None:
    data = together(Tables(log_table(rows_of("u", "abc"), time=[None, None, 5], order=[1, 0, 2]), None))
    assert histories(data) == {"u": "bac"}
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [NO_TIME, NO_TIME, 5]


def test_unknown_times_without_positions_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 2 interactions have no time.*data\.order"):
        together(Tables(log_table(rows_of("u", "ab"), time=[1, None]), None))


def test_ties_keep_the_file_order_or_are_shuffled_by_the_seed() -> None:
    rows, times = rows_of("u", "abcdefgh"), [1, 1, 1, 1, 1, 1, 0, 2]
    tables = Tables(log_table(rows, time=times), None)
    assert histories(together(tables)) == {"u": "gabcdefh"}
    shuffled = [histories(together(tables, seed, ties="shuffled"))["u"] for seed in range(8)]
    assert shuffled == [histories(together(tables, seed, ties="shuffled"))["u"] for seed in range(8)]
    assert len(set(shuffled)) > 1
    for history in shuffled:
        assert (history[0], sorted(history[1:7]), history[7]) == ("g", list("abcdef"), "h")


def test_rows_without_a_time_are_no_ties_when_positions_order_them() -> None:
    rows, order = rows_of("u", "abcdefgh"), list(range(8))
    tables = Tables(log_table(rows, order=order, time=[None] * 4 + [7] * 4), None)
    shuffled = {histories(together(tables, seed, ties="shuffled"))["u"] for seed in range(8)}
    assert len(shuffled) > 1
    assert {history[:4] for history in shuffled} == {"abcd"}


def test_equal_times_of_different_users_are_no_ties() -> None:
    run = np.array([0, 0, 1, 2, 2, 2], dtype=np.int64)
    for seed in range(5):
        order = shuffled_ties(run, np.random.default_rng(seed))
        assert run[order].tolist() == run.tolist()
    tables = Tables(log_table([("u", "a"), ("v", "b")], time=[1, 1]), None)
    assert histories(together(tables, 3, ties="shuffled")) == {"u": "a", "v": "b"}


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 4), st.integers(0, 4))
def test_the_dense_core_is_the_largest_set_of_rows_that_satisfies_both_counts(
    rows: list[tuple[int, int]], per_user: int, per_item: int
) -> None:
    users, items = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    keep = dense_core(users, items, per_user, per_item)
    for numbers, least in ((users, per_user), (items, per_item)):
        assert all((numbers[keep] == number).sum() >= least for number in numbers[keep])
    remaining = list(range(len(rows)))  # the other road: strike out one offending row at a time, in any order
    while True:
        bad = [
            row
            for row in remaining
            if sum(users[other] == users[row] for other in remaining) < per_user
            or sum(items[other] == items[row] for other in remaining) < per_item
        ]
        if not bad:
            break
        remaining.remove(bad[-1])
    assert np.flatnonzero(keep).tolist() == remaining


def test_filters_keep_repeats_and_renumber_what_is_left() -> None:
    rows = [*rows_of("u", "aab"), *rows_of("v", "ab"), *rows_of("w", "c")]
    data = together(Tables(log_table(rows), items_table(list("zcba"))), min_length=2)
    assert histories(data) == {"u": "aab", "v": "ab"}
    assert data.catalog.item_ids == ["b", "a"]
    assert any("min_length = 2 kept 5 of 6 interactions and 2 of 3 users" in note for note in data.notes)


def test_interactions_of_unknown_items_are_dropped_only_when_asked() -> None:
    tables = Tables(log_table([*rows_of("u", "axb"), *rows_of("v", "xy")]), items_table(["a", "b"]))
    with pytest.raises(DataError, match=r"Unknown item 'x'.*3 of 5.*2 items.*data.unknown_items = \"drop\""):
        together(tables)
    data = together(tables, unknown_items="drop")
    assert histories(data) == {"u": "ab"}
    assert "dropped 3 interactions with 2 unknown items" in data.notes


def test_a_log_of_nothing_but_unknown_items_points_at_the_join() -> None:
    tables = Tables(log_table(rows_of("u", "xy")), items_table(["a"]))
    with pytest.raises(DataError, match=r"Every one of the 2.*starts with 'a'; check data.item and data.item_key"):
        together(tables, unknown_items="drop")


def test_repeated_items_are_an_error_or_the_first_of_each() -> None:
    tables = Tables(log_table(rows_of("u", "ab")), items_table(["a", "b", "a"], ["A", "B", "C"]))
    with pytest.raises(DataError, match=r"Item 'a' stands 2 times.*1 rows repeat.*duplicate_items = \"first\""):
        together(tables)
    assert together(tables, duplicate_items="first").catalog.item_ids == ["A", "B"]


def test_two_keys_with_one_public_id_are_one_item_when_repeats_are_permitted() -> None:
    tables = Tables(log_table(rows_of("u", "abc")), items_table(["a", "b", "c"], ["X", "Y", "X"]))
    with pytest.raises(DataError, match="Item 'X' stands 2 times"):
        together(tables)
    assert histories(together(tables, duplicate_items="first")) == {"u": "XYX"}


def test_repeated_rows_are_kept_and_told() -> None:
    data = together(Tables(log_table(rows_of("u", "aaab"), time=[1, 1, 2, 2]), None))
    assert histories(data) == {"u": "aaab"}
    assert "1 repeated rows (same user, item and time) kept" in data.notes


def test_filters_that_leave_nothing_say_how_long_the_longest_history_is() -> None:
    with pytest.raises(DataError, match=r"k_core = 9 and data.min_length = 1 leave no.* of 5: the longest.* has 3"):
        together(Tables(log_table([*rows_of("u", "aab"), *rows_of("v", "ab")]), None), k_core=9)


def test_a_core_and_untouched_items_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="a k-core leaves no item without interactions"):
        build(DataConfig, {"k_core": 5, "items_without_interactions": "keep"})


def test_absolute_times_need_times() -> None:
    timed = together(Tables(log_table(rows_of("u", "ab"), time=[1, 2]), None))
    assert timed.interactions.absolute_times
    assert not together(Tables(log_table(rows_of("u", "ab")), None)).interactions.absolute_times


@given(st.lists(st.text(max_size=3), max_size=30))
@settings(max_examples=40, deadline=None)
def test_numbers_by_first_appearance_are_what_a_dictionary_gives(values: list[str]) -> None:
    numbers, distinct = first_seen(pl.Series("v", values, dtype=pl.String))
    assert distinct.to_list() == list(dict.fromkeys(values))
    assert [distinct[number] for number in numbers.tolist()] == values

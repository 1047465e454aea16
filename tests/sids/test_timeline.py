"""Semantic IDs over time: slices are added and never changed, and who is off air keeps an ID."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sidestep.data.interactions import NO_TIME
from sidestep.errors import DataError
from sidestep.sids.timeline import Timeline
from small_world import make_sids

SIDS = make_sids(6)


def begun() -> Timeline:
    return Timeline(np.array([NO_TIME]), SIDS.codes[None].astype(np.int32), np.ones((1, 6), dtype=np.bool_))


def grown() -> Timeline:
    return (
        begun()
        .with_slice(10, np.array([1, 4]), np.array([[1, 1, 1], [2, 2, 2]]))
        .with_slice(20, np.array([4]), np.array([[3, 3, 3]]))
    )


def test_who_has_a_window_is_on_air_with_a_new_id_and_the_others_keep_theirs() -> None:
    made = grown()
    assert made.on_air.tolist() == [[True] * 6, [False, True, False, False, True, False], [False] * 4 + [True, False]]
    assert made.codes[:, 4].tolist() == [SIDS.codes[4].tolist(), [2, 2, 2], [3, 3, 3]]
    assert made.codes[:, 1].tolist() == [SIDS.codes[1].tolist(), [1, 1, 1], [1, 1, 1]]
    assert (made.codes[:, [0, 2, 3, 5]] == SIDS.codes[[0, 2, 3, 5]]).all()
    assert made.sids(2, SIDS).codes[4].tolist() == [3, 3, 3]
    assert made.sids(0, SIDS).continues(SIDS)


def test_a_slice_is_added_and_no_earlier_one_changes() -> None:
    made = grown()
    assert made.continues(begun())
    assert not begun().continues(made)
    other = replace(made, codes=made.codes + (np.arange(3) == 1)[:, None, None])
    assert not other.continues(made)
    for start in (20, 15):
        with pytest.raises(DataError, match="does not follow the last one, which begins at 1970-01-01T00:00:00"):
            made.with_slice(start, np.array([0]), np.array([[1, 1, 1]]))


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_the_last_slices_alone_answer_the_times_that_they_cover(count: int) -> None:
    made, few = grown(), grown().last(count)
    assert len(few) == min(count, 3)
    times = np.array([-5, 9, 10, 19, 20, 99, NO_TIME])
    first = len(made) - len(few)
    assert (few.at(times) + first).tolist() == np.maximum(made.at(times), first).tolist()
    assert np.array_equal(few.codes[few.at(times)], made.codes[np.maximum(made.at(times), first)])


def test_it_comes_back_from_a_folder_as_it_was(tmp_path: Path) -> None:
    grown().save(tmp_path / "timeline")
    again = Timeline.load(tmp_path / "timeline")
    assert again.continues(grown())
    assert len(again) == 3

"""A table of codes is the same table however it is written down."""

from pathlib import Path

import numpy as np
import pytest

from sidestep.errors import DataError
from sidestep.workshop.codings import plain_codes
from sidestep.workshop.tables import read_file

RNG = np.random.default_rng(0)
PLAIN = np.concatenate([RNG.integers(0, 8, (120, 3)), [[0, 0, 0], [7, 7, 7]]])
UNEQUAL = PLAIN % [3, 8, 5]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    "written", [PLAIN, PLAIN + 1, PLAIN + 3, *(PLAIN + np.array([first, first + 8, first + 16]) for first in (0, 1, 3))]
)
def test_offsets_a_first_code_of_one_and_items_along_the_rows_are_recognised(
    written: np.ndarray, transposed: bool
) -> None:
    codes, notes = plain_codes(written.T if transposed else written)
    np.testing.assert_array_equal(codes, PLAIN)
    assert len(notes) == transposed + (written is not PLAIN)


def test_offsets_of_unequal_levels_are_the_sizes_before() -> None:
    codes, notes = plain_codes(UNEQUAL + np.array([0, 3, 11]))
    np.testing.assert_array_equal(codes, UNEQUAL)
    assert "0, 3, 11 are taken off level by level" in notes[0]


def test_codes_that_are_never_used_do_not_shift_the_rest() -> None:
    sparse = np.clip(PLAIN, 1, 6)
    codes, _ = plain_codes(sparse + np.array([0, 8, 16]))
    np.testing.assert_array_equal(codes, sparse)


@pytest.mark.parametrize("codes", [PLAIN, UNEQUAL, np.zeros((5, 3), dtype=np.int64), PLAIN[:, :1], PLAIN[:3]])
def test_plain_tables_are_left_alone(codes: np.ndarray) -> None:
    found, notes = plain_codes(codes)
    np.testing.assert_array_equal(found, codes)
    assert notes == []


@pytest.mark.parametrize("name", ["t.npy", "t.npz"])
def test_damaged_tables_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    np.save(path, PLAIN) if name.endswith("y") else np.savez_compressed(path, codes=PLAIN)
    content = path.read_bytes()
    assert len(read_file(path, None)) == 1
    for length in range(0, len(content) - 1, 41):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=name):
            read_file(path, None)

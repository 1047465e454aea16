"""Latent semantic analysis: like texts, folded texts, texts that say nothing."""

import numpy as np
import pytest

from sidestep.encoders.directions import unit_rows, with_mean_direction
from sidestep.encoders.lsa import lsa
from sidestep.errors import DataError

TEXTS = [
    "red lipstick matte", "crimson lipstick glossy", "hdmi cable two metres", "usb cable one metre",
    "口红 哑光 红色", "口红 亮光 粉色", "помада красная", "помады красные", "",
]  # fmt: skip


def test_like_texts_get_like_vectors_in_any_script() -> None:
    vectors = lsa(TEXTS, 4, seed=0)
    cosines = vectors @ vectors.T
    for one, other, stranger in ((0, 1, 2), (2, 3, 0), (4, 5, 2), (6, 7, 2)):
        assert cosines[one, other] > cosines[one, stranger] + 0.3


def test_texts_folded_into_lsa_move_no_other_and_land_where_their_like_is() -> None:
    texts = ["red lipstick", "pink lipstick", "steel drill", "cordless drill", "garden hose", "long hose"]
    alone, both = lsa(texts, 3, 0), lsa(texts, 3, 0, further=["lipstick, crimson", "drill", "!"])
    np.testing.assert_array_equal(both[:6], alone)
    assert (both[6:8] @ alone.T).argmax(axis=1).tolist() in ([0, 2], [0, 3], [1, 2], [1, 3])
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, rtol=1e-5)
    mean = alone.mean(axis=0)
    np.testing.assert_allclose(both[8], mean / np.linalg.norm(mean), rtol=1e-5)


def test_lsa_gives_the_same_unit_vectors_every_time() -> None:
    vectors = lsa(TEXTS, 4, seed=0)
    np.testing.assert_array_equal(vectors, lsa(TEXTS, 4, seed=0))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_that_says_nothing_points_where_the_others_point_on_average() -> None:
    vectors = lsa(["", "red lipstick", "red cable", "!?", "blue cable"], 3, seed=0)
    mean = vectors[[1, 2, 4]].mean(axis=0)
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(vectors[3], vectors[0])


@pytest.mark.parametrize("texts", [["a"], ["a", "a"], ["x", ""], ["one", "two words", "three more words"]])
def test_fewer_texts_than_dimensions_give_fewer_dimensions(texts: list[str]) -> None:
    vectors = lsa(texts, 256, seed=0)
    assert 1 <= vectors.shape[1] <= max(len(texts), 1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_texts_without_a_letter_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"None of 2 texts holds a letter or a digit.*behaviour"):
        lsa(["...", ""], 4, seed=0)


def test_rows_without_a_direction_take_the_mean_and_any_one_where_there_is_none() -> None:
    rows = np.array([[3, 4], [0, 0], [0, 2]], np.float32)
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0, 0], [0, 1]], rtol=1e-6)
    mean = np.array([0.3, 0.9]) / np.linalg.norm([0.3, 0.9])
    np.testing.assert_allclose(with_mean_direction(rows, np.zeros(3, bool))[1], mean, rtol=1e-6)
    opposite = np.array([[1, 0], [-1, 0], [0, 0]], np.float32)  # their mean has no direction
    np.testing.assert_array_equal(with_mean_direction(opposite, np.zeros(3, bool))[2], [1, 0])
    np.testing.assert_allclose(with_mean_direction(rows, np.ones(3, bool)), np.full((3, 2), 0.5**0.5), rtol=1e-6)

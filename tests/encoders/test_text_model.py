"""A text model cut at a layer: both parts together are the whole, and padding says nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sidestep.encoders.text_model import TextModel, vectors_of, with_weights
from sidestep.errors import ConfigError
from small_encoder import SmallSentence, tokenize

TEXTS = ["one two three", "four", "one two three four five six seven", "two two"]


def model(count: int = 2, tokens: int = 40) -> TextModel:
    return TextModel.cut(SmallSentence(), tokens, count)


def whole(text: str) -> torch.Tensor:
    """The model as one, of one text."""
    batch = tokenize([text], padding=True, truncation=True, max_length=40, return_tensors="pt")
    last = SmallSentence().body(**batch, output_hidden_states=True).hidden_states[-1][0]
    return F.normalize(last.mean(0), dim=0).detach()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_layers_above_go_on_where_those_below_stop(count: int) -> None:
    cut = model(count)
    vectors = vectors_of(cut.upper(), cut.states(TEXTS), TEXTS)
    expected = torch.stack([whole(text) for text in TEXTS]).numpy()
    np.testing.assert_allclose(vectors, expected, atol=2e-3)  # states are kept as float16


def test_a_text_has_its_vector_whatever_shares_its_batch() -> None:
    cut = model()
    together, alone = cut.states(TEXTS), [cut.states([text]) for text in TEXTS]
    vectors = vectors_of(cut.upper(), together, TEXTS)
    for place, states in enumerate(alone):
        np.testing.assert_allclose(
            vectors_of(cut.upper(), states, TEXTS[place : place + 1])[0], vectors[place], atol=1e-5
        )


def test_long_texts_are_cut_and_empty_ones_point_where_others_point_on_average() -> None:
    cut = model(tokens=3)
    texts = ["one two", "one two three four", ""]
    vectors = vectors_of(cut.upper(), cut.states(texts), texts)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    np.testing.assert_allclose(vectors[2], vectors[0], atol=1e-6)


def test_tuning_a_copy_leaves_the_model_as_it_is_and_its_weights_give_its_vectors() -> None:
    cut = model()
    upper, states = cut.upper(), cut.states(TEXTS)
    with torch.no_grad():
        for weight in upper.parameters():
            weight.add_(0.1)
    tuned = vectors_of(upper, states, TEXTS)
    assert not np.allclose(tuned, vectors_of(cut.upper(), states, TEXTS), atol=1e-2)
    again = with_weights(cut.upper(), upper.state_dict())
    np.testing.assert_array_equal(vectors_of(again, states, TEXTS), tuned)


def test_models_of_another_shape_and_folders_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tune\.layers = 4, and the model has 3"):
        model(count=4)
    with pytest.raises(ConfigError, match=r"has no encoder\.layer"):
        TextModel.cut([object()], 40, 1)
    with pytest.raises(ConfigError, match="'owner/name' is no local folder, and nothing is downloaded unasked"):
        TextModel.of("owner/name", 40, 1)
    with pytest.raises(ConfigError, match="do not fit this text model"):
        with_weights(model(1).upper(), model(2).upper().state_dict())

"""Blended vectors: the running mean, the gate by hand, and towers that see no window before its slice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.data.interactions import NO_TIME
from sidestep.data.sequences import SequenceBatch
from sidestep.data.windows import Windows
from sidestep.errors import ConfigError
from sidestep.methods.table import new_recipe
from sidestep.objectives.aligning import two_towers
from sidestep.vectors.blend import Blend, Sightings, TwoTowers, histories_of

ITEMS, WIDTH = 5, 3


def windows() -> Windows:
    """Item 0 in slices 0 and 2, item 3 in all of them, item 4 in none."""
    values = np.random.default_rng(0).standard_normal((7, WIDTH)).astype(np.float32)
    return Windows(np.array([100, 200, 300]), np.array([0, 2, 4, 7]), np.array([0, 3, 1, 3, 0, 2, 3]), values)


def blend(dropout: float = 0.0) -> Blend:
    torch.manual_seed(0)
    return Blend(torch.randn(ITEMS, 2), WIDTH, 4, 6, dropout).eval()


def batch() -> SequenceBatch:
    """The first user is asked in slices 1 and 2, the second in none, with an unknown time in the history."""
    return SequenceBatch(
        history=torch.tensor([[0, 3], [4, 1]]),
        lengths=torch.tensor([2, 2]),
        targets=torch.tensor([[3, 0], [1, -1]]),
        visible=torch.tensor([[1, 2], [2, 1]]),
        times=torch.tensor([[150, 250], [NO_TIME, 50]]),
        asked=torch.tensor([[250, 350], [60, NO_TIME]]),
        absolute_times=True,
    )


def test_the_mean_is_of_all_windows_so_far() -> None:
    seen, content = windows(), Sightings.nothing(ITEMS, WIDTH)
    mean, row_of = histories_of(seen, ITEMS)
    for number in range(3):
        rows = seen.rows(number)
        content = content.after(seen.items[rows], seen.values[rows])
        for item in range(ITEMS):
            own = np.flatnonzero(seen.items[: rows.stop] == item)
            assert content.count[item] == len(own)
            expected = seen.values[own].mean(axis=0) if len(own) else np.zeros(WIDTH)
            np.testing.assert_allclose(content.mean[item], expected, atol=1e-6)
            row = row_of[number + 1, item]
            assert row == (own[-1] if len(own) else len(seen.items))
            if len(own):
                np.testing.assert_allclose(mean[row], expected, atol=1e-6)
                np.testing.assert_array_equal(content.latest[item], seen.values[row])
    assert (row_of[0] == len(seen.items)).all()


def test_the_gate_weighs_the_item_against_its_content() -> None:
    model = blend()
    latest, mean = torch.randn(1, WIDTH), torch.randn(1, WIDTH)
    items = torch.tensor([2])
    given = torch.cat([latest, mean, model.static[items] / model.static_scale, torch.ones(1, 1)], dim=1)
    x_m = model.outer(torch.nn.functional.silu(model.inner(given)))
    x_id = model.ids(items)
    share = torch.sigmoid(torch.cat([x_id, x_m], 1) @ model.gate.weight.T + model.gate.bias)
    expected = share * x_id + (1 - share) * x_m
    torch.testing.assert_close(model(items, latest, mean, torch.tensor([True])), expected)


def test_a_blend_comes_back_from_its_weights() -> None:
    model = blend()
    again = Blend.of(model.state_dict())
    assert (again.num_items, again.window_width) == (ITEMS, WIDTH)
    content = Sightings.nothing(ITEMS, WIDTH).after(np.array([1, 3]), windows().values[:2])
    every = np.arange(ITEMS)
    np.testing.assert_array_equal(again.vectors(content, every), model.vectors(content, every))


def test_an_item_is_what_it_was_in_the_slice_of_the_time() -> None:
    """The towers read what `Sightings` holds, slice by slice."""
    model, content = TwoTowers(blend(), windows()).eval(), Sightings.nothing(ITEMS, WIDTH)
    every = torch.arange(ITEMS)
    for number, time in enumerate((50, 100, 299, 300)):
        if number:
            rows = windows().rows(number - 1)
            content = content.after(windows().items[rows], windows().values[rows])
        as_it_was = model.items(every, torch.full_like(every, time)).detach().numpy()
        np.testing.assert_allclose(as_it_was, model.blend.vectors(content, every.numpy()), atol=1e-6)
    unknown = model.items(every, torch.full_like(every, NO_TIME))
    torch.testing.assert_close(unknown, model.items(every, torch.full_like(every, 999)))


def test_no_tower_sees_what_comes_later() -> None:
    """Other windows from 300 on, and another item behind the first, change nothing for who is asked at 250."""
    model, other = TwoTowers(blend(), windows()).eval(), windows()
    users, items, numbers = model(batch())
    assert numbers.tolist() == [3, 0, 1]
    changed = replace(other, values=np.where(np.arange(7)[:, None] >= 4, 9, other.values).astype(np.float32))
    model_of_others = TwoTowers(blend(), changed).eval()
    model_of_others.load_state_dict(model.state_dict())
    later = replace(batch(), history=torch.tensor([[0, 2], [4, 1]]))
    of_others, of_later = model_of_others(batch()), model(later)
    for its_users, its_items, _ in (of_others, of_later):
        torch.testing.assert_close(its_users[0], users[0])
        torch.testing.assert_close(its_items[0], items[0])
    assert not torch.equal(of_others[1][1], items[1])  # the second target is asked for at 350
    assert not torch.equal(of_later[0][1], users[1])


def test_targets_of_one_item_are_no_negatives_of_each_other() -> None:
    """Two users with the same target: each has the third as its only negative."""
    model = TwoTowers(blend(), windows()).eval()
    asked = replace(batch(), targets=torch.tensor([[3, 0], [3, -1]]))
    users, items, _ = model(asked)
    cosine = torch.nn.functional.cosine_similarity(users[:, None], items[None], dim=2) / 0.5
    apart = [cosine[0, [0, 1]], cosine[1, [1, 0, 2]], cosine[2, [2, 1]]]
    expected = torch.stack([-row.log_softmax(0)[0] for row in apart]).mean()
    torch.testing.assert_close(two_towers(model, asked, tau=0.5)["total"], expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slices": {"path": "w.parquet"}}, "names windows that kind = 'none' does not read"),
        ({}, "needs windows; name their file in slices.path"),
        ({"data": {"source": "planted"}}, "needs a planted world whose content moves; set data.planted.streams"),
        ({"method": "glass", "slices": {"path": "w"}}, "is not for method 'glass'.*use tiger or onelive"),
        ({"graph": {"enabled": True}, "slices": {"path": "w"}}, "set graph.enabled=false"),
        ({"tokenizer": {"collisions": "extra"}, "slices": {"path": "w"}}, "set tokenizer.collisions=keep"),
        ({"generator": {"softmax": "trie"}, "slices": {"path": "w"}}, "set generator.softmax=codebook"),
        ({"behaviour": {"source": "sasrec"}, "slices": {"path": "w"}}, "set behaviour.source=none"),
    ],
)
def test_a_recipe_that_contradicts_slices_is_refused(values: dict[str, dict[str, str]], message: str) -> None:
    kind = {} if "names windows" in message else {"kind": "windows"}
    with pytest.raises(ConfigError, match=message):
        new_recipe({"method": "tiger", **values, "slices": {**kind, **values.get("slices", {})}})

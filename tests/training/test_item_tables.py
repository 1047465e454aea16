"""Tables of items that processes share out: losses, trainings and checkpoints are those of one process."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import multiprocessing

from item_shards import ABLE, NUM_ITEMS, Pairs, Plan, Setting, losses, parts_of, sample, share_out, train
from sidestep import artifact
from sidestep.errors import ConfigError
from sidestep.layers import item_rows
from sidestep.layers.item_rows import RowShards
from sidestep.methods.table import new_recipe
from sidestep.training.item_tables import ItemTables

Results = dict[str, list[Mapping[str, Any]]]
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
"""Of one loss and its gradients."""
TRAINED, MUON = 1e-4, 1e-2
"""Of weights after some steps of AdamW, which divides by the root of small gradients; and of Muon, which computes in
bfloat16.
"""


@pytest.mark.parametrize(("num_rows", "size"), [(13, 1), (13, 2), (13, 4), (3, 3)])
def test_every_row_has_one_process_and_shares_differ_by_a_row(num_rows: int, size: int) -> None:
    shares = [RowShards(num_rows, rank, size) for rank in range(size)]
    assert [row for share in shares for row in range(share.begin, share.end)] == list(range(num_rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("num_rows", "width"), [(1, 1), (3, 7), (40, 1), (100, 3), (129, 8)])
def test_rows_are_drawn_as_the_whole_table_is(num_rows: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_rows, "VALUES_AT_ONCE", 32)
    torch.manual_seed(3)
    whole, after = torch.nn.init.normal_(torch.empty(num_rows, width), std=0.3), torch.rand(())
    for size in (1, min(3, num_rows)):
        for rank in range(size):
            shards = RowShards(num_rows, rank, size)
            torch.manual_seed(3)
            assert torch.equal(shards.normal(width, 0.3), whole[shards.begin : shards.end])
            assert torch.equal(torch.rand(()), after)


def results(folder: Path, world: int, plan: Plan) -> Results:
    """What several processes write, by name and rank."""
    multiprocessing.spawn(share_out, args=(str(folder), world, plan), nprocs=world)
    return {name: [np.load(folder / f"{name} {rank}.npz") for rank in range(world)] for name in ("exchange", *plan)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="module")
def made(folder: Path) -> Results:
    """By two processes."""
    plan = {**PAIRS, **{name: (case, name) for name, case in CASES.items()}, "first": (FIRST, "resumed")}
    return results(folder, 2, {**plan, "saved": (AVERAGED, "saved")})


KINDS = ("shards", "whole")
VARIANTS = {
    **{name: (name, ()) for name in ABLE},
    "average": ("sasrec-ce", (("train", "ema", 0.8),)),
    "muon": ("sasrec-ce", (("train", "optimizer", "muon"),)),
}
PAIRS: Plan = {
    f"{kind} {name}": (Setting(method, sharded=kind == "shards", changes=changes), None)
    for name, (method, changes) in VARIANTS.items()
    for kind in KINDS
}
"""Every method in shards and with a whole table in every process."""
ALIKE = (("baseline", "dropout", 0.0), ("baseline", "loss", "ce"))
"""What makes a step the same, however its batch is divided."""
CASES = {name: Setting(name, 3, changes=ALIKE) for name in ("sasrec-ce", "gru4rec", "caser")}
FIRST = Setting("sasrec-ce", 1, changes=ALIKE)
AVERAGED = Setting("sasrec-ce", 1, changes=(*ALIKE, ("train", "ema", 0.5)))


def assert_exchanged(exchanged: Sequence[Mapping[str, Any]]) -> None:
    whole_states, whole, targets = sample()
    for name in losses(whole_states, whole, targets, slice(None)):
        states, table = whole_states.clone().requires_grad_(), whole.clone().requires_grad_()
        parts = [losses(states, table, targets, own)[name] for own in parts_of(len(exchanged))]
        (3 * torch.stack(parts).sum()).backward()
        assert states.grad is not None
        assert table.grad is not None
        keys = ("loss", "states", "rows")
        found = {key: [torch.from_numpy(each[f"{name} {key}"]) for each in exchanged] for key in keys}
        torch.testing.assert_close(torch.stack(found["loss"]), torch.stack(parts).detach(), **CLOSE)
        torch.testing.assert_close(torch.stack(found["states"]).sum(0), states.grad, **CLOSE)
        torch.testing.assert_close(torch.cat(found["rows"]), table.grad, **CLOSE)
    for each in exchanged:
        np.testing.assert_allclose(each["columns"], whole_states @ whole.T, **CLOSE)
    assert np.array_equal(exchanged[0]["gathered"], whole)
    assert not any(len(each["gathered"]) for each in exchanged[1:])


def assert_close(one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float = TRAINED) -> None:
    assert set(one) == set(other)
    for name in one:
        parts = [np.asarray(each[name]) for each in (one, other)]
        if name.endswith("project.bias"):  # a softmax does not depend on the keys' bias: its gradient is rounding alone
            parts = [np.delete(each, slice(len(each) // 3, 2 * len(each) // 3)) for each in parts]
        np.testing.assert_allclose(*parts, rtol=tolerance, atol=tolerance, err_msg=name)


def assert_pairs(made: Results) -> None:
    for name in VARIANTS:
        ours, theirs = (made[f"{kind} {name}"] for kind in KINDS)
        assert_close(ours[0], theirs[0], MUON if name == "muon" else TRAINED)
        assert all(np.array_equal(each["scores"], ours[0]["scores"]) for each in ours)


def test_losses_and_gradients_are_those_of_one_process(made: Results) -> None:
    """The mean of each process's states alone; a row's gradient is that of the sum over all processes."""
    assert_exchanged(made["exchange"])


def test_every_able_method_trains_as_it_does_with_a_whole_table_in_every_process(made: Results) -> None:
    """With dropout, negatives, masks and noise, which a step draws from its seed and its rank; clipped, and decayed."""
    assert_pairs(made)


@pytest.mark.slow
def test_four_processes_share_out_as_two_do(tmp_path: Path) -> None:
    made = results(tmp_path, 4, PAIRS)
    assert_exchanged(made["exchange"])
    assert_pairs(made)


def test_two_processes_train_and_resume_as_one_does_on_their_batches_put_together(made: Results, folder: Path) -> None:
    alone = {}
    for name, case in CASES.items():
        weights, scores = train(case, Pairs, None)
        alone[name] = {**weights, "scores": np.array(scores)}
        assert_close(made[name][0], alone[name])

    train(FIRST, Pairs, folder / "begun alone")
    case = CASES["sasrec-ce"]
    again = results(folder, 2, {"same": (case, "resumed"), "more": (case, "begun alone")})
    for name, value in made["sasrec-ce"][0].items():
        assert np.array_equal(value, again["same"][0][name]), name
    assert_close(again["more"][0], alone["sasrec-ce"])


def test_a_checkpoint_of_two_processes_is_the_ordinary_one_and_one_process_goes_on_from_it(
    made: Results, folder: Path
) -> None:
    assert set(made["saved"][0]) > {"item_embedding.weight"}
    train(AVERAGED, Pairs, folder / "alone")
    ours, theirs = (artifact.load(folder / run / "checkpoint", "checkpoint").tensors for run in ("saved", "alone"))
    for name in ("model", "best", "average"):
        assert ours[f"{name}/item_embedding.weight"].shape == (NUM_ITEMS, 8)
    assert_close(ours, theirs)
    longer = replace(AVERAGED, epochs=3)
    (weights, _), (expected, _) = (train(longer, Pairs, folder / run) for run in ("saved", "whole"))
    assert_close(weights, expected)


def test_one_process_has_whole_tables_whatever_is_asked_for() -> None:
    model = torch.nn.Linear(2, 2)
    assert ItemTables.of_several(model) is None


@pytest.mark.parametrize("method", ["s2gr", "tiger", "sasrec-vectors", "sasrec-towers", "rearec-erl", "reranked"])
def test_a_method_that_needs_whole_tables_refuses_shards_of_them(method: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"sharded_items = true does not suit method '{method}'.* take one of sasrec-ce"
    ):
        new_recipe({"method": method, "train": {"sharded_items": True}})


@pytest.mark.parametrize("key", [{"sharded": True}, {"start": "runs/other"}])
def test_shards_of_tables_go_with_nothing_that_needs_them_whole(key: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"sharded_items = true and {next(iter(key))} = .* do not go together"):
        new_recipe({"method": "sasrec-ce", "train": {"sharded_items": True, **key}})

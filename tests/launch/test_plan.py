"""The plan of a larger machine park is arithmetic on measured unit costs: by hand, and where it must not lie."""

import json

import pytest

from sidestep.errors import ConfigError
from sidestep.launch.plan import GB, Machine, Size, Units, largest, measured, plan, serving_cores
from sidestep.report.plan_terminal import plan_text

COSTS = {
    "protocol": {"width": 100, "sample": 10},
    "sizes": {
        "small": {"planted world": {"items": 1, "interactions": 1}},
        "large": {
            "planted world": {"items": 1000, "interactions": 2000},
            "reading": {"cpu": 2.0},
            "embedding": {"cpu": 5.0, "texts": 500},
            "graph": {"cpu": 4.0, "weights": 8000},
            "graph and propagation": {"cpu": 12.0},
            "tokenizer training": {"cpu": 7200.0},
            "assignment": {"cpu": 1.0},
            "trie": {"cpu": 0.5, "bytes an item": 20.0},
            "generator training": {"cpu": 30.0, "targets": 100},
            "decoding": {"cpu": 3.0, "users": 10},
        },
    },
}
FAR = {
    "protocol": {"width": 50},
    "stages": {
        "log in Parquet (no stage)": {"items": 10_000, "interactions": 99_000},
        "counting pairs": {"rows": 400},
        "graph from the edge list": {"cpu": 0.8, "weights": 600},
        "propagation": {"cpu": 3.0},
        "trie": {"cpu": 20.0, "bytes an item": 15.0},
    },
}
SIZE = Size(items=3600.0, users=7200.0, events=36_000.0, width=10, epochs=2.0, history=5, lists=20.0)


def test_the_numbers_of_a_plan_are_those_of_a_pencil() -> None:
    needs = {need.stage: need for need in plan(SIZE, COSTS)}
    assert needs["reading"].core_hours == pytest.approx(0.001 * 36_000 / 3600)
    assert needs["embedding"].core_hours == pytest.approx(0.01)
    assert needs["graph"].core_hours == pytest.approx(0.002 * 36_000 / 3600)
    assert needs["graph"].memory == 12 * 4 * 36_000  # four weights an event, twelve bytes each
    assert needs["propagation"].core_hours == pytest.approx(8 / (8000 * 100) * 4 * 36_000 * 10 / 3600)
    assert needs["tokenizer"].core_hours == 2
    assert needs["trie"].memory == 20 * 3600
    assert needs["training"].core_hours == pytest.approx(0.3 * 36_000 * 2 / 3600)
    assert needs["lists for all users"].core_hours == pytest.approx(0.3 * 7200 / 3600)
    assert needs["history store"].disk == 8 * 5 * 7200
    assert serving_cores(SIZE, COSTS) == pytest.approx(6)


def test_a_stage_that_machines_share_is_divided_and_another_is_not() -> None:
    needs = {need.stage: need for need in plan(SIZE, COSTS)}
    hurried = Machine(cores=1, memory=float(GB), hours=2.5)
    assert needs["training"].machines(hurried) == 3  # 6 core-hours
    assert needs["training"].hours(hurried) == pytest.approx(2)
    assert needs["tokenizer"].machines(hurried) == 1
    assert (
        needs["tokenizer"].breaks(Machine(cores=64, hours=1.0)) == "2 core-hours"
    )  # one core does it, whatever there is
    assert needs["graph"].breaks(Machine(memory=10_000.0)) == "1.73 MB do not fit"
    assert not needs["graph"].breaks(Machine())


def test_what_ten_million_items_cost_is_taken_from_there() -> None:
    needs = {need.stage: need for need in plan(SIZE, {**COSTS, "ten million": FAR})}
    assert "graph, counted elsewhere" not in {need.stage for need in plan(SIZE, COSTS)}
    edges = 4 * 36_000 / 2
    assert needs["graph, counted elsewhere"].core_hours == pytest.approx(0.002 * edges / 3600)
    assert needs["graph, counted elsewhere"].disk == 36 * edges
    assert needs["propagation"].core_hours == pytest.approx(3 / (600 * 50) * 4 * 36_000 * 10 / 3600)
    assert needs["trie"].core_hours == pytest.approx(0.002 * 3600 / 3600)
    assert needs["trie"].memory == 15 * 3600


def test_a_plan_says_where_every_unit_cost_was_measured() -> None:
    costs = {**COSTS, "machine": "This one", "torch": "2.0", "date": "2026-01-02T03:04Z"}
    far = {**FAR, "machine": "That one", "date": "2026-05-06T07:08Z"}
    near, both = (
        plan_text(SIZE, Machine(), plan(SIZE, each), 1.0, each).splitlines()[-1]
        for each in (costs, {**costs, "ten million": far})
    )
    assert "one core of This one, torch 2.0, 2026-01-02, measured on 1,000 items and 2,000 interactions" in near
    assert "trie" not in near
    assert "the trie: one core of That one, 2026-05-06, on 10,000 items and 99,000 interactions" in both


def test_assignment_is_shared_by_machines_as_batch_assign_shares_it() -> None:
    need = {each.stage: each for each in plan(SIZE, COSTS)}["assignment"]
    assert need.core_hours == pytest.approx(0.001)
    assert need.machines(Machine(cores=1, hours=0.0005)) == 2
    assert "batch assign" in need.beyond


def test_a_propagation_holds_blocks_and_no_vectors_and_no_more_weights_than_its_library() -> None:
    narrow, wide = ({need.stage: need for need in plan(Size(1e8, 1e6, 1e7, width), COSTS)} for width in (8, 800))
    assert narrow["propagation"].memory == wide["propagation"].memory == 24e8 + 128e8 + 0.4 * GB
    assert plan(Size(1e5, 1e4, 1e6), COSTS)[3].memory == 24e5 + 1024e5 + 0.4 * GB
    many = {need.stage: need for need in plan(Size(1e8, 1e6, 1e9), COSTS)}["propagation"]
    assert many.breaks(Machine(hours=1e6)) == "more than 2^31 weights"


def test_twice_the_events_take_twice_the_graph_and_leave_the_catalogue_alone() -> None:
    once, twice = (
        {need.stage: need for need in plan(Size(1e6, 1e6, events), measured())} for events in (1e7, 2e7)
    )  # fmt: skip
    for stage in ("reading", "graph", "training"):
        assert twice[stage].core_hours == pytest.approx(2 * once[stage].core_hours)
    for stage in ("embedding", "tokenizer", "assignment", "trie", "lists for all users"):
        assert twice[stage].core_hours == once[stage].core_hours


def test_the_unit_costs_are_those_of_the_largest_catalogue_that_was_measured() -> None:
    costs = measured()
    sizes = [row["planted world"]["items"] for row in costs["sizes"].values()]
    assert largest(costs)["planted world"]["items"] == max(sizes)
    assert all(value > 0 for value in vars(Units.of(costs)).values())
    assert {"date", "machine", "torch"} <= costs.keys()
    json.dumps(costs, allow_nan=False)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"items": 0.0, "users": 1.0, "events": 1.0}, "--items is 0.0, expected a number above 0"),
        ({"items": float("nan"), "users": 1.0, "events": 1.0}, "--items is nan"),
        ({"items": 1.0, "users": 2.0, "events": 1.0}, "--events is 1, below --users 2"),
        ({"items": 1.0, "users": 1.0, "events": 1.0, "lists": -1.0}, "--lists is -1"),
    ],
)
def test_a_size_that_makes_no_sense_is_refused(size: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Size(**size)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot work"):
        Machine(cores=0)

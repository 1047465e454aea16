"""The step of a path: numbers there and back, and names by level."""

import json
import subprocess
import sys

import numpy as np

from sidestep.recommenders.step import NAMED_CLUSTERS, NamedCluster, OlderItem, Step, named
from sidestep.sids.path_names import PathNames
from sidestep.sids.semantic_ids import SemanticIds

PATH = [
    Step(1, 7, -0.5, [NamedCluster(1, 0.75), NamedCluster(0, 0.25)]),
    Step(2, 3, -1.25, looked_up=[OlderItem(4), OlderItem(0)]),
]


def test_a_step_comes_out_of_a_message_as_it_went_in() -> None:
    message = json.dumps([step.as_numbers() for step in PATH])
    assert [Step.of_numbers(numbers) for numbers in json.loads(message)] == PATH


def test_codes_and_clusters_are_named_by_what_they_leave_under_the_codes_before_them() -> None:
    """Four lipsticks and combs; behind code 7 stand a red and a blue lipstick, and code 3 takes the red one."""
    codes = np.array([[7, 3], [7, 5], [6, 3], [6, 3]])
    clusters = [np.array([0] * 7 + [1]), np.array([0, 0, 0, 1, 1, 0])]
    codebooks = [np.zeros((len(each), 2), dtype=np.float32) for each in clusters]
    titles = ["red lipstick", "blue lipstick", "red comb", "blue comb"]
    names = PathNames(SemanticIds(codes, (8, 6), codebooks, clusters), titles, None, np.arange(4))
    path = [PATH[0], Step(2, 3, -1.25, [NamedCluster(0, 0.9)])]
    first, second = named(path, names)
    assert (first.name, first.num_items, first.decides) == ("lipstick", 2, True)
    assert first.thinks_of is not None
    assert (first.thinks_of.clusters, first.thinks_of.probability, first.thinks_of.num_items) == ((1,), 0.75, 2)
    assert second.thinks_of is None, "its graph tells one cluster of two"
    assert first.clusters == [NamedCluster(1, 0.75, "lipstick", 2), NamedCluster(0, 0.25, "comb", 2)]
    assert (second.name, second.num_items, second.decides) == ("red", 1, True)
    assert second.clusters == [NamedCluster(0, 0.9, "blue", 1)]
    nothing_left = named([Step(1, 6, 0.0), Step(2, 3, 0.0, [NamedCluster(0, 1.0)])], names)[1]
    assert (nothing_left.name, nothing_left.num_items, nothing_left.decides) == ("comb", 2, False)
    assert nothing_left.clusters == [NamedCluster(0, 1.0, "no items", 0)]
    assert Step.of_numbers(first.as_numbers()) == PATH[0], "names do not travel between processes"


def test_all_clusters_travel_a_few_are_shown_and_the_thought_is_named_by_the_likely_ones() -> None:
    """Five words, a code and a cluster each."""
    titles = ["soap", "soap", "comb", "comb", "oil", "oil", "oil", "nail", "nail", "balm"]
    codes = np.array([[0], [0], [1], [1], [2], [2], [2], [3], [3], [4]])
    sids = SemanticIds(codes, (5,), [np.zeros((5, 2), dtype=np.float32)], [np.arange(5)])
    near = [NamedCluster(number, share) for number, share in ((0, 0.3), (1, 0.25), (2, 0.2), (3, 0.15), (4, 0.1))]
    path = [Step(1, 2, -0.5, near)]
    assert [Step.of_numbers(step.as_numbers()) for step in path] == path
    [step] = named(path, PathNames(sids, titles, None, np.ones(10, dtype=np.int64)))
    assert [each.name for each in step.clusters] == ["soap", "comb", "oil"]
    assert len(step.clusters) == NAMED_CLUSTERS
    assert step.thinks_of is not None
    assert step.thinks_of.as_json() == {
        "name": "comb, soap", "probability": 0.55, "num_items": 4, "clusters": [0, 1], "possible": 5,
    }  # fmt: skip


def test_what_was_looked_up_is_titled_and_the_step_itself_keeps_none() -> None:
    titled = PATH[1].titled(["soap", "", "", "", "balm"].__getitem__)
    assert [each.title for each in titled.looked_up] == ["balm", "soap"]
    assert Step.of_numbers(titled.as_numbers()) == PATH[1]


def test_the_servers_process_reads_a_step_without_a_tensor_library() -> None:
    code = "import sidestep.recommenders.step, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The step of a path: numbers there and back, and names by level."""

import json
import subprocess
import sys

from sidestep.recommenders.step import NamedCluster, OlderItem, Step

PATH = [
    Step(1, 7, -0.5, [NamedCluster(1, 0.75), NamedCluster(0, 0.25)]),
    Step(2, 3, -1.25, looked_up=[OlderItem(4), OlderItem(0)]),
]


def test_a_step_comes_out_of_a_message_as_it_went_in() -> None:
    message = json.dumps([step.as_numbers() for step in PATH])
    assert [Step.of_numbers(numbers) for numbers in json.loads(message)] == PATH


def test_clusters_are_named_by_their_level_and_number() -> None:
    names = [["soap", "scent"], ["red", "blue"]]
    assert [each.name for each in PATH[0].named(names).clusters] == ["scent", "soap"]
    assert [each.probability for each in PATH[0].named(names).clusters] == [0.75, 0.25]
    assert PATH[1].named(names) == PATH[1]
    assert Step(2, 0, 0.0, [NamedCluster(1, 1.0)]).named(names).clusters == [NamedCluster(1, 1.0, "blue")]


def test_names_do_not_travel_and_the_step_itself_keeps_none() -> None:
    named = PATH[0].named([["soap", "scent"]])
    assert Step.of_numbers(named.as_numbers()) == PATH[0]
    assert PATH[0].clusters[0].name == ""
    titled = PATH[1].titled(["soap", "", "", "", "balm"].__getitem__)
    assert [each.title for each in titled.looked_up] == ["balm", "soap"]
    assert Step.of_numbers(titled.as_numbers()) == PATH[1]


def test_the_servers_process_reads_a_step_without_a_tensor_library() -> None:
    code = "import sidestep.recommenders.step, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

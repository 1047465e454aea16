"""Labels of what users were shown, as a reward: which may be learnt from, what they are worth, that it is learnt."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from command import refuse, succeed
from sidestep.data.sequences import NO_ITEM
from sidestep.objectives.preference import AlignConfig
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.rewards import Policy, Shown, rewards_of
from sidestep.pipeline.run import Run

COLUMNS = ("clicked", "kept")


def write(run: Path, path: Path, seed: int = 0, held_out: bool = True) -> Path:
    """Four items before each interaction of every user. Even items are clicked, multiples of four also kept.

    held_out: also before the held-out items, where all is clicked and kept.
    """
    contents, rng = RunContents(Run.open(run)), np.random.default_rng(seed)
    log, train = contents.interactions, contents.split.train
    rows = []
    for user in range(len(log.lengths)):
        for place in range(int(log.lengths[user])):
            late = place >= train.lengths[user]
            time = int(log.known_times[log.offsets[user] + place])
            for item in rng.choice(len(contents.catalog), size=4, replace=False):
                labels = (1, 1) if late else (int(item % 2 == 0), int(item % 4 == 0))
                if held_out or not late:
                    rows.append((log.user_ids[user], contents.catalog.item_ids[item], time, *labels))
    pl.DataFrame(rows, schema=["user_id", "item_id", "time", *COLUMNS], orient="row").write_csv(path)
    return path


def shown(run: Path, file: Path, **settings: object) -> Shown:
    config = AlignConfig(labels=file, label_columns=COLUMNS, label_weights=(1.0, 2.0), **settings)  # type: ignore[arg-type]
    found = rewards_of(Policy(Run.open(run), config))
    assert isinstance(found, Shown)
    return found


def test_each_moment_before_the_held_out_items_is_a_group_with_its_worth(finished: Path, tmp_path: Path) -> None:
    file = write(finished, tmp_path / "shown.csv")
    rewards, contents = shown(finished, file, batch_size=1_000), RunContents(Run.open(finished))
    numbers = {name: number for number, name in enumerate(contents.catalog.item_ids)}
    [index] = rewards.batches(0)
    found = rewards.load(index)
    expected: dict[tuple[str, int], set[tuple[int, float]]] = defaultdict(set)
    for row in pl.read_csv(file, schema_overrides={"user_id": pl.String, "item_id": pl.String}).iter_rows(named=True):
        expected[row["user_id"], row["time"]].add((numbers[row["item_id"]], row["clicked"] + 2.0 * row["kept"]))
    train = contents.split.train
    groups, recent = [], rewards.reads.recent
    for user in range(len(train.lengths)):
        for place in range(1, int(train.lengths[user])):
            at = int(train.known_times[train.offsets[user] + place])
            group = expected[contents.interactions.user_ids[user], at]
            if len({worth for _, worth in group}) > 1:
                history = train.history(user)[: place + 1].tolist()
                groups.append((history[:-1][-recent:], history[-1], group))
    assert len(index) > 20
    for row in range(len(index)):
        real = found.items[row] != NO_ITEM
        history = found.asked.history[row][: int(found.asked.lengths[row])].tolist()
        group = set(zip(found.items[row][real].tolist(), found.rewards[row][real].tolist(), strict=True))
        assert (history, int(found.target[row]), group) in groups


def test_labels_of_held_out_items_are_not_read(finished: Path, tmp_path: Path) -> None:
    whole, early = (write(finished, tmp_path / f"{late}.csv", held_out=late) for late in (True, False))
    one, other = shown(finished, whole), shown(finished, early)
    assert len(one.batches(0)) == len(other.batches(0))
    for left, right in zip(one.batches(0), other.batches(0), strict=True):
        torch.testing.assert_close(one.load(left).rewards, other.load(right).rewards)
        torch.testing.assert_close(one.load(left).items, other.load(right).items)


def test_the_mean_is_the_worth_of_a_choice_by_the_paths_probabilities(finished: Path, tmp_path: Path) -> None:
    rewards = shown(finished, write(finished, tmp_path / "shown.csv"), batch_size=7)
    policy, aside = rewards._policy, rewards.load(rewards._aside)
    expected = []
    for row in range(len(aside.items)):
        real = aside.items[row] != NO_ITEM
        chances = aside.reference[row][real].sum(dim=1).double().exp()
        expected.append(float((chances * aside.rewards[row][real]).sum() / chances.sum()))
    assert rewards.mean(policy.reference, []) == pytest.approx(np.mean(expected), abs=1e-5)
    learnt = {int(place) for batch in rewards.batches(0) for place in batch}
    users = [{rewards._groups[place][0] for place in places} for places in (learnt, rewards._aside.tolist())]
    assert not users[0] & users[1]


@pytest.mark.parametrize("kind", ["grpo", "dpo", "distil"])
def test_labels_are_learnt(kind: str, finished: Path, tmp_path: Path) -> None:
    file = write(finished, tmp_path / "shown.csv")
    words = (f"align.labels={file}", 'align.label_columns=["clicked", "kept"]', f"align.kind={kind}", "align.lr=1")
    further = ("align.next_code=0", "align.guard=0.99", "align.epochs=2")
    done = succeed("align", finished, *words, *further, "--out", tmp_path / "out")
    lines = [line for line in done.err.splitlines() if ": reward " in line]
    before, *_, after = (float(line.split("reward ")[1].split(",")[0]) for line in lines)
    assert after > before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "names 0 columns"),
        (('align.label_columns=["clicked"]', "align.label_weights=[1, 2]"), "align.label_weights 2 weights"),
        (('align.label_columns=["clicks"]',), "has no column 'clicks'; did you mean 'clicked'?"),
        (('align.label_columns=["time"]',), "a column can be one of user, item, time and labels"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(
    words: tuple[str, ...], message: str, finished: Path, tmp_path: Path
) -> None:
    file = write(finished, tmp_path / "shown.csv")
    assert message in refuse("align", finished, f"align.labels={file}", *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_are_all_alike_teach_nothing(finished: Path, tmp_path: Path) -> None:
    file = write(finished, tmp_path / "shown.csv")
    pl.read_csv(file, infer_schema=False).with_columns(clicked=pl.lit("1")).write_csv(file)
    words = (f"align.labels={file}", 'align.label_columns=["clicked"]', "--out", tmp_path / "out")
    assert "so there is nothing to learn" in refuse("align", finished, *words)

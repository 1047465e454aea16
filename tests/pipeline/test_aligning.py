"""Alignment of a trained run: what is refused, what is written, and that a reward is learnt."""

from pathlib import Path

import numpy as np
import pytest
import torch

from command import WORLD, refuse, succeed
from sidestep import artifact
from sidestep.data.sequences import question
from sidestep.objectives.preference import AlignConfig, Judged, aligned
from sidestep.pipeline import aligning
from sidestep.pipeline.aligning import ALIGNED
from sidestep.pipeline.rewards import Answers, Policy, rewards_of
from sidestep.pipeline.run import Run
from small_world import make, make_batch


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "judge"
    succeed("run", "s2gr-planted", "method=sasrec-ce", *WORLD, "baseline.width=8", "--out", folder)
    return folder


@pytest.mark.parametrize(("kind", "model"), [("grpo", "s2gr"), ("dpo", "tiger"), ("distil", "tiger-mtp")])
def test_a_reward_of_paths_is_learnt_and_the_start_is_the_reference(kind: str, model: str) -> None:
    """Each row's second path is worth most: on average its share among the four grows."""
    batch, items, learning = make_batch(), torch.arange(16).view(4, 4), make(model, dropout=0.0)
    with torch.no_grad():
        reference = learning.path_log_probs(batch, items)
    judged = Judged(batch, items[:, :1], items, reference, torch.tensor([0.0, 4.0, 1.0, 2.0]).expand(4, -1))
    config = AlignConfig(kind=kind, next_code=0.0)  # type: ignore[arg-type]
    assert aligned(learning, judged, config)["kl"].item() < 1e-6
    optimizer = torch.optim.Adam(learning.parameters(), lr=3e-3)
    for _ in range(8):
        optimizer.zero_grad()
        aligned(learning, judged, config)["total"].backward()
        optimizer.step()
    with torch.no_grad():
        shares = [each.sum(2).softmax(1)[:, 1].mean() for each in (reference, learning.path_log_probs(batch, items))]
    assert shares[1] > shares[0]


def test_a_run_is_aligned_into_a_folder_of_its_own(finished: Path, judge: Path, tmp_path: Path) -> None:
    out = tmp_path / "aligned"
    before = artifact.read_manifest(finished / "model").digest
    words = (f"align.reward={judge}", "align.group=4", "align.guard=0.9", "align.batch_size=16")
    done = succeed("align", finished, *words, "--out", out)
    assert "kept epoch 1" in done.out
    assert "before: reward" in done.err
    assert artifact.read_manifest(finished / "model").digest == before
    manifest = artifact.read_manifest(out / "model")
    assert manifest.digest != before
    told = manifest.meta[ALIGNED]
    assert (told["kind"], told["group"], told["reference"]) == ("grpo", 4, before)
    assert [row["epoch"] for row in told["log"]] == [0, 1]
    assert not (out / "evaluation").exists()
    succeed("recommend", out, "--user", "u01", "--k", "3")
    assert "choose another --out, or remove it" in refuse("align", finished, *words, "--out", out)
    assert "holds aligned weights, and a cell has no place" in refuse("record", out, "--cells", tmp_path / "cells")


def test_what_is_judged_is_the_references_own_and_nothing_of_the_history(finished: Path, judge: Path) -> None:
    policy = Policy(Run.open(finished), AlignConfig(reward=judge, group=4))
    answers = rewards_of(policy)
    assert isinstance(answers, Answers)
    [users, *_] = answers.batches(0)
    found = answers.load(users[:5])
    train = policy.train
    for row, user in enumerate(users[:5]):
        history = train.history(int(user))
        assert found.target[row].item() == history[-1]
        assert found.asked.lengths[row] == min(len(history) - 1, policy.frozen.reads.recent)
        barred = np.setdiff1d(history[:-1], history[-1:])
        assert not np.isin(found.items[row].numpy(), barred).any()
    asked = question([train.history(int(user))[:-1] for user in users[:5]], answers.reads)
    torch.testing.assert_close(answers.judge.score(asked, found.items), found.rewards)
    with torch.no_grad():
        start = aligned(policy.model.eval(), found, AlignConfig())
    assert start["kl"] < 1e-6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "align.reward and align.labels name no rewards; name one"),
        (("align.reward=x", "align.labels=y"), "align.reward and align.labels name two rewards; name one"),
        (("align.rewrad=x",), "Unknown key 'rewrad' in [align]; did you mean 'reward'"),
        (("align.group=1",), "align.group"),
    ],
)
def test_what_cannot_be_aligned_is_refused_in_one_sentence(
    finished: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refuse("align", finished, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scorer_has_no_paths_and_a_reward_of_other_data_is_no_reward(
    finished: Path, judge: Path, tmp_path: Path
) -> None:
    words = (f"align.reward={finished}", "--out", tmp_path / "out")
    assert "which has no paths to align" in refuse("align", judge, *words)
    succeed("prepare", "s2gr-planted", "method=sasrec-ce", *WORLD, "seed=1", "--out", tmp_path / "other")
    other = refuse("align", finished, f"align.reward={tmp_path / 'other'}", "--out", tmp_path / "out")
    assert "was trained on another catalog" in other or "was trained on another interactions" in other


def test_a_guard_that_no_epoch_keeps_leaves_nothing(
    finished: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = iter([0.5, 0.4, 0.3, 0.2])
    monkeypatch.setattr(aligning, "ndcg", lambda ranks, k: np.array([next(falling)]))
    words = (f"align.reward={judge}", "align.group=4", "align.guard=0.1")
    assert "so nothing is written; lower align.lr" in refuse("align", finished, *words, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []

"""`make check-gpu`: is a GPU's answer the CPU's, and what does it give?

The same TIGER and S2GR, at TIGER's size with random weights, on the CPU and on the device: scores of given items,
ranked lists, the losses of some steps of training from the same start, in float32 and bfloat16; then lists and
training targets a second, and the peak of the device's memory. A minute on a GPU. Exit code 1 where a difference is
beyond its tolerance. `--device cpu` compares the CPU with itself, which shows that the script works.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from machine import report, rounded, table
from shop import Shop, open_shop
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, TrainingSequences
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.objectives import generating
from sidestep.recommenders.generative import GenerativeRecommender, Precision

HISTORY, BEAMS, K, STEPS = 20, 50, 10, 5
TOLERANCES = {"score": 1e-3, "lists": 0.98, "loss": 1e-3, "score, bf16": 0.2, "items, bf16": 0.9, "loss, bf16": 0.05}
"""The largest difference of a log-probability and (relative) of a loss, and the least share of equal lists, or of items
in them: sums are rounded in another order on another device, and items that score alike change places.
"""


def models(shop: Shop) -> dict[str, EncoderDecoder]:
    """TIGER and S2GR with the same random weights in every run, on the CPU."""
    torch.manual_seed(0)
    config = GeneratorConfig(start="random", dropout=0.0, max_history=HISTORY)
    made: dict[str, EncoderDecoder] = {
        "TIGER": EncoderDecoder(shop.sids, config),
        "S2GR": Thinking(shop.sids, config, ThinkingConfig()),
    }
    return {name: model.eval() for name, model in made.items()}


def lists(
    shop: Shop, model: EncoderDecoder, asked: Sequence[SequenceBatch], precision: Precision = "fp32"
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Items `[users, K]` and their scores."""
    recommender = GenerativeRecommender(
        model, shop.sids, shop.popularity, Reads(HISTORY), num_beams=BEAMS, precision=precision
    )
    found = [recommender.rank(batch, K) for batch in asked]
    return np.concatenate([each.items.numpy() for each in found]), np.concatenate(
        [each.scores.numpy() for each in found]
    )


def losses(shop: Shop, name: str, model: EncoderDecoder, device: torch.device, steps: int, bf16: bool) -> list[float]:
    """The losses of some steps of plain descent from the same weights."""
    clusters = [torch.from_numpy(each).to(device) for each in shop.sids.clusters]
    objective: Callable[..., dict[str, torch.Tensor]] = generating.tiger
    if name == "S2GR":
        objective = partial(generating.s2gr, thinking=ThinkingConfig(), clusters=clusters)
    learner = copy.deepcopy(model).to(device)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01)
    sequences = TrainingSequences(shop.split.train, Reads(HISTORY), every_position=True)
    values = []
    for batch in sequences.batches(256, seed=0, epoch=0)[:steps]:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = objective(learner, sequences.batch(batch).to(device))["total"]
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    return values


def compare(shop: Shop, device: torch.device, users: int) -> dict[str, float]:
    """The largest differences between the CPU and the device over both models."""
    asked = shop.questions(shop.users(users), 64, HISTORY)
    worst = {"score": 0.0, "lists": 1.0, "loss": 0.0, "score, bf16": 0.0, "items, bf16": 1.0, "loss, bf16": 0.0}
    for name, model in models(shop).items():
        there = copy.deepcopy(model).to(device)
        items, scores = lists(shop, model, asked)
        items_there, scores_there = lists(shop, there, asked)
        items_bf16, scores_bf16 = lists(shop, there, asked, "bf16")
        worst["score"] = max(worst["score"], float(np.abs(scores - scores_there).max()))
        worst["lists"] = min(worst["lists"], float((items == items_there).all(axis=1).mean()))
        worst["score, bf16"] = max(worst["score, bf16"], float(np.abs(scores - scores_bf16).max()))
        shared = [len(np.intersect1d(one, other)) / K for one, other in zip(items, items_bf16, strict=True)]
        worst["items, bf16"] = min(worst["items, bf16"], float(np.mean(shared)))
        plain = np.array(losses(shop, name, model, torch.device("cpu"), STEPS, bf16=False))
        for key, bf16 in (("loss", False), ("loss, bf16", True)):
            other = np.array(losses(shop, name, model, device, STEPS, bf16))
            worst[key] = max(worst[key], float((np.abs(other - plain) / plain).max()))
    return worst


def speeds(shop: Shop, device: torch.device, users: int, batch: int) -> dict[str, float]:
    """Lists and training targets a second by the wall, and the peak of the device's memory in GB."""
    found: dict[str, float] = {}
    asked = shop.questions(shop.users(users), batch, HISTORY)
    targets = sum(int((_some(shop, index).targets >= 0).sum()) for index in range(STEPS))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for name, model in models(shop).items():
        there = copy.deepcopy(model).to(device)
        for precision in ("fp32", "bf16"):
            chosen: Precision = "bf16" if precision == "bf16" else "fp32"
            seconds = _wall(device, lambda there=there, chosen=chosen: lists(shop, there, asked, chosen))
            found[f"{name}, {precision}, lists/s"] = users / seconds
            work = partial(losses, shop, name, model, device, STEPS, precision == "bf16")
            found[f"{name}, {precision}, targets/s"] = targets / _wall(device, work)
    if device.type == "cuda":
        found["memory, GB"] = torch.cuda.max_memory_allocated(device) / 1e9
    return found


def _some(shop: Shop, index: int) -> SequenceBatch:
    sequences = TrainingSequences(shop.split.train, Reads(HISTORY), every_position=True)
    return sequences.batch(sequences.batches(256, seed=0, epoch=0)[index])


def _wall(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of some work after it was done once."""
    for _ in range(2):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few users, to see that everything works")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    words = parser.parse_args()
    device = torch.device(words.device)
    if device.type == "cuda":
        print(torch.cuda.get_device_name(device))
    else:
        print("No GPU here: the CPU is compared with itself, which shows that the script works and nothing else.")
    shop = open_shop()
    users, batch = (8, 8) if words.quick else (2_048, 256)
    worst = compare(shop, device, min(users, 256))
    fails = {
        key: value
        for key, value in worst.items()
        if (value < TOLERANCES[key] if key.startswith(("lists", "items")) else value > TOLERANCES[key])
    }
    rows = [
        [key, f"{value:.2g}", f"{TOLERANCES[key]:g}", "no" if key in fails else "yes"] for key, value in worst.items()
    ]
    print(table(rows, ["difference from the CPU", "worst", "allowed", "within"]))
    found = speeds(shop, device, users, batch)
    print(table([[key, f"{value:,.3g}"] for key, value in found.items()], ["", "found"]))
    protocol = {"device": str(device), "beams": BEAMS, "users": users, "batch": batch, "shop": shop.name}
    results = {"worst": worst, "speeds": {key: rounded(value) for key, value in found.items()}}
    report("gpu", {**protocol, "quick": words.quick}, results)
    if fails:
        print(f"beyond tolerance: {', '.join(fails)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()

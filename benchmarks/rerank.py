"""`make bench-rerank`: what a second look adds to the cost of a request.

Finished runs of the method `reranked` (`--run`, several times) answer their own test users, one at a time, with and
without the second look, in turns. Without one a list-wise look and a reasoner are trained on a small planted shop; what
they cost depends on the candidates and the history, hardly on the weights.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from machine import report, rounded, table
from sidestep.data.sequences import question_of
from sidestep.errors import ConfigError
from sidestep.methods.table import new_recipe
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.pipeline.stages import run_until
from sidestep.recommenders.reranked import RerankedRecommender

K = 10
SHOP = {"departments": 2, "aisles": 2, "shelves": 4, "brands": 3, "variants": 2, "users": 400}


def planted(kind: str, folder: Path) -> Run:
    """A run on the planted shop, trained as little as can be."""
    values = {
        "method": "reranked",
        "data": {"source": "planted", "planted": SHOP},
        "reranker": {"kind": kind, "epochs": 1},
        "reasoner": {"sft_epochs": 1, "rl_steps": 0},
    }
    run = Run.open(folder / kind, new_recipe(values))
    run_until(run, "train", lambda _: None)
    return run


def milliseconds(contents: RunContents, requests: int) -> dict[str, list[float]]:
    """CPU milliseconds of each request: of the first order, and of both looks."""
    both = contents.trained()
    if not isinstance(both, RerankedRecommender):
        raise ConfigError(f"{str(contents.folder)!r} is no second look; name runs of the method 'reranked'")
    cases = contents.split.test.sample(requests, seed=0)
    found: dict[str, list[float]] = {"first": [], "both": []}
    for case in range(len(cases)):
        for name, recommender in (("first", both.pre_ranker), ("both", both)):
            batch = question_of(cases, np.array([case]), recommender.reads)
            ask = partial(recommender.rank, batch, K)
            if not case:
                ask()  # what is made once
            begun = time.process_time()
            ask()
            found[name].append((time.process_time() - begun) * 1e3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="append", type=Path, help="a finished run; may be given again")
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    options = parser.parse_args()
    requests = 20 if options.quick else 300
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        runs = [Run.open(folder) for folder in options.run or ()]
        runs = runs or [planted(kind, Path(place)) for kind in ("listwise", "reasoner")]
        rows, added = [], {}
        for run in runs:
            times = milliseconds(RunContents(run), requests)
            first, both = (statistics.median(times[name]) for name in ("first", "both"))
            added[run.folder.name] = rounded(both - first)
            rows.append([run.folder.name, *(f"{value:.2f}" for value in (first, both, both - first))])
    print(f"Median CPU milliseconds of {requests} requests, one at a time, one thread, k = {K}")
    print(table(rows, ["run", "first order", "both", "second look"]))
    report("rerank", {"k": K, "requests": requests, "threads": 1}, {"ms a request": added, "ratios": {}})


if __name__ == "__main__":
    main()

"""Mutated inputs for every reader and format: each is refused in one bounded line, or read to the counts that plain
Python gives.

    python benchmarks/fuzz.py --count 20000 --seed 0 --state /tmp/fuzz.json --keep /tmp/fuzz

Input number n of a seed is always the same bytes, so a run can be stopped and goes on from `--state`; inputs that fail
are kept in `--keep`. The inputs are those of `fuzz_inputs.py`; `fuzz_count.py` counts again, with Python's own
`str.split`, csv and json.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from fuzz_count import expected
from fuzz_inputs import TARGETS, Case, case
from sidestep.config import build, read_toml
from sidestep.data.catalog import Catalog
from sidestep.data.inspect import inspect
from sidestep.data.sources import DataConfig, Dataset, read
from sidestep.durable import write_text
from sidestep.errors import SidestepError, one_line
from sidestep.pipeline.recommend import histories_of_file, ids_of_file
from sidestep.vectors.files import read_vectors
from sidestep.workshop.tables import read_file

SECONDS = 30
LONGEST_LINE = 1_300


@dataclass
class Tally:
    """What became of the inputs so far."""

    next: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    counted: int = 0
    failures: list[str] = field(default_factory=list)


def dataset_of(config: DataConfig, folder: Path) -> tuple[Dataset, DataConfig]:
    return read(config, seed=0), config


def read_case(one: Case, folder: Path, rng: random.Random) -> tuple[Dataset, DataConfig] | None:
    """Read the files as a user would; a dataset where they make one."""
    for name, content in one.files.items():
        (folder / name).write_bytes(content)
    path = folder / one.main
    if one.main.startswith("v."):
        read_vectors(
            path, Catalog(pl.DataFrame({"item_id": [f"i{n}" for n in range(8)], "source_row": list(range(8))}))
        )
    elif one.main.startswith("t."):
        read_file(path, None)
    elif one.main == "r.toml":
        build(DataConfig, read_toml(path).get("data", {}))
    elif one.main == "ids.txt":
        ids_of_file(path)
    elif one.main == "h.jsonl":
        histories_of_file(path)
    else:
        log = next(folder / name for name in one.files if name.startswith(("log.", "u.", "ratings.", "x.", "reviews_")))
        items = next((folder / name for name in one.files if name.startswith(("items.", "meta_"))), None)
        if rng.random() < 0.5:
            found = inspect(log, items)
            dataset = read(found.config, seed=0)
            met = (dataset.interactions.num_users, len(dataset.catalog), len(dataset.interactions))
            assert met == (found.users, found.items, found.interactions), "init counts other than the recipe"
            return dataset, found.config
        source = {"u": "movielens", "r": "movielens", "x": "recbole"}.get(log.name[0], "table")
        source = "amazon" if log.name.startswith("reviews_") else source
        settings: dict[str, Any] = {"path": folder, "interactions": log.name, "source": source}
        if source == "table":
            settings |= {"time": "time", "items": None if items is None else items.name, "unknown_items": "drop"}
        config = build(DataConfig, {**settings, "bad_rows": rng.choice(["error", "drop"]), "duplicate_items": "first"})
        return read(config, seed=0), config
    return None


def denied(dataset: Dataset, config: DataConfig, one: Case) -> str | None:
    """Why plain Python denies what was read; None where it agrees or cannot say."""
    log = next(name for name in one.files if name.startswith(("log.", "u.", "ratings.", "x.", "reviews_")))
    if log.endswith(".parquet"):
        return None
    wanted = expected(one.files[log], log, config)
    if wanted is None:
        return None
    ids = dataset.catalog.table["item_key" if "item_key" in dataset.catalog.table.columns else "item_id"].to_list()
    pairs = zip(dataset.interactions.user_ids, dataset.interactions.histories(), strict=True)
    met = {user: [ids[item] for item in history] for user, history in pairs}
    if len(one.files) > 1:  # unknown items are dropped
        known = set(ids)
        wanted = {user: [item for item in history if item in known] for user, history in wanted.items()}
        wanted = {user: history for user, history in wanted.items() if history}
    if met != wanted:
        return f"read {brief(met)}, expected {brief(wanted)}"
    return None


def brief(histories: dict[str, list[str]]) -> str:
    return f"{len(histories)} users, {sum(map(len, histories.values()))} rows: {str(histories)[:400]}"


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"hangs for {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def judge(seed: int, number: int, tally: Tally) -> str | None:
    """Read one input; why it fails, None where it does not."""
    one = case(seed, number)
    rng = random.Random(f"{seed}/{number}/how")
    try:
        with tempfile.TemporaryDirectory() as folder, time_limit(SECONDS):
            found = read_case(one, Path(folder), rng)
    except SidestepError as error:
        tally.refused[one.target] += 1
        line = one_line(error)
        return None if 0 < len(line) < LONGEST_LINE and line.isprintable() else f"an error line of {len(line):,}"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # polars' panics are no Exceptions
        return f"{type(error).__name__}: {str(error)[:300]}"
    tally.accepted[one.target] += 1
    if found is None:
        return None
    tally.counted += 1
    try:
        return denied(*found, one)
    except (ValueError, RecursionError, KeyError, OSError) as error:
        return f"accepted, but plain Python cannot read it: {type(error).__name__} {str(error)[:200]}"


def run(count: int, seed: int, state: Path | None, keep: Path | None) -> Tally:
    tally = Tally()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    if state is not None and state.is_file():
        held = json.loads(state.read_text())
        tally = Tally(
            held["next"], Counter(held["accepted"]), Counter(held["refused"]), held["counted"], held["failures"]
        )
    while tally.next < count:
        why = judge(seed, tally.next, tally)
        if why is not None:
            one = case(seed, tally.next)
            tally.failures.append(f"{tally.next} ({one.target}): {why}")
            if keep is not None:
                (keep / str(tally.next)).mkdir(parents=True, exist_ok=True)
                for name, content in one.files.items():
                    (keep / str(tally.next) / name).write_bytes(content)
        tally.next += 1
        if state is not None and (tally.next % 200 == 0 or tally.next == count):
            write_text(state, json.dumps(vars(tally)))
    return tally


def main() -> None:
    from machine import report

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="a file from which a stopped run goes on")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that fail")
    parser.add_argument("--quick", action="store_true", help="200 inputs")
    words = parser.parse_args()
    count = 200 if words.quick else words.count
    try:
        tally = run(count, words.seed, words.state, words.keep)
    except OSError as error:
        parser.error(f"{error.strerror}: {str(error.filename)!r}; --state goes on where this stopped")
    for target in TARGETS:
        print(f"{target:22} {tally.accepted[target]:6,} accepted {tally.refused[target]:6,} refused")
    for failure in tally.failures:
        print(failure)
    accepted, refused = sum(tally.accepted.values()), sum(tally.refused.values())
    found = {"inputs": tally.next, "accepted": accepted, "refused": refused, "counted again": tally.counted}
    report("fuzz", {"seed": words.seed, "quick": words.quick}, {**found, "failures": len(tally.failures)})
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()

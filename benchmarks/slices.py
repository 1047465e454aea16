"""How long a new slice of semantic IDs takes: a bundle of many items, and a file of windows of all that are on air.

    make bench-slices

Files of random numbers are written, a small run is trained on them once and exported, and the command is timed as its
user has it: windows read, vectors blended, IDs said, the tree built, the bundle checked and written.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from machine import report

START, DAY = 1_700_000_000_000, 86_400_000
SETTINGS = (
    *(
        "method=onelive",
        "data.items_without_interactions=keep",
        "data.interactions=interactions.parquet",
        "data.items=items.parquet",
        "data.time=time",
        "data.user=user",
        "data.item=item",
    ),
    *("data.item_key=item_id", "embed.kind=lsa", "embed.width=64", "graph.enabled=false", "slices.kind=windows"),
    *("slices.path=windows.parquet", "slices.epochs=1", "tokenizer.kind=rq-kmeans", "tokenizer.epochs=1"),
    *("tokenizer.train_items=20000", "train.epochs=1", "evaluate.valid_users=10"),
    *("generator.encoder_layers=2", "generator.decoder_layers=2", "slices.kept=24"),
)


def windows(path: Path, items: int, width: int, start: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    on_air = np.sort(rng.permutation(items)[: round(share * items)])
    vectors = rng.standard_normal((len(on_air), width), dtype=np.float32)
    table = pl.DataFrame({"item_id": pl.Series([f"i{item}" for item in on_air]), "vector": pl.Series(vectors)})
    table.with_columns(start=pl.lit(start)).write_parquet(path)


def log(folder: Path, items: int) -> None:
    rng = np.random.default_rng(0)
    users, length = 1_000, 8
    times = START + np.sort(rng.integers(2 * DAY, size=(users, length)), axis=1).ravel()
    rows = {
        "user": np.repeat(np.arange(users), length),
        "item": rng.integers(items, size=users * length),
        "time": times,
    }
    table = pl.DataFrame(rows).with_columns(item="i" + pl.col("item").cast(pl.String))
    table.write_parquet(folder / "interactions.parquet")
    numbers = range(items)
    titles = [f"word{number % 997} channel{number % 1009} {number}" for number in numbers]
    pl.DataFrame({"item_id": [f"i{number}" for number in numbers], "title": titles}).write_parquet(
        folder / "items.parquet"
    )


def sidestep(*words: object) -> tuple[float, float, str]:
    """Wall and processor seconds of a command, and what it says."""
    began, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, "-m", "sidestep", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return time.perf_counter() - began, used, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384, help="dimensions of a window")
    parser.add_argument("--share", type=float, default=1.0, help="of the items that is on air in the new slice")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="kept and used again [default: a temporary one]")
    options = parser.parse_args()
    if options.quick:
        options.items, options.width, options.times = 600, 16, 1
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sidestep-slices-"))
    bundle = folder / "bundle"
    if not bundle.exists():
        folder.mkdir(parents=True, exist_ok=True)
        log(folder, options.items)
        windows(folder / "windows.parquet", options.items, options.width, START, 0.5, 0)
        (folder / "slices.toml").write_text(f"[data]\npath = {json.dumps(str(folder))}\n")
        sidestep("train", folder / "slices.toml", *SETTINGS, "--out", folder / "run")
        sidestep("export", folder / "run", "--to", bundle)
    seconds: list[tuple[float, float]] = []
    for number in range(options.times):
        last = json.loads((bundle / "manifest.json").read_text())["meta"]["slice"]
        windows(folder / "now.parquet", options.items, options.width, last + DAY, options.share, number + 1)
        wall, used, said = sidestep("sids", "slice", bundle, "--windows", folder / "now.parquet")
        print(f"{wall:6.1f} s, {used:6.1f} s of processors: {said.splitlines()[0]}", flush=True)
        seconds.append((used, wall))
    least = dict(zip(("cpu", "wall"), map(min, zip(*seconds, strict=True)), strict=True))
    protocol = {"items": options.items, "width": options.width, "share": options.share, "quick": options.quick}
    report("slices", {**protocol, "threads": 1}, {"least seconds": least})


if __name__ == "__main__":
    main()

"""Mutated inputs for every reader and format: each is refused in one bounded line, or read to the counts that plain
Python gives.

    python benchmarks/fuzz.py --count 20000 --seed 0 --state /tmp/fuzz.json --keep /tmp/fuzz

Input number n of a seed is always the same bytes, so a run can be stopped and goes on from `--state`; inputs that fail
are kept in `--keep`. Counting again (`expected`) shares no code with the readers: it splits lines with `str.split` and
Python's own csv and json modules.
"""

import argparse
import csv
import gzip
import io
import json
import math
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from sidestep.config import build, read_toml
from sidestep.data.catalog import Catalog
from sidestep.data.inspect import inspect
from sidestep.data.sources import DataConfig, Dataset, read
from sidestep.errors import SidestepError, one_line
from sidestep.pipeline.recommend import histories_of_file, ids_of_file
from sidestep.vectors.files import read_vectors
from sidestep.workshop.tables import read_file

SECONDS = 30
LONGEST_LINE = 1_300
START = 1_600_000_000
MISSING = {"", "NULL", "null", "NaN", "nan", "None", "\\N", "<NA>"}
TOKENS = (
    *(b'"', b'""', b'"a,b"', b"\t", b",", b"\n", b"\r\n", b"\r", b"\n\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff"),
    *(
        b"NULL",
        b"nan",
        b"None",
        b"\\N",
        b"-1",
        b"0",
        b"1e999",
        b"-inf",
        b"9" * 40,
        b"1600000000000",
        b"2020-01-01",
        b"1.5",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\\u0000",
        b"\\ud800",
        b"true",
        b"[" * 2000,
        b"1" * 5000,
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
    ),
    *(
        b"user_id",
        b"item_id",
        b"time",
        b"u1",
        b"i1",
        b"|",
        b"::",
        b";",
        b" ",
        b"\xe2\x80\xa8",
        b"\x1a",
        b"#",
        b"'",
        b"\\",
    ),
)


@dataclass
class Case:
    """One input: its target, the files to write, and what reads them."""

    target: str
    files: dict[str, bytes]
    main: str


@dataclass
class Tally:
    """What became of the inputs so far."""

    next: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    counted: int = 0
    failures: list[str] = field(default_factory=list)


# --- inputs ---


def events(rng: random.Random) -> list[tuple[str, str, int]]:
    users, items = rng.randint(2, 6), rng.randint(3, 8)
    rows = [
        (f"u{rng.randrange(users)}", f"i{rng.randrange(items)}", START + 60 * at) for at in range(rng.randint(4, 30))
    ]
    rng.shuffle(rows)
    return rows


def delimited(sep: str) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        names = ["user_id", "item_id", "time"] + (["query"] if rng.random() < 0.4 else [])
        texts = ["shoes", '"red shoes"', "blue"] if sep != "\t" else ["shoes", "red", 'x"y']
        lines = [sep.join([user, item, str(time), rng.choice(texts)][: len(names)]) for user, item, time in events(rng)]
        return "\n".join([sep.join(names), *lines, ""]).encode()

    return make


def json_lines(rng: random.Random) -> bytes:
    rows = [{"user_id": user, "item_id": item, "time": time} for user, item, time in events(rng)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rng: random.Random) -> bytes:
    table = pl.DataFrame(events(rng), schema=["user_id", "item_id", "time"], orient="row")
    file = io.BytesIO()
    table.write_parquet(file, compression=rng.choice(["zstd", "snappy", "uncompressed"]))
    return file.getvalue()


def items_csv(rng: random.Random) -> bytes:
    rows = [f'i{n},"Thing, {n}",{rng.choice(["red", "blue"])}' for n in range(8)]
    return "\n".join(["item_id,title,colour", *rows, ""]).encode()


def items_json(rng: random.Random) -> bytes:
    rows = [
        {"item_id": f"i{n}", "title": f"Thing {n}", "more": {"a": n, f"k{rng.randrange(3)}": "x"}} for n in range(8)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def movielens(mark: str) -> Callable[[random.Random], bytes]:
    return lambda rng: "".join(
        mark.join([user[1:] + "1", item[1:] + "1", "4", str(time)]) + "\n" for user, item, time in events(rng)
    ).encode()


def recbole(rng: random.Random) -> bytes:
    lines = [f"{user}\t{item}\t{time}" for user, item, time in events(rng)]
    return "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines, ""]).encode()


def amazon(rng: random.Random) -> bytes:
    rows = [{"reviewerID": user, "asin": item, "unixReviewTime": time} for user, item, time in events(rng)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def amazon_meta(rng: random.Random) -> bytes:
    return "".join(
        repr({"asin": f"i{n}", "title": f"It's {n}", "categories": [["A", "B"]]}) + "\n" for n in range(8)
    ).encode()


def array(codes: bool) -> Callable[[random.Random], bytes]:
    def make(rng: random.Random) -> bytes:
        file = io.BytesIO()
        values = np.array([[rng.randrange(9) for _ in range(3)] for _ in range(8)])
        np.save(file, values if codes else values.astype(np.float32))
        return file.getvalue()

    return make


def archive(rng: random.Random) -> bytes:
    file = io.BytesIO()
    save = rng.choice([np.savez, np.savez_compressed])
    save(file, a=np.array([[rng.randrange(9) for _ in range(3)] for _ in range(8)]), b=np.eye(8, dtype=np.int64))
    return file.getvalue()


def tensors(rng: random.Random) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.safetensors"
        save_file({"vectors": np.array([[rng.random() for _ in range(3)] for _ in range(8)], dtype=np.float32)}, path)
        return path.read_bytes()


def vector_table(rng: random.Random) -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"item_id": [f"i{n}" for n in range(8)], "v": [[rng.random(), 1.0] for _ in range(8)]}).write_parquet(
        file
    )
    return file.getvalue()


def recipe(rng: random.Random) -> bytes:
    return (
        b'method = "s2gr"\n[data]\npath = "x"\ninteractions = "log.csv"\nk_core = 5\n[train]\nepochs = 3\nlr = 1e-3\n'
    )


def id_list(rng: random.Random) -> bytes:
    return "".join(f"P{rng.randrange(99):02}\n" for _ in range(9)).encode()


def history_lines(rng: random.Random) -> bytes:
    return "".join(json.dumps([f"P{rng.randrange(9)}" for _ in range(4)]) + "\n" for _ in range(5)).encode()


TARGETS: dict[
    str, tuple[str, Callable[[random.Random], bytes], tuple[str, Callable[[random.Random], bytes]] | None]
] = {
    "csv": ("log.csv", delimited(","), None),
    "csv and items": ("log.csv", delimited(","), ("items.csv", items_csv)),
    "tsv": ("log.tsv", delimited("\t"), None),
    "semicolons": ("log.csv", delimited(";"), None),
    "json lines": ("log.jsonl", json_lines, None),
    "json lines and items": ("log.jsonl", json_lines, ("items.jsonl", items_json)),
    "parquet": ("log.parquet", parquet, None),
    "items csv": ("items.csv", items_csv, ("log.csv", delimited(","))),
    "items json": ("items.jsonl", items_json, ("log.csv", delimited(","))),
    "movielens 100k": ("u.data", movielens("\t"), None),
    "movielens 1m": ("ratings.dat", movielens("::"), None),
    "recbole": ("x.inter", recbole, None),
    "amazon": ("reviews_X_5.json", amazon, ("meta_X.json", amazon_meta)),
    "amazon meta": ("meta_X.json", amazon_meta, ("reviews_X_5.json", amazon)),
    "npy vectors": ("v.npy", array(codes=False), None),
    "safetensors": ("v.safetensors", tensors, None),
    "parquet vectors": ("v.parquet", vector_table, None),
    "npy codes": ("t.npy", array(codes=True), None),
    "npz codes": ("t.npz", archive, None),
    "recipe": ("r.toml", recipe, None),
    "ids": ("ids.txt", id_list, None),
    "histories": ("h.jsonl", history_lines, None),
}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to four changes: bytes, tokens, lines, fields, encodings, ends."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        content = rng.choice(MUTATIONS)(content, rng)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    return rng.randint(0, len(content))


def flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return b"x"
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def insert(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.choice(TOKENS) + content[at:]


def replace(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.choice(TOKENS) + content[at + rng.randint(1, 12) :]


def cut(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.randint(1, 30) :]


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def lines(content: bytes, rng: random.Random) -> bytes:
    parts = content.split(b"\n")
    one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    how = rng.randrange(4)
    if how == 0:
        parts[one], parts[other] = parts[other], parts[one]
    elif how == 1:
        parts.insert(one, parts[other])
    elif how == 2:
        del parts[one]
    else:
        parts.insert(one, b"")
    return b"\n".join(parts)


def fields(content: bytes, rng: random.Random) -> bytes:
    parts = content.split(b"\n")
    at = rng.randrange(len(parts))
    mark = rng.choice([b",", b"\t", b";"])
    cells = parts[at].split(mark)
    place = rng.randrange(len(cells))
    cells[place : place + 1] = rng.choice([[], [b""], [cells[place], rng.choice(TOKENS)], [rng.choice(TOKENS)]])
    parts[at] = mark.join(cells)
    return b"\n".join(parts)


def encoding(content: bytes, rng: random.Random) -> bytes:
    how = rng.randrange(6)
    if how == 0:
        return b"\xef\xbb\xbf" + content
    if how == 1:
        return content.replace(b"\n", b"\r\n")
    if how == 2:
        return content.replace(b"\n", b"\r")
    if how == 3:
        return gzip.compress(content, mtime=0)
    return content.decode("latin-1").encode(rng.choice(["utf-16", "utf-16-le", "utf-8"]))


MUTATIONS = (flip, flip, insert, insert, replace, replace, cut, truncate, lines, lines, fields, fields, encoding)


def case(seed: int, number: int) -> Case:
    rng = random.Random(f"{seed}/{number}")
    target = rng.choice(list(TARGETS))
    name, make, beside = TARGETS[target]
    files = {name: mutated(make(rng), rng)}
    if beside is not None:
        files[beside[0]] = beside[1](rng)
    return Case(target, files, name)


# --- reading ---


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


# --- counting again, in plain Python ---


def expected(content: bytes, name: str, config: DataConfig) -> dict[str, list[str]] | None:
    """Every user's items in order, of the rows that can be read; None where plain Python cannot say."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    text = content.decode("utf-8").lstrip("\ufeff")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    rows = list(_rows(text, name))
    columns = {"movielens": ("user", "item", "time"), "amazon": ("reviewerID", "asin", "unixReviewTime")}.get(
        config.source, (config.user, config.item, "timestamp" if config.time is None else config.time)
    )
    timed = config.source != "table" or config.time is not None
    if config.order is not None or (
        timed and config.source == "table" and config.time_unit not in ("s", "ms", "us", "ns")
    ):
        return None if config.time_unit != "auto" else _histories(rows, columns, timed)
    return _histories(rows, columns, timed)


def _histories(rows: list[dict[str, str]], columns: tuple[str, str, str], timed: bool) -> dict[str, list[str]] | None:
    read: dict[str, list[tuple[float, str]]] = {}
    user, item, time = columns
    for row in rows:
        if any(row.get(name, "").strip() in MISSING for name in (user, item)):
            continue
        moment = 0.0
        if timed and any(time in one for one in rows):
            text = row.get(time, "").strip()
            if not row.get(time, "").isprintable():  # Python takes some control characters for blanks
                return None
            if text in MISSING:
                continue
            try:
                moment = float(text)
            except ValueError:
                if any(mark in text for mark in "-/:."):
                    return None
                continue
            if math.isnan(moment):
                continue
            if abs(moment) > 1e11:
                return None
        read.setdefault(row[user], []).append((moment, row[item]))
    return {name: [item for _, item in sorted(pairs, key=lambda pair: pair[0])] for name, pairs in read.items()}


def _rows(text: str, name: str) -> Iterator[dict[str, str]]:
    if name.endswith((".jsonl", ".json")):
        for line in text.split("\n"):
            if line.strip():
                row = json.loads(line.removeprefix("\ufeff"))  # files that were laid end to end
                yield {
                    key: value if isinstance(value, str) else json.dumps(value)
                    for key, value in row.items()
                    if value is not None
                }
        return
    if name == "ratings.dat":
        text = text.replace("\t", " ").replace("::", "\t")
    if name in ("u.data", "ratings.dat"):
        text = "user\titem\trating\ttime\n" + text
    head, _, body = text.partition("\n")
    head = head.removesuffix("\r")
    sep = "\t" if name in ("u.data", "ratings.dat", "x.inter") else max(",\t;|", key=head.count)
    names = head.split(sep)
    if name == "x.inter":
        names = [field.rpartition(":")[0] for field in names]
    elif sep == "\t":
        names = [_bare(field) for field in names]
    elif '"' in head:
        with suppress(csv.Error):  # a stray quote is a character
            names = next(csv.reader([head], delimiter=sep, strict=True))
    for values in _fields(body, sep, name):
        if len(values) == len(names):
            yield dict(zip(names, values, strict=True))


def _fields(body: str, sep: str, name: str) -> Iterator[list[str]]:
    if sep != "\t" and '"' in body and "\r" not in body.replace("\r\n", ""):
        try:
            rows = list(csv.reader(io.StringIO(body, newline=""), delimiter=sep, strict=True))
            yield from (row for row in rows if len(row) > 1 or "".join(row).strip())
            return
        except csv.Error:  # stray quotes: every line is a row
            pass
    for line in body.split("\n"):
        if line.strip():
            values = line.removesuffix("\r").split(sep)
            yield values if name == "x.inter" or sep != "\t" else [_bare(value) for value in values]


def _bare(value: str) -> str:
    enclosed = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1].replace('""', '"') if enclosed else value


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


# --- running ---


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
            state.write_text(json.dumps(vars(tally)))
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
    tally = run(count, words.seed, words.state, words.keep)
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

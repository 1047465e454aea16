"""Small files of every format, and what may happen to a file: the inputs of `fuzz.py`."""

import gzip
import io
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import save_file

START = 1_600_000_000
"""The time of the first event, in seconds since 1970."""
MARKS = (
    b'"',
    b'""',
    b'"a,b"',
    b"\t",
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xff",
)
VALUES = (
    *(b"NULL", b"nan", b"None", b"\\N", b"n/a", b"NA", b"-", b"45291.5", b"-1", b"0", b"1e999", b"-inf"),
    *(b"9" * 40, b"1600000000000", b"2020-01-01", b"1.5"),
)
JSON = (
    *(b"{", b"}", b"[", b"]", b":", b"\\u0000", b"\\ud800", b"true"),
    *(b"[" * 2000, b"1" * 5000, b"caf\xc3\xa9", b"cafe\xcc\x81"),
)
NAMES = (
    *(b"user_id", b"item_id", b"time", b"u1", b"i1", b"|", b"::", b";"),
    *(b" ", b"\xe2\x80\xa8", b"\x1a", b"#", b"'", b"\\"),
)
TOKENS = MARKS + VALUES + JSON + NAMES


@dataclass
class Case:
    """One input: its target, the files to write, and what reads them."""

    target: str
    files: dict[str, bytes]
    main: str


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

"""The histories in a log as plain Python reads them: no code is shared with the readers."""

import csv
import gzip
import io
import json
import math
from collections.abc import Iterator
from contextlib import suppress

from sidestep.data.sources import DataConfig

MISSING = {
    *("", "null", "nan", "none", "nil", "na", "n/a", "#n/a", "<na>", "\\n", "nat", "undefined", "(null)", "<null>"),
    *("-", "--", "?", "[null]", "(none)", "[none]", "[]", "{}", "''", "\\\\n", "n.a.", "n.a", "n.d.", "n/d", "s/d"),
    *("#null!", "#value!", "#ref!", "#name?", "#div/0!", "k.a.", "keine angabe", "not available", "not set"),
    *("(not set)", "missing", "(empty)", "(blank)", "无", "空", "なし", "нет данных", "\u2014", "\u2013", "\u200b"),
}


CALENDAR = 631_152_000, 4_102_444_800
"""Seconds of the years 1990 and 2100."""
FAR = 20 * 365 * 86_400
"""Seconds from all other times beyond which one is none."""


def expected(content: bytes, name: str, config: DataConfig) -> dict[str, list[str]] | None:
    """Every user's items in order, of the rows that can be read; None where plain Python cannot say."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    text = content.decode("utf-8")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    text = "\n".join(line.lstrip("\ufeff") for line in text.split("\n"))  # files that were laid end to end
    if not name.endswith((".jsonl", ".json", ".data", ".dat")):
        while text.partition("\n")[0].strip(" \t\r") == "" and "\n" in text:
            text = text.partition("\n")[2]
        if text.partition("\n")[0].strip('"\r') in ("sep=,", "sep=;", "sep=|", "sep=\t"):
            text = text.partition("\n")[2]
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
        if any(row.get(name, "").strip().lower() in MISSING for name in (user, item)):
            continue
        moment = 0.0
        if timed and any(time in one for one in rows):
            text = row.get(time, "").strip()
            if not row.get(time, "").isprintable():  # Python takes some control characters for blanks
                return None
            if text.lower() in MISSING:
                continue
            try:
                moment = float(text)
            except ValueError:
                if any(mark in text for mark in "-/:.,"):
                    return None
                continue
            if math.isnan(moment):
                continue
            if abs(moment) > 1e11:
                return None
        read.setdefault(row[user], []).append((moment, row[item]))
    told = [moment for pairs in read.values() for moment, _ in pairs if moment not in (0, -1)]
    if timed and sum(CALENDAR[0] <= moment < CALENDAR[1] for moment in told) > 0.9 * len(told):
        calendar = [moment for moment in told if CALENDAR[0] <= moment < CALENDAR[1]]
        first, last = min(calendar) - FAR, max(calendar) + FAR
        kept = {
            name: [pair for pair in pairs if pair[0] not in (0, -1) and first <= pair[0] <= last]
            for name, pairs in read.items()
        }
        read = {name: pairs for name, pairs in kept.items() if pairs}
    return {name: [item for _, item in sorted(pairs, key=lambda pair: pair[0])] for name, pairs in read.items()}


def _rows(text: str, name: str) -> Iterator[dict[str, str]]:
    if name.endswith((".jsonl", ".json")):
        for line in text.split("\n"):
            if line.strip():
                row = json.loads(line)
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

"""Folders of Parquet in, folders of Parquet out: rows are divided into shards, and every shard is written exactly once.

    OUT/plan.json            the input, the size of the shards and the settings; whoever resumes must have the same
    OUT/part-000000.parquet  shard 0, in its place only when it is complete and on the disk
    OUT/manifest.json        the SHA-256 of every file, written last

A shard is a function of its rows alone, so that any worker of any engine writes the same bytes, and a second attempt at
a shard does no harm. Memory: the rows of one shard in every worker.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from sidestep import artifact
from sidestep.durable import left_behind, read_json, replacing_file, write_json
from sidestep.errors import ArtifactError, ConfigError, DataError, SidestepError, brief, did_you_mean, listed, one_line

PLAN = "plan.json"
KIND = "shards"
FOOTER = 8
"""A Parquet file ends with its footer, the footer's length in 4 bytes, and `PAR1`."""
Work = Callable[[pl.DataFrame], pl.DataFrame]


@runtime_checkable
class Job(Protocol):
    """What is done with every shard; it is pickled and sent to the workers."""

    @property
    def title(self) -> str:
        """One word for the progress."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that the input must have."""

    def identity(self) -> dict[str, Any]:
        """What the output depends on besides the input, as JSON values."""

    def open(self) -> Work:
        """Load what the work needs, once in each worker, with one thread: the bytes of a product of matrices may
        depend on the number of threads.
        """


@dataclass(frozen=True)
class Shard:
    """Rows `begin` to `begin + rows` of a file, and the place of their output."""

    number: int
    path: Path
    begin: int
    rows: int

    @property
    def name(self) -> str:
        """The file name of its output."""
        return f"part-{self.number:06d}.parquet"

    def __str__(self) -> str:
        return f"{str(self.path)!r}, rows {self.begin:,} to {self.begin + self.rows - 1:,}"

    def read(self) -> pl.DataFrame:
        with _reading(self.path):
            return _scan(self.path).slice(self.begin, self.rows).collect()


@dataclass(frozen=True)
class Outcome:
    """shard: its number. rows: rows read. problem: why nothing was written; empty where the shard is there."""

    shard: int
    rows: int
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """A file of the input. footer: SHA-256 of its Parquet footer, which names the size, the place and the extremes of
    every column chunk, so that another file of the same name is noticed without reading all of it.
    """

    path: Path
    rows: int
    footer: str

    @classmethod
    def of(cls, path: Path, needs: Sequence[str]) -> "Source":
        """Raises:
        DataError: no Parquet, or a column is missing.
        """
        with _reading(path):
            names, rows = list(_scan(path).collect_schema()), int(_scan(path).select(pl.len()).collect().item())
        for name in needs:
            if name not in names:
                hint = did_you_mean(name, names)
                raise DataError(f"{str(path)!r} has no column {name!r}{hint}; it holds {listed(names)}")
        return cls(path, rows, _footer(path))


def sources_of(place: Path, needs: Sequence[str]) -> list[Source]:
    """The `*.parquet` files of a folder in the order of their names, or one file.

    Raises:
        DataError: none, a damaged one, or one without a column.
    """
    files = sorted(place.glob("*.parquet")) if place.is_dir() else [place]
    if not files or not place.exists():
        what = "no *.parquet file in the folder" if place.is_dir() else "no file or folder"
        raise DataError(f"There is {what} {str(place)!r}; expected Parquet with {_columns(needs)}")
    return [Source.of(file.absolute(), needs) for file in files]


def _columns(needs: Sequence[str]) -> str:
    return f"the column{'s' if len(needs) > 1 else ''} {listed(needs)}"


def shards_of(sources: Sequence[Source], rows: int) -> list[Shard]:
    """Every file in shards of at most `rows` rows, so that a shard never needs two files."""
    parts = [(source, begin) for source in sources for begin in range(0, source.rows, rows)]
    return [
        Shard(number, source.path, begin, min(rows, source.rows - begin))
        for number, (source, begin) in enumerate(parts)
    ]


def plan_of(title: str, settings: Mapping[str, Any], sources: Sequence[Source], rows: int) -> dict[str, Any]:
    """The content of `plan.json`: what the shards depend on. The input's folder may move.

    title, settings: of the job, its `identity`.
    """
    files = [{"name": source.path.name, "rows": source.rows, "footer": source.footer} for source in sources]
    return {"job": title, "rows of a shard": rows, "settings": dict(settings), "input": files}


def begin(out: Path, plan: Mapping[str, Any]) -> None:
    """Write the plan into an empty or missing folder, or compare it with the one that is there.

    Raises:
        ConfigError: the folder holds something else. ArtifactError: it holds shards of another plan.
    """
    place = out / PLAN
    if place.is_file():
        old = read_json(place, f"remove the folder {str(out)!r} to begin again")
        differs = [key for key in plan if not isinstance(old, dict) or old.get(key) != plan[key]]
        if differs:
            raise ArtifactError(
                f"{str(out)!r} holds shards of another plan ({', '.join(differs)}); name another --out, or remove it"
            )
        return
    if out.exists() and (not out.is_dir() or {*out.iterdir()} - {*left_behind(out)}):
        what = "is not empty and holds no plan.json" if out.is_dir() else "is no folder"
        raise ConfigError(f"--out {str(out)!r} {what}; name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(place, plan)


def write_shard(work: Callable[[], Work], shard: Shard, out: Path) -> Outcome:
    """Do the work of one shard and put its file into place: a temporary name, sync, rename.

    A shard that is there already is left alone: its writer may have died between the rename and its answer.
    work: loads what is needed at the first shard.
    """
    place = out / shard.name
    if place.is_file():
        return Outcome(shard.number, shard.rows)
    try:
        table = work()(shard.read())
        with replacing_file(place) as staging:
            artifact.write_table(staging, table)
    except SidestepError as error:
        return Outcome(shard.number, 0, f"{shard}: {one_line(error)}")
    return Outcome(shard.number, shard.rows)


def seal(out: Path, plan: Mapping[str, Any]) -> artifact.Manifest:
    """Write the manifest of a complete folder: `artifact.verify` then checks every byte."""
    sizes = {"rows read": sum(file["rows"] for file in plan["input"])}
    return artifact.seal(out, KIND, meta=sizes, config=plan)


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"Cannot read {str(path)!r} as Parquet: {brief(error, 160)}; write it again") from None


def _footer(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(-FOOTER, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-FOOTER - length, os.SEEK_END)
        return hashlib.sha256(file.read(length)).hexdigest()

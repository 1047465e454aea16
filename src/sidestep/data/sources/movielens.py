"""MovieLens by GroupLens: 100K (`u.data`), 1M and 10M (`ratings.dat`), 20M and later (`ratings.csv`).

Every rating counts as an interaction, whatever its stars. https://grouplens.org/datasets/movielens
"""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl

from sidestep.data.catalog import ITEM_ID, SOURCE_ROW
from sidestep.data.sources import files, table
from sidestep.data.sources.assemble import ITEM_KEY, Tables
from sidestep.data.sources.config import DataConfig
from sidestep.data.sources.content import opened, plain_text, read_bytes, read_text
from sidestep.data.sources.delimited import Ragged
from sidestep.errors import DataError, brief, listed

ENCODINGS = ("utf-8", "latin-1")  # 100K and 1M are latin-1, later ones UTF-8
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
FILMS = pl.Schema({ITEM_ID: pl.String(), ITEM_KEY: pl.String(), "title": pl.String(), "genres": pl.List(pl.String())})
Movies = list[tuple[str, str, list[str]]]  # id, title, genres


def read_movielens(config: DataConfig) -> Tables:
    """Ratings in seconds and the films with title and genres.

    A named file of ratings (data.interactions, or data.path) is read whatever its name, by the layout of its content;
    in a folder the first of the three usual names is.

    Raises:
        DataError: none of the known files is there, or one is damaged or of another layout.
    """
    path, (_, movies, read_ratings, read_movies) = _ratings_file(config)
    folder, notes, ragged = path.parent, list[str](), Ragged()
    columns = {"user": "user", "item": "item", "time": "time", "time_unit": "s", "order": None, "event": None}
    log = table.canonical_log(
        read_ratings(path, ragged), config.model_copy(update={**columns, "events": None}), path, notes, ragged
    )
    films_file = folder / (config.items or movies)
    if config.items is None and not films_file.is_file():
        notes.append(f"no {movies} beside {path.name}: the items have no text")
        return Tables(log, None, notes, (path,))
    return Tables(log, _items(read_movies(films_file)), notes, (path, films_file))


def _ratings_file(config: DataConfig) -> tuple[Path, "Reading"]:
    """The file of ratings and its layout."""
    folder = config.path.parent if config.path.is_file() else config.path
    if config.interactions is not None or config.path.is_file():
        path = folder / config.interactions if config.interactions is not None else config.path
        return path, layout_of(path)
    found = next((layout for layout in LAYOUTS if (folder / layout[0]).is_file()), None)
    if found is None:
        expected = ", ".join(layout[0] for layout in LAYOUTS)
        raise DataError(f"No MovieLens ratings in {str(folder)!r} (data.path); expected one of {expected}")
    return folder / found[0], found


def layout_of(path: Path) -> "Reading":
    """The layout of a file of ratings, by its first line.

    Raises:
        DataError: it is none of the three.
    """
    with opened(path) as file:
        line = file.readline(1 << 16).decode("utf-8", "replace").strip("\ufeff\r\n")
    parted = {0: line.split("\t"), 1: line.split("::")}
    for place, fields in parted.items():
        if len(fields) == 4 and all(re.fullmatch(r"\d+(\.\d+)?", field) for field in fields):
            return LAYOUTS[place]
    if {"userId", "movieId", "timestamp"} <= set(line.split(",")):
        return LAYOUTS[2]
    raise DataError(
        f"{str(path)!r} has the first line {brief(line)!r}, which is no MovieLens layout; expected user, item, rating "
        "and seconds with tabs or '::' between them, or the header userId,movieId,rating,timestamp"
    )


def separator_of(path: Path) -> str:
    """What stands between the fields of a file of ratings without a header."""
    return "::" if layout_of(path) is LAYOUTS[1] else "\t"


def _items(films: Movies) -> pl.DataFrame:
    ids, titles, genres = (list(column) for column in zip(*films, strict=True)) if films else ([], [], [])
    table = pl.DataFrame({ITEM_ID: ids, ITEM_KEY: ids, "title": titles, "genres": genres}, schema=FILMS)
    return table.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(SOURCE_ROW))


def _ratings_without_header(content: bytes, path: Path, ragged: Ragged) -> pl.DataFrame:
    """Tab-separated user, item, rating, seconds."""
    frame = files.read_delimited(b"user\titem\trating\ttime\n" + content, path, "\t", ragged=ragged)
    return frame.select("user", "item", "time")


def _ratings_100k(path: Path, ragged: Ragged) -> pl.DataFrame:
    return _ratings_without_header(plain_text(read_bytes(path), path), path, ragged)


def _ratings_1m(path: Path, ragged: Ragged) -> pl.DataFrame:
    content = plain_text(read_bytes(path), path).replace(b"\t", b" ").replace(b"::", b"\t")
    return _ratings_without_header(content, path, ragged)


def _ratings_20m(path: Path, ragged: Ragged) -> pl.DataFrame:
    wanted = {"userId": "user", "movieId": "item", "timestamp": "time"}
    names = files.column_names(path)
    for name in wanted:
        if name not in names:
            raise DataError(f"{str(path)!r} has no column {name!r}, which MovieLens has; it has {listed(names)}")
    return files.read_columns(path, list(wanted), ragged=ragged).rename(wanted)


def _movies_100k(path: Path) -> Movies:
    films = []
    for number, line in enumerate(read_text(path, ENCODINGS).splitlines(), start=1):
        fields = line.split("|")
        if len(fields) != 5 + len(GENRES_100K):
            raise DataError(f"{str(path)!r}: line {number} has {len(fields)} fields, expected {5 + len(GENRES_100K)}")
        genres = [genre for genre, flag in zip(GENRES_100K, fields[5:], strict=True) if flag == "1"]
        films.append((fields[0], fields[1], genres))
    return films


def _movies_1m(path: Path) -> Movies:
    films = []
    for number, line in enumerate(read_text(path, ENCODINGS).splitlines(), start=1):
        fields = line.split("::")
        if len(fields) < 3:
            raise DataError(f"{str(path)!r}: line {number} has {len(fields)} fields, expected id::title::genres")
        films.append((fields[0], "::".join(fields[1:-1]), _genres(fields[-1])))
    return films


def _movies_20m(path: Path) -> Movies:
    frame = files.read_delimited(read_bytes(path), path, ",")
    for name in ("movieId", "title", "genres"):
        if name not in frame.columns:
            raise DataError(f"{str(path)!r} has no column {name!r}; it has {listed(frame.columns)}")
    return [(key, title, _genres(genres)) for key, title, genres in frame.select("movieId", "title", "genres").rows()]


def _genres(text: str | None) -> list[str]:
    return [genre for genre in (text or "").split("|") if genre and genre != "(no genres listed)"]


Reading = tuple[str, str, Callable[[Path, Ragged], pl.DataFrame], Callable[[Path], Movies]]
LAYOUTS: tuple[Reading, ...] = (
    ("u.data", "u.item", _ratings_100k, _movies_100k),
    ("ratings.dat", "movies.dat", _ratings_1m, _movies_1m),
    ("ratings.csv", "movies.csv", _ratings_20m, _movies_20m),
)

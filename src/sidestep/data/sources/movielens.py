"""MovieLens by GroupLens: 100K (`u.data`), 1M and 10M (`ratings.dat`), 20M and later (`ratings.csv`).

Every rating counts as an interaction, whatever its stars. https://grouplens.org/datasets/movielens
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from sidestep.data.catalog import ITEM_ID
from sidestep.data.sources import columns, files
from sidestep.data.sources.assemble import ITEM_KEY, Tables
from sidestep.data.sources.config import DataConfig
from sidestep.errors import DataError

ENCODINGS = ("utf-8", "latin-1")  # 100K and 1M are latin-1, later ones UTF-8
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
Movies = list[tuple[str, str, list[str]]]  # id, title, genres


def read_movielens(config: DataConfig) -> Tables:
    """Ratings in seconds and the films with title and genres.

    Raises:
        DataError: none of the known files is there, or one is damaged.
    """
    folder = config.path.parent if config.path.is_file() else config.path
    for ratings, movies, read_ratings, read_movies in LAYOUTS:
        if (folder / ratings).is_file():
            log = _log(read_ratings(folder / ratings), folder / ratings)
            if not (folder / movies).is_file():
                note = f"no {movies} beside {ratings}: the items have no text"
                return Tables(log, None, [note], (folder / ratings,))
            films = _items(read_movies(folder / movies))
            return Tables(log, films, files=(folder / ratings, folder / movies))
    expected = ", ".join(layout[0] for layout in LAYOUTS)
    raise DataError(f"No MovieLens ratings in {str(folder)!r} (data.path); expected one of {expected}")


def _log(raw: pl.DataFrame, path: Path) -> pl.DataFrame:
    user, item, time = raw.get_columns()
    return pl.DataFrame(
        [
            columns.ids(user, path, "user").alias("user_id"),
            columns.ids(item, path, "item").alias(ITEM_KEY),
            columns.times(time, "s", path)[0].alias("time"),
        ]
    )


def _items(films: Movies) -> pl.DataFrame:
    ids, titles, genres = (list(column) for column in zip(*films, strict=True)) if films else ([], [], [])
    return pl.DataFrame(
        {ITEM_ID: ids, ITEM_KEY: ids, "title": titles, "genres": genres},
        schema={ITEM_ID: pl.String, ITEM_KEY: pl.String, "title": pl.String, "genres": pl.List(pl.String)},
    )


def _ratings_without_header(content: bytes, path: Path) -> pl.DataFrame:
    """Tab-separated user, item, rating, seconds."""
    table = files.read_delimited(b"user\titem\trating\ttime\n" + content, path, "\t")
    return table.select("user", "item", "time")


def _ratings_100k(path: Path) -> pl.DataFrame:
    return _ratings_without_header(files.read_bytes(path), path)


def _ratings_1m(path: Path) -> pl.DataFrame:
    return _ratings_without_header(files.read_bytes(path).replace(b"::", b"\t"), path)


def _ratings_20m(path: Path) -> pl.DataFrame:
    wanted = ("userId", "movieId", "timestamp")
    names = files.column_names(path)
    for name in wanted:
        if name not in names:
            raise DataError(f"{str(path)!r} has no column {name!r}, which MovieLens has; it has {', '.join(names)}")
    return files.read_columns(path, wanted)


def _movies_100k(path: Path) -> Movies:
    films = []
    for number, line in enumerate(files.read_text(path, ENCODINGS).splitlines(), start=1):
        fields = line.split("|")
        if len(fields) != 5 + len(GENRES_100K):
            raise DataError(f"{str(path)!r}: line {number} has {len(fields)} fields, expected {5 + len(GENRES_100K)}")
        genres = [genre for genre, flag in zip(GENRES_100K, fields[5:], strict=True) if flag == "1"]
        films.append((fields[0], fields[1], genres))
    return films


def _movies_1m(path: Path) -> Movies:
    films = []
    for number, line in enumerate(files.read_text(path, ENCODINGS).splitlines(), start=1):
        fields = line.split("::")
        if len(fields) < 3:
            raise DataError(f"{str(path)!r}: line {number} has {len(fields)} fields, expected id::title::genres")
        films.append((fields[0], "::".join(fields[1:-1]), _genres(fields[-1])))
    return films


def _movies_20m(path: Path) -> Movies:
    table = files.read_delimited(files.read_bytes(path), path, ",")
    for name in ("movieId", "title", "genres"):
        if name not in table.columns:
            raise DataError(f"{str(path)!r} has no column {name!r}; it has {', '.join(table.columns)}")
    return [(key, title, _genres(genres)) for key, title, genres in table.select("movieId", "title", "genres").rows()]


def _genres(text: str | None) -> list[str]:
    return [genre for genre in (text or "").split("|") if genre and genre != "(no genres listed)"]


Reading = tuple[str, str, Callable[[Path], pl.DataFrame], Callable[[Path], Movies]]
LAYOUTS: tuple[Reading, ...] = (
    ("u.data", "u.item", _ratings_100k, _movies_100k),
    ("ratings.dat", "movies.dat", _ratings_1m, _movies_1m),
    ("ratings.csv", "movies.csv", _ratings_20m, _movies_20m),
)

"""What a trained run does for folders of Parquet, shard by shard: vectors of items, their semantic IDs, lists of users.

A job's output depends on its own rows and on the run alone, so that shards may be done anywhere and in any order. The
engines that do them are in `launch/`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from sidestep import artifact, bundle
from sidestep.data.catalog import ITEM_ID
from sidestep.data.sources.further import texts_of
from sidestep.errors import ConfigError, DataError, brief
from sidestep.fast.recommender import has_graph
from sidestep.fast.session import can_run
from sidestep.pipeline import versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.recommend import Answered, as_table
from sidestep.pipeline.run import Run
from sidestep.recommenders.facade import Facade
from sidestep.vectors import choosing
from sidestep.vectors.files import numbers
from sidestep.vectors.item_vectors import ItemVectors

VECTOR, CODES, USER_ID, HISTORY, TIMES = "vector", "codes", "user_id", "history", "times"
Work = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class _OfRun:
    folder: Path

    def contents(self) -> RunContents:
        """Read anew every time: a job is sent to workers, and what it has read must not be.

        Raises:
            ConfigError: a tuned encoder, whose vectors of a text depend on the texts beside it.
        """
        contents = RunContents(Run.open(self.folder))
        if contents.recipe.tune.reads_texts:
            raise ConfigError(
                f"{str(self.folder)!r} tunes its text encoder, which reads all new items at once; use `sidestep sids "
                "append`"
            )
        return contents


@dataclass(frozen=True)
class Embed(_OfRun):
    """Items with the text columns of the run's items file -> `item_id`, `vector` (D float32) of the run's encoder."""

    title = "embed"
    needs = (ITEM_ID,)

    def identity(self) -> dict[str, Any]:
        """Raises:
        ConfigError: the run's vectors come from no text.
        """
        contents = self.contents()
        config, catalog, run = contents.recipe.embed, contents.catalog, contents.run
        if (kind := choosing.chosen_kind(catalog, config)) in ("file", "behaviour"):
            raise ConfigError(
                f"The vectors of {str(self.folder)!r} are of embed.kind = {kind!r}, which make "
                "none of further texts; `sidestep batch assign` takes vectors that you made"
            )
        return {"vectors": run.digest("vectors"), "catalog": run.digest("catalog"), "batch_size": config.batch_size}

    def open(self) -> Work:
        one_thread()
        contents = self.contents()
        recipe, catalog = contents.recipe, contents.catalog
        fold = choosing.folding(catalog, contents.embedded, recipe.embed, recipe.seed)

        def work(items: pl.DataFrame) -> pl.DataFrame:
            further = texts_of(items.with_columns(ids_of(items, ITEM_ID)), recipe.data, catalog)
            values = fold(further).values
            vectors = pl.Series(VECTOR, values, dtype=pl.Array(pl.Float32, values.shape[1]))
            return pl.DataFrame([further.table[ITEM_ID], vectors])

        return work


@dataclass(frozen=True)
class Assign(_OfRun):
    """`item_id` and a column of vectors as they were embedded -> `item_id`, `codes` (L integers), by the frozen
    tokenizer; what `sids append` gives the same items, where nothing depends on the other items.
    """

    title = "assign"
    needs = (ITEM_ID,)

    def identity(self) -> dict[str, Any]:
        """Raises:
        ConfigError: a policy that needs all items at once.
        """
        contents = self.contents()
        config, run = contents.recipe.tokenizer, contents.run
        if config.collisions != "keep" or config.random_levels:
            policy = f"tokenizer.random_levels = {config.random_levels}"
            if config.collisions != "keep":
                policy = f"tokenizer.collisions = {config.collisions!r}"
            raise ConfigError(
                f"{str(self.folder)!r} has {policy}, which depends on all items at once and not on a shard; use "
                "`sidestep sids append`, or a run with collisions = 'keep' and no random levels"
            )
        tuned = {"tuner": run.digest("tuner")} if contents.recipe.tune.kind != "none" else {}
        return {"tokenizer": run.digest("tokenizer"), **tuned}

    def open(self) -> Work:
        import torch

        one_thread()
        contents = self.contents()
        model, width = contents.tokenizer, contents.embedded.width

        def work(table: pl.DataFrame) -> pl.DataFrame:
            ids = ids_of(table, ITEM_ID)
            values = numbers(Path("the table"), table.drop(ITEM_ID))
            if values.shape[1] != width:
                raise DataError(f"The vectors have {values.shape[1]} dimensions, those of the run's encoder {width}")
            zero = ~values.any(axis=1)
            if zero.any():
                raise DataError(
                    f"{int(zero.sum())} vectors are zero, the first is of item {ids[int(zero.argmax())]!r}, and a zero "
                    "vector cannot be quantised; leave these out"
                )
            inputs = contents.further_inputs(contents.after_tuning(ItemVectors(values.astype("float32"))))
            codes = model.assign(torch.from_numpy(inputs.values)).cpu().numpy()
            return pl.DataFrame([ids, pl.Series(CODES, codes.tolist(), dtype=pl.List(pl.Int64))])

        return work


@dataclass(frozen=True)
class Recommend:
    """`user_id` and `history` (a list of item ids, oldest first; optionally `times`) -> the table that
    `sidestep recommend --out` writes: `asked`, `rank`, `item_id`, `score`, `by`. folder: a run or a bundle.
    """

    folder: Path
    k: int
    keep_seen: bool = False
    unknown: Literal["error", "skip"] = "error"
    at: str | None = None
    title = "recommend"
    needs = (USER_ID, HISTORY)

    def identity(self) -> dict[str, Any]:
        """Raises:
        ConfigError: k below 1. ArtifactError: no trained run and no bundle.
        """
        if self.k < 1:
            raise ConfigError(f"--k is {self.k}, expected at least 1")
        asked = {"k": self.k, "keep_seen": self.keep_seen, "unknown": self.unknown, "at": self.at}
        if bundle.is_bundle(self.folder):
            return {"bundle": artifact.read_manifest(self.folder).digest, "by_graph": self._by_graph, **asked}
        run = Run.open(self.folder)
        search = run.recipe.evaluate
        names = {"model": run.digest("model"), "version": versions.newest(run), "beams": search.num_beams}
        return {**names, "precision": search.precision, **asked}

    @property
    def _by_graph(self) -> bool:
        return has_graph(self.folder) and can_run()

    def open(self) -> Work:
        model = self._model()

        def work(table: pl.DataFrame) -> pl.DataFrame:
            ids = ids_of(table, USER_ID).to_list()
            times = table[TIMES].to_list() if TIMES in table.columns else None
            histories = _histories(table[HISTORY], ids)
            answers = model.recommend_many(
                histories, self.k, times=times, at=self.at, exclude_seen=not self.keep_seen, unknown=self.unknown
            )
            rows = zip(ids, histories, answers, strict=True)
            return as_table([Answered(user, history, answer, recent=[]) for user, history, answer in rows])

        return work

    def _model(self) -> Facade:
        if self._by_graph:
            from sidestep.fast.model import open_model

            return open_model(self.folder)
        from sidestep.pipeline.models import load

        one_thread()
        return load(self.folder)


def one_thread() -> None:
    """Products of matrices may differ in the last bit with the number of threads; a worker has one, on every engine."""
    import torch

    torch.set_num_threads(1)


def ids_of(table: pl.DataFrame, name: str) -> pl.Series:
    """A column of ids as text; whole numbers are spelled as such.

    Raises:
        DataError: missing ids, or of another type.
    """
    column = table[name]
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum)):
        raise DataError(f"Column {name!r} holds {column.dtype}, expected ids as text or whole numbers")
    if column.null_count():
        raise DataError(f"Column {name!r} lacks {column.null_count():,} ids; leave these rows out")
    return column.cast(pl.String)


def _histories(column: pl.Series, ids: list[str]) -> list[list[str]]:
    """Raises:
    DataError: no lists of ids.
    """
    if not isinstance(column.dtype, pl.List | pl.Array):
        raise DataError(f"Column {HISTORY!r} holds {column.dtype}, expected lists of item ids")
    inner = column.dtype.inner
    if inner != pl.Null and not (inner.is_integer() or inner in (pl.String, pl.Categorical, pl.Enum)):
        raise DataError(f"Column {HISTORY!r} holds lists of {inner}, expected lists of item ids")
    histories = [history or [] for history in column.cast(pl.List(pl.String)).to_list()]
    for user, history in zip(ids, histories, strict=True):
        if None in history:
            raise DataError(f"The history of {brief(repr(user), 40)} holds a missing item id; leave it out")
    return histories

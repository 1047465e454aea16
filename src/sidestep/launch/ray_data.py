"""A job's shards by Ray Data, on the cluster that RAY_ADDRESS names or on a small one of this machine's own.

Ray decides which worker has which shard and starts a worker that died again; the shards themselves are read and written
by the workers, so that the input and the output must be folders that all nodes see. Nothing else imports Ray.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sidestep.errors import EngineError, MissingExtraError, brief
from sidestep.launch.shards import Job, Outcome, Shard, write_shard

STORE = 300_000_000
"""Bytes of the object store of a cluster that is started here: through it go the numbers of shards only."""
BLOCKS = 1_000
"""At most so many blocks of shards in Ray's own books."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


def work(job: Job, missing: Sequence[Shard], out: Path, workers: int, report: Callable[[Outcome], None]) -> None:
    """Do the shards with `workers` actors of one core each.

    Raises:
        MissingExtraError: Ray is not installed. EngineError: Ray gave up.
    """
    if not missing:
        return
    with session(workers) as ray:
        from ray.data import ActorPoolStrategy, DataContext
        from ray.exceptions import RayError

        DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # the progress is said here
        rows = [{"number": s.number, "path": str(s.path), "begin": s.begin, "rows": s.rows} for s in missing]
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS)).map_batches(
            _Worker,
            fn_constructor_args=(job, str(out.absolute())),
            batch_size=1,
            num_cpus=1,
            compute=ActorPoolStrategy(size=min(workers, len(rows))),
        )
        try:
            for row in data.iter_rows():
                report(Outcome(int(row["shard"]), int(row["rows"]), str(row["problem"])))
        except RayError as error:
            raise EngineError(
                f"Ray ended the work: {brief(error, 200)}; the shards that are done stay, and the same command does "
                "the rest"
            ) from None


class _Worker:
    """An actor: opens the job at its first shard and then does one shard a call."""

    def __init__(self, job: Job, out: str) -> None:
        self._work, self._out = cache(job.open), Path(out)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        columns = [batch[name].tolist() for name in ("number", "path", "begin", "rows")]
        done = [
            write_shard(self._work, Shard(number, Path(path), begin, rows), self._out)
            for number, path, begin, rows in zip(*columns, strict=True)
        ]
        return {
            "shard": [outcome.shard for outcome in done],
            "rows": [outcome.rows for outcome in done],
            "problem": [outcome.problem for outcome in done],
        }


@contextmanager
def session(cores: int) -> Iterator[Any]:
    """The module `ray`, connected: to the session that this process has, to the cluster of RAY_ADDRESS, or to one that
    is started here for as long as the block runs.

    Raises:
        MissingExtraError: Ray is not installed. EngineError: there is no such cluster.
    """
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    try:
        import ray
        import ray.data  # pyarrow, too
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name!r} is missing; Ray needs `pip install 'sidestep[ray]'`, --engine local and --executor "
            "processes need nothing further"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    here = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": STORE}
    try:
        ray.init(**quiet, **({} if os.environ.get("RAY_ADDRESS") else here))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise EngineError(f"Cannot reach a Ray cluster: {brief(error, 200)}; see RAY_ADDRESS") from None
    try:
        yield ray
    finally:
        ray.shutdown()

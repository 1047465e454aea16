"""A job over a folder, on this machine or on Ray: the shards that are missing are done, and the folder is sealed."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Literal

from sidestep import artifact, lock
from sidestep.durable import sweep
from sidestep.errors import ConfigError, DataError, EngineError
from sidestep.launch import shards
from sidestep.launch.shards import Job, Outcome, Shard, Work
from sidestep.progress import meter

Engine = Literal["local", "ray"]
Report = Callable[[Outcome], None]
AHEAD = 4
"""Shards that wait for each worker of the local engine; more only take memory."""


@dataclass(frozen=True)
class Done:
    """shards: in the folder; done: of them now, the others were there. rows: of the input. digest: of the manifest."""

    shards: int
    done: int
    rows: int
    digest: str


def run(job: Job, source: Path, out: Path, *, rows: int, workers: int = 1, engine: Engine = "local") -> Done:
    """Do a job for every shard of a folder (or file) of Parquet; a stopped run goes on where it was.

    rows: of a shard. workers: processes with one thread each; the bytes do not depend on their number.

    Raises:
        DataError: bad input; shards that were done stay. ConfigError, ArtifactError: `out` holds something else.
        LockedError: another process writes there. EngineError: a worker died. MissingExtraError: no Ray.
    """
    if rows < 1 or workers < 1:
        raise ConfigError(f"--rows is {rows} and --workers {workers}; both must be 1 or more")
    settings, files = job.identity(), shards.sources_of(source, job.needs)
    plan, every = shards.plan_of(job.title, settings, files, rows), shards.shards_of(files, rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    with lock.held(out.with_name(f".{out.name}.lock"), out):
        shards.begin(out, plan)
        sweep(out)
        missing = [shard for shard in every if not (out / shard.name).is_file()]
        if not missing and (out / artifact.MANIFEST).is_file():
            return Done(len(every), 0, sum(file.rows for file in files), artifact.verify(out, _AGAIN).digest)
        (out / artifact.MANIFEST).unlink(missing_ok=True)  # of a folder that lost a shard
        _work(job, missing, out, workers, engine)
        manifest = shards.seal(out, plan)
    return Done(len(every), len(missing), sum(file.rows for file in files), manifest.digest)


_AGAIN = "remove the file and run the same command, which writes it again"


def _work(job: Job, missing: Sequence[Shard], out: Path, workers: int, engine: Engine) -> None:
    left = {shard.number: shard for shard in missing}
    total = sum(shard.rows for shard in missing)
    with meter(job.title, total) as shown:

        def report(outcome: Outcome) -> None:
            if outcome.problem:
                raise DataError(f"{outcome.problem} ({len(missing) - len(left)} of {len(missing)} shards were written)")
            left.pop(outcome.shard, None)
            shown.update(total - sum(shard.rows for shard in left.values()))

        if engine == "ray":
            from sidestep.launch import ray_data

            ray_data.work(job, missing, out, workers, report)
        else:
            _here(job, missing, out, workers, report)
    gone = [shard for shard in left.values() if not (out / shard.name).is_file()]
    if gone:
        raise EngineError(f"{len(gone)} of {len(missing)} shards were not written; the same command does the rest")


def _here(job: Job, missing: Sequence[Shard], out: Path, workers: int, report: Report) -> None:
    """One worker is this process; several are processes of their own."""
    if workers == 1:
        work = cache(job.open)
        for shard in missing:
            report(shards.write_shard(work, shard, out))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, max(len(missing), 1)), context, _hold, (job,)) as pool:
        queue, waiting = iter(missing), set[Future[Outcome]]()
        try:
            for shard in islice(queue, workers * AHEAD):
                waiting.add(pool.submit(_in_a_process, shard, out))
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    report(future.result())
                waiting |= {pool.submit(_in_a_process, shard, out) for shard in islice(queue, len(ended))}
        except BrokenProcessPool:
            raise EngineError(
                "a worker process ended without an answer (killed, or out of memory); the shards that are done stay, "
                "and the same command does the rest: with fewer --workers or --rows if memory was short"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_held: list[Callable[[], Work]] = []
"""The job of a worker process, opened at its first shard."""


def _hold(job: Job) -> None:
    _held[:] = [cache(job.open)]


def _in_a_process(shard: Shard, out: Path) -> Outcome:
    return shards.write_shard(_held[0], shard, out)

"""A bundle that answers in plain numbers: what the server's model process runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sidestep import bundle
from sidestep.data.interactions import Ints
from sidestep.data.sequences import pad, question
from sidestep.errors import ArtifactError
from sidestep.pipeline.exporting import check, recommender_of
from sidestep.recommenders.recommender import ItemFilter

SHAPES = "64"
"""For how many shapes oneDNN keeps its products. Batches have thousands, and its own default of 1,024 are 400 MB."""


class Answering:
    """Histories of item numbers in, item numbers and paths out. Filters that requests share are laid over the tree
    once, and kept by name.
    """

    def __init__(self, folder: Path, digest: str, threads: int) -> None:
        """Read a bundle and check its answers against those of its export.

        digest: of the bundle that is meant. threads: how many the model may use.

        Raises:
            ArtifactError: another bundle lies there by now, or it does not answer as it should.
        """
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", SHAPES)
        torch.set_num_threads(threads)
        opened = bundle.read(folder)
        if opened.digest != digest:
            raise ArtifactError(f"{str(folder)!r} was replaced while it was being read; load it again")
        self.model = recommender_of(opened)
        check(opened, self.model)
        self._num_items, self._absolute_times = len(opened.popularity), opened.absolute_times
        self._filters: dict[str, ItemFilter] = {}

    def keep_filter(self, name: str, bits: bytes) -> None:
        """bits: one for every item, packed as `numpy.packbits` does."""
        flags = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=self._num_items).astype(np.bool_)
        self._filters[name] = ItemFilter(allowed=torch.from_numpy(flags))

    def forget_filter(self, name: str) -> None:
        self._filters.pop(name, None)

    def answer(
        self,
        histories: Sequence[Sequence[int]],
        excluded: Sequence[Sequence[int]],
        k: int,
        beams: int | None,
        allowed: str | None,
        explain: bool,
        times: Sequence[Sequence[int]] | None = None,
        at: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """k items for every history: `items`, `scores`, and `paths` (of `Step.as_numbers`) and `reasons` where they are
        wanted and there are any.

        times, at: when each item was taken and each answer is wanted, in milliseconds, `NO_TIME` where unknown.
        """
        model = self.model
        if beams is not None:
            model = model.with_beams(beams)
        barred = ItemFilter() if allowed is None else self._filters[allowed]
        barred = barred.excluding(pad(_rows(excluded)) if any(excluded) else None)
        k = min(k, self._num_items)
        when = None if times is None else _rows(times)
        batch = question(_rows(histories), model.reads, when, at, self._absolute_times)
        answers = model.rank(batch, k, barred, explain)
        real = (answers.items >= 0).sum(1).tolist()
        paths = [[[step.as_numbers() for step in path] for path in row] for row in answers.paths or []]
        return {
            "items": [row[:count] for row, count in zip(answers.items.tolist(), real, strict=True)],
            "scores": [row[:count] for row, count in zip(answers.scores.tolist(), real, strict=True)],
            "paths": paths,
            "reasons": answers.reasons or [],
        }


def _rows(rows: Sequence[Sequence[int]]) -> list[Ints]:
    return [np.array(row, dtype=np.int64) for row in rows]

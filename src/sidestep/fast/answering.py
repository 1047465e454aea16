"""A bundle's graph that answers in plain numbers: what the server's model process runs where there is one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sidestep.errors import ArtifactError
from sidestep.fast.recommender import When, open_recommender
from sidestep.sids.flat_trie import Laid


class GraphAnswering:
    """As `pipeline.answering.Answering`, without torch."""

    def __init__(self, folder: Path, digest: str, threads: int) -> None:
        """Raises:
        ArtifactError: another bundle lies there by now, or it does not answer as it should.
        """
        opened, self._recommender = open_recommender(folder, threads)
        if opened.digest != digest:
            raise ArtifactError(f"{str(folder)!r} was replaced while it was being read; load it again")
        self._filters: dict[str, Laid] = {}

    def keep_filter(self, name: str, bits: bytes) -> None:
        """bits: one for every item, packed as `numpy.packbits` does."""
        trie = self._recommender.trie
        flags = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=trie.num_items).astype(np.bool_)
        self._filters[name] = Laid.over(trie, flags)

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
        """See `Answering.answer`."""
        rows = [np.array(row, dtype=np.int64) for row in histories]
        k = min(k, self._recommender.trie.num_items)
        laid = None if allowed is None else self._filters[allowed]
        when = When(None if times is None else [np.array(row, dtype=np.int64) for row in times], at)
        answers = self._recommender.rank(rows, excluded, k, laid, explain, beams, when)
        return {
            "items": [answer.items for answer in answers],
            "scores": [answer.scores for answer in answers],
            "paths": [[[step.as_numbers() for step in path] for path in answer.paths or []] for answer in answers]
            if explain
            else [],
        }

"""What is searched together. Nothing here needs a tensor library."""

from collections.abc import Iterator

import numpy as np

from sidestep.data.interactions import Ints

BEAMS_AT_ONCE, ROWS_AT_ONCE = 2048, 32
"""Enough for the matrix products, no more beams than fit into a cache, and no more histories than have one length."""


def portions(lengths: Ints, num_beams: int) -> Iterator[Ints]:
    """The rows that have a history, like lengths together, so that little is padded.

    lengths: of the histories as the model reads them, `[B]`.
    """
    known = np.argsort(lengths, kind="stable")[int((lengths == 0).sum()) :]
    most = max(min(ROWS_AT_ONCE, BEAMS_AT_ONCE // num_beams), 1)
    yield from np.array_split(known, -(-len(known) // most)) if len(known) else ()

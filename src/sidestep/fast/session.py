"""A graph in ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np

from sidestep.errors import ArtifactError, brief

Array = np.ndarray[Any, np.dtype[Any]]

BRIEF = ("items", "scores", "needed")
"""The outputs without what explains them; operations that only lead to the others are left out."""


class Session:
    """See `recommenders.graph.SearchGraph.forward` for inputs and outputs.

    Raises:
        ArtifactError: no graph, or one that this ONNX Runtime cannot read.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes are of a private module
            raise ArtifactError(
                f"Cannot read {str(path)!r} with ONNX Runtime {onnxruntime.__version__}: {brief(error, 200)}"
            ) from None
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, given: dict[str, Array], explain: bool) -> dict[str, Array]:
        """Outputs by name, `BRIEF` alone or all."""
        names = self._outputs if explain else list(BRIEF)
        return dict(zip(names, self._session.run(names, given, self._run_options), strict=True))


def can_run() -> bool:
    """Whether ONNX Runtime is installed."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True

"""The whole search of a generator as one ONNX file, which ONNX Runtime runs without torch."""

import logging
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from sidestep.data.reads import Reads
from sidestep.errors import ConfigError, MissingExtraError
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import method_of
from sidestep.recommenders.generative import Thinker
from sidestep.recommenders.graph import SearchGraph
from sidestep.sids.flat_trie import FlatTrie

LARGEST = 2_000_000_000
"""Bytes that one file of this format can hold."""


def check_exportable(recipe: Recipe) -> None:
    """Raises:
    ConfigError: a method whose search is not one graph, or a precision that a graph does not have.
    MissingExtraError: without onnx and onnxscript.
    """
    if not method_of(recipe).exports_graph:
        raise ConfigError(
            f"--graph: the search of method {recipe.method!r} cannot be exported as a graph; leave --graph out, and "
            "the bundle answers with PyTorch"
        )
    if recipe.slices.kind != "none":
        raise ConfigError(
            "--graph: a graph has one tree, and this run has one for every slice; leave --graph out, and the bundle "
            "answers with PyTorch"
        )
    if recipe.evaluate.precision != "fp32":
        raise ConfigError(
            f"--graph: the graph computes in fp32, and this run answers in {recipe.evaluate.precision}; leave --graph "
            "out, or train the run with evaluate.precision=fp32"
        )
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"{error.name!r} is missing; --graph needs `pip install 'sidestep[graph]'`") from None


def write_graph(path: Path, model: nn.Module, trie: FlatTrie, reads: Reads, absolute_times: bool = False) -> None:
    """Write the search of a model over a tree: `recommenders.graph.SearchGraph` with its weights in one file.

    absolute_times: whether the times that the model is told, if any, count from 1970.

    Equal models and trees give equal bytes.

    Raises:
        ConfigError: it does not fit into one file.
    """
    program, names = traced(model, trie, reads, absolute_times)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = _converted(program, INPUTS if reads.times else INPUTS[: -len(TIMES)], names)
    if proto.ByteSize() > LARGEST:
        raise ConfigError(
            f"--graph: model and tree are {proto.ByteSize() / 1e9:.1f} GB, and a graph holds {LARGEST / 1e9:g} GB; "
            "leave --graph out"
        )
    path.write_bytes(proto.SerializeToString(deterministic=True))


def traced(
    model: nn.Module, trie: FlatTrie, reads: Reads, absolute_times: bool = False
) -> tuple[torch.export.ExportedProgram, list[str]]:
    """The search as operations on inputs of any size, and the names of what it gives."""
    model = deepcopy(model).cpu().eval()
    if isinstance(model, Thinker):
        model.fix_centroids()
    graph, example = SearchGraph(model, trie, absolute_times), _example(trie, reads)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(graph, example, dynamic_shapes=_shapes(reads), strict=False)
        return program, list(graph(*example))


def _example(trie: FlatTrie, reads: Reads) -> tuple[torch.Tensor, ...]:
    """Inputs of sizes that differ, so that no two of them are taken for one."""
    history = torch.tensor([[0, 0, -1], [0, -1, -1], [0, 0, 0], [0, -1, -1]])[:, : reads.recent]
    open = torch.ones(trie.num_nodes + trie.num_items, dtype=torch.bool)
    beams, paths, answers = (torch.zeros(size, dtype=torch.int64) for size in (7, 6, 5))
    times = (history * 0, history[:, :1] * 0) if reads.times else ()
    return history, open, torch.full((4, 2), -1), beams, paths, answers, *times


def _shapes(reads: Reads) -> tuple[dict[int, Dim] | None, ...]:
    """Which sizes may differ; a window of one item is always one wide."""
    rows = Dim("B")
    window = {1: Dim("T", max=reads.recent)} if reads.recent > 1 else {}
    times = ({0: rows, **window}, {0: rows}) if reads.times else ()
    return {0: rows, **window}, None, {0: rows, 1: Dim("C")}, {0: Dim("W")}, {0: Dim("S")}, {0: Dim("k")}, *times


def _converted(program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """As ONNX, without the places in the source that every operation comes from."""
    from onnxscript import opset18 as op

    def stable_sort(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        """ONNX's TopK puts equal numbers in their order."""
        size = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]))
        return op.TopK(self, size, axis=dim, largest=int(descending), sorted=1)

    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        converted = torch.onnx.export(
            program, (), dynamo=True, verbose=False, input_names=list(inputs), output_names=list(outputs),
            custom_translation_table={torch.ops.aten.sort.stable: stable_sort},
        )  # fmt: skip
    finally:
        quiet.setLevel(level)
    assert converted is not None
    proto = converted.model_proto
    for each in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.initializer, proto.graph):
        del each.metadata_props[:]
    for node in proto.graph.node:
        node.doc_string = ""
    del proto.metadata_props[:], proto.graph.value_info[:]
    return proto


TIMES = ("times", "asked")
INPUTS = ("history", "open", "closed", "beams", "paths", "answers", *TIMES)

"""Every benchmark runs and ends with one line of JSON that says what was measured on what."""

import ast
import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PEERS = {
    "decode": ("transformers", "cornac"),
    "train": ("transformers", "cornac"),
    "end_to_end": ("transformers", "cornac"),
    "tokenizer": ("vector_quantize_pytorch", "faiss"),
    "graph": ("torch_geometric",),
    "graph_law": ("onnxscript", "transformers", "cornac"),
    "trie": ("marisa_trie",),
    "scale": (),
    "out_of_core": (),
    "ten_million": (),
    "long": (),
    "rerank": (),
    "slices": (),
    "item_tables": (),
    "gpu": (),
    "fuzz": (),
    "crash": (),
    "serve": ("fastapi", "prometheus_client", "psutil"),
}


def test_no_benchmark_is_forgotten() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py") if "argparse" in path.read_text(encoding="utf-8")}
    assert scripts == set(PEERS)


@pytest.mark.parametrize("script", sorted(path.name for path in BENCHMARKS.glob("*.py")))
def test_what_a_benchmark_imports_of_the_library_is_there(script: str) -> None:
    for node in ast.walk(ast.parse((BENCHMARKS / script).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sidestep":
            module = importlib.import_module(node.module or "")
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", PEERS)
def test_a_benchmark_ends_with_its_ratios(script: str) -> None:
    for peer in PEERS[script]:
        pytest.importorskip(peer, reason=f"{peer} is not installed; make bench-... installs it", exc_type=ImportError)
    ran = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), "--quick"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert {"bench", "date", "machine", "cores", "torch", "protocol"} < set(found)


def test_a_server_that_answers_nobody_is_measured_without_a_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    for peer in PEERS["serve"]:
        pytest.importorskip(peer)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    serve, load = importlib.import_module("serve"), importlib.import_module("load")
    nothing = load.Outcome(seconds=0.3, statuses={"503": 5}, ms=[], unsaid=0, cpu=0.0, late_ms=0.0)

    class Bench:
        seconds, rounds = 0.3, 1

        def bodies(self, **asked: object) -> str:
            return ""

        def closed(self, measured: Any, *_: object) -> None:
            measured.outcomes.append(nothing)
            measured.cores.append((0.0, 0.0))

    found, capacity = serve.closed_loops(Bench(), None, None, lambda beams, batch: 100.0, 10)
    assert (capacity, found["not 200"], found["library's gain, batch 32 over 1"]) == (0.0, 8 * 5, 1.0)
    assert math.isnan(found["server's gain of the library's"])

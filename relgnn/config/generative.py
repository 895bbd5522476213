"""Configuration of a causal language model that states the relation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relgnn.config.augmentation import require_fields
from relgnn.config.base import Count, OtherDataConfig, Rate, RunConfig, Section

INSTRUCTION = "Say how the first entity relates to the second one in the sentence."
TEMPLATE = "Sentence: {text}\nFirst entity: {head}\nSecond entity: {tail}\nRelation:"


class WriterConfig(Section):
    """A causal language model, what it is asked, and whether it is tuned to answer."""

    model: str = Field(
        "smollm2", description="'smollm2' (packaged), a Hugging Face name or path, a .gguf file"
    )
    mode: Literal["prompted", "tuned"] = Field(
        "prompted", description="tuned: trained on the answers for train first"
    )
    instruction: str = Field(INSTRUCTION, description="what the prompt begins with")
    template: str = Field(TEMPLATE, description="a question, with {text}, {head} and {tail}")
    verbalisers: dict[str, str] = Field(
        default_factory=dict,
        description="label: answer, which may name {head} and {tail}; by default the label's name",
    )
    shots: int | None = Field(
        None,
        ge=0,
        description="answered examples in the prompt: of each label, or the nearest in all; null: "
        "1 where prompted, 0 where tuned, as a model is tuned on prompts without examples",
    )
    selection: Literal["random", "nearest"] = Field(
        "random", description="which ones: drawn once, or nearest to the sentence for an encoder"
    )
    encoder: str = Field("minilm", description="of selection nearest")
    calibrate: bool = Field(
        True, description="divide by the answers' probabilities for a sentence without content"
    )
    limit: Count | None = Field(
        None, description="test sentences, the same for every run; null: all"
    )
    epochs: Count = Field(3, description="of tuning: passes over train")
    batch_size: Count = Field(16, description="of tuning: sentences of a step")
    lr: Rate = Field(5e-4, description="of tuning: peak learning rate")
    lora_rank: int = Field(8, ge=0, description="of tuning: rank of LoRA; 0: all weights")

    @model_validator(mode="after")
    def _template_fits(self) -> WriterConfig:
        require_fields("template", self.template, ("text", "head", "tail"))
        for label, answer in self.verbalisers.items():
            require_fields(f"verbaliser of {label}", answer, ("head", "tail"))
        return self

    @model_validator(mode="after")
    def _tuned_on_what_is_asked(self) -> WriterConfig:
        if self.mode == "tuned" and self.shots:
            raise ValueError(
                f"has shots={self.shots}, and mode 'tuned' trains on prompts without examples; set "
                "shots=0, or mode=prompted"
            )
        return self

    @property
    def examples(self) -> int:
        """`shots`, or what stands for null."""
        return int(self.mode == "prompted") if self.shots is None else self.shots


class GenerativeConfig(RunConfig):
    """A run in which a causal language model states the relation."""

    data: OtherDataConfig = Field(description="the data set")
    generative: WriterConfig = Field(description="the model and what it is asked")

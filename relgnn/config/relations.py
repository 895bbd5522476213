"""Configuration of relation extraction."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from relgnn.config.augmentation import AttackConfig, AugmentationConfig
from relgnn.config.base import (
    Count,
    Dropout,
    Fraction,
    OtherDataConfig,
    Rate,
    RunConfig,
    Section,
    Weight,
)
from relgnn.config.continued import ContinuedConfig
from relgnn.config.efficient import EfficientConfig
from relgnn.config.marked import MarkedDataConfig
from relgnn.config.metric import MetricConfig
from relgnn.config.objectives import (
    AdversarialConfig,
    ContrastConfig,
    DebiasConfig,
    FairnessConfig,
)
from relgnn.config.pretraining import PretrainingConfig
from relgnn.config.semi import SemiConfig
from relgnn.config.tracking import TrackingConfig

Marking = Literal["special", "typed", "punctuation", "mask", "none"]


class TuningConfig(Section):
    """How a language model is tuned to say which relation a sentence states."""

    marking: Marking = Field("special", description="how both entities are marked in the sentence")
    pooling: Literal["markers", "spans", "both"] = Field(
        "both", description="what stands for an entity: its marker's state, its tokens' mean, both"
    )
    first: bool = Field(True, description="the state of the first token joins")
    epochs: Count = Field(10, description="passes over the labelled sentences at most")
    batch_size: Count = Field(16, description="sentences of a batch")
    accumulate: Count = Field(1, description="batches whose gradients make one step")
    optimizer: Literal["adamw", "adafactor"] = Field(
        "adamw", description="Adafactor keeps less; its rates are shares of a weight's size"
    )
    lr: Rate = Field(2e-4, description="peak learning rate of the language model")
    head_lr: Rate = Field(1e-3, description="peak learning rate of the classifier")
    layer_decay: Fraction = Field(1.0, description="factor of the rate from a layer to the next")
    weight_decay: Weight = Field(0.01, description="decoupled weight decay")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "linear", description="learning rate after the warm-up"
    )
    warmup: Dropout = Field(0.1, description="share of all steps over which the rate rises")
    clip: Weight = Field(1.0, description="largest gradient norm; 0: no clipping")
    dropout: Dropout = Field(0.1, description="of the classifier's input and the language model")
    label_smoothing: Dropout = Field(0.0, description="mass spread over all labels")
    focal: Weight = Field(0.0, description="γ of the focal loss; 0: cross-entropy")
    loss: Literal["cross_entropy", "bce", "threshold"] = Field(
        "cross_entropy", description="softmax, a sigmoid per label, or labels above a threshold"
    )
    multi_label: bool = Field(
        False, description="examples that differ in the label alone are one row with all of them"
    )
    attention: int = Field(
        0, ge=0, description="largest attention weights between the mentions that join the input"
    )
    r_drop: Weight = Field(0.0, description="weight of the difference between two dropout masks")
    adversarial: AdversarialConfig | None = Field(
        None, description="moved embeddings that should change nothing; null: none"
    )
    contrast: ContrastConfig | None = Field(
        None, description="supervised contrast of the sentences' vectors; null: none"
    )
    mixup: Weight = Field(0.0, description="α of the mixed sentences' Beta; 0: none are mixed")
    debias: DebiasConfig | None = Field(
        None, description="causal de-biasing from entity names, and its report; null: none"
    )
    fairness: FairnessConfig | None = Field(
        None, description="groups to be read equally well, and their report; null: none"
    )
    averaging: Dropout = Field(
        0.0, description="decay of the weights' moving average that is judged and kept; 0: none"
    )
    ensemble: Count = Field(1, description="classifiers whose probabilities are averaged")
    checkpointing: bool = Field(
        False, description="compute activations twice and keep few: less memory, more time"
    )
    layers: int | None = Field(
        None, ge=0, description="upper layers that are tuned; 0: frozen; null: all and embeddings"
    )
    efficient: EfficientConfig | None = Field(
        None, description="few parameters that are tuned in place of the language model's own"
    )
    metric: Literal["macro_f1", "micro_f1"] = Field("macro_f1", description="what valid selects by")
    patience: Count | None = Field(
        None, description="epochs without gain on valid before stopping; null: all epochs"
    )
    refit: bool = Field(
        False, description="train again on train and valid for as many epochs as valid chose"
    )

    @model_validator(mode="after")
    def _loss_fits(self) -> TuningConfig:
        if self.loss == "threshold" and (self.focal or self.label_smoothing):
            raise ValueError("loss threshold has neither focal nor label_smoothing; set both to 0")
        if self.multi_label and self.loss == "cross_entropy":
            raise ValueError("multi_label needs loss bce or threshold")
        return self

    @model_validator(mode="after")
    def _markers_are_there(self) -> TuningConfig:
        if self.marking == "none" and self.pooling == "markers":
            raise ValueError(
                "pooling takes the states of markers, and marking is none; set pooling=spans"
            )
        return self

    @model_validator(mode="after")
    def _layers_or_efficient(self) -> TuningConfig:
        if self.efficient is not None and self.layers is not None:
            raise ValueError("tunes either upper layers or efficient's parameters; drop one key")
        return self


class ReaderConfig(Section):
    """The language model that is tuned."""

    model: str = Field(
        "minilm",
        description="'minilm' (packaged), a Hugging Face name or path, or 'characters', made from "
        "the training texts",
    )
    max_tokens: Count = Field(128, description="of longer sentences, those nearest to an entity")
    device_map: str | dict[str, int | str] | None = Field(
        None, description="which part of the model is on which device; 'auto': as they have room"
    )


class WholeReaderConfig(ReaderConfig):
    """A language model that is there before the run, and is on one device."""

    @model_validator(mode="after")
    def _as_it_is(self) -> WholeReaderConfig:
        if self.device_map is not None:
            raise ValueError(
                "has a device_map, which runs with 'extraction:' follow: set it to null"
            )
        if self.model == "characters":
            raise ValueError(
                "has model 'characters', which runs with 'extraction:' make: name another"
            )
        return self


class RelationConfig(RunConfig):
    """A run of supervised relation extraction."""

    data: MarkedDataConfig = Field(description="the data set")
    text: ReaderConfig = Field(default_factory=ReaderConfig, description="the language model")
    extraction: TuningConfig = Field(description="how it is tuned")
    semi: SemiConfig | None = Field(None, description="what unlabelled sentences teach")
    pretraining: PretrainingConfig | None = Field(
        None, description="what it learns before from the texts of train and those without labels"
    )
    augmentation: AugmentationConfig | None = Field(
        None, description="rewritten training sentences; null: none"
    )
    attack: AttackConfig | None = Field(
        None, description="rewrites of test sentences that mislead; null: not searched for"
    )
    continued: list[ContinuedConfig] = Field(
        default_factory=list, description="the runs that this one goes on with, oldest first"
    )
    tracking: TrackingConfig = Field(default_factory=TrackingConfig, description="its curves")

    @model_validator(mode="after")
    def _rewrites_have_one_label(self) -> RelationConfig:
        if self.extraction.multi_label and (self.augmentation or self.attack):
            raise ValueError(
                "augmentation and attack rewrite sentences with one label; set "
                "extraction.multi_label=false"
            )
        return self

    @model_validator(mode="after")
    def _semi_fits(self) -> RelationConfig:
        if self.semi is not None and self.extraction.loss != "cross_entropy":
            raise ValueError(
                f"semi takes probabilities of a softmax, and extraction.loss is "
                f"{self.extraction.loss!r}: set extraction.loss=cross_entropy or semi=null"
            )
        return self


class PretrainingRunConfig(RunConfig):
    """A run of self-supervised pre-training, which leaves a language model."""

    data: OtherDataConfig = Field(description="the texts")
    text: WholeReaderConfig = Field(
        default_factory=WholeReaderConfig, description="the language model"
    )
    pretraining: PretrainingConfig = Field(description="what it learns from the texts")

    @model_validator(mode="after")
    def _all_texts(self) -> PretrainingRunConfig:
        if self.data.fraction < 1:
            raise ValueError(
                "data.fraction is of labels, and pre-training reads texts without: set it to 1"
            )
        return self


Shots = Annotated[int, Field(ge=0)]


class FewShotTasks(Section):
    """What an encoder is asked to tell apart."""

    ways: int = Field(5, ge=2, description="relations of a task")
    shots: Shots | Annotated[list[Shots], Field(min_length=1)] = Field(
        1, description="examples of each; 0: its name and description; a list: one row for each"
    )
    description: Weight = Field(0.0, description="weight of the description beside examples")
    queries: Count = Field(5, description="questions about each")
    episodes: Count = Field(2000, description="tasks drawn")

    @property
    def rows(self) -> dict[str, tuple[int, float]]:
        """What is measured, by name: examples, and the weight of the description beside them."""
        if isinstance(self.shots, int):
            return {"final": (self.shots, self.description)}
        found = {f"{shots}_shot": (shots, 0.0) for shots in self.shots}
        if self.description:
            for shots in filter(None, self.shots):
                found[f"{shots}_shot_described"] = shots, self.description
        return found


class FewShotConfig(RunConfig):
    """A measurement of relations that nothing is trained on."""

    data: OtherDataConfig = Field(description="the data set")
    text: WholeReaderConfig = Field(
        default_factory=WholeReaderConfig, description="the language model"
    )
    few_shot: FewShotTasks = Field(description="the tasks")
    metric: MetricConfig | None = Field(
        None, description="what is learned before from other relations; null: the encoder as it is"
    )
